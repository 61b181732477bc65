"""Sampling: the reasoner M_r writes n rationales for each train problem. Wrong ones are mistakes."""

from lema_local.answers import extract_answer, is_correct
from lema_local.client import Endpoint, Prompt, Sampling
from lema_local.profiles import Profile
from lema_local.prompts import render, sample_template, stop_texts
from lema_local.records import Problem
from lema_local.serving import describe_endpoint, open_endpoint
from lema_local.stages.calls import Call, Outcome, complete, pending
from lema_local.stages.derive import derive
from lema_local.stages.run import Run


def wanted(profile: Profile, endpoint: Endpoint, problems: tuple[Problem, ...]) -> list[Call]:
    """Every sample that the profile asks for."""
    s = profile.sampling
    sampling = Sampling(
        temperature=s.temperature, max_tokens=s.max_tokens, top_p=s.top_p, seed=s.seed, stop=stop_texts(endpoint.api)
    )
    return [
        Call(endpoint, "sample", sample_template(problem.kind), sampling, problem.id, sample_index=index)
        for problem in problems
        for index in range(s.samples)
    ]


def sample(run: Run) -> Outcome:
    """Sample what is pending and grade it."""
    profile = run.profile.endpoint("reasoner")
    problems = {problem.id: problem for problem in run.problems.train}
    calls = pending(run.store, wanted(run.profile, describe_endpoint("reasoner", profile), run.problems.train))
    outcome = Outcome()
    if calls:
        with open_endpoint("reasoner", profile, options=run.serve_options, on_notice=run.notice) as endpoint:

            def prompt(call: Call) -> Prompt:
                return render(call.template, {"question": problems[call.problem_id].question}, api=endpoint.api)

            def accepts(call: Call, text: str) -> bool:
                problem = problems[call.problem_id]
                return is_correct(extract_answer(text, problem.kind), problem.answer, problem.kind)

            outcome = complete(
                calls,
                endpoint=endpoint,
                render=prompt,
                accepts=accepts,
                store=run.store,
                label="sample",
                on_notice=run.notice,
            )
    derive(run.store, "sample")
    return outcome
