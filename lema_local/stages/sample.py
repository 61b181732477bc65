"""Sampling: the reasoner M_r writes n rationales for each train problem. Wrong ones are mistakes."""

from collections.abc import Callable, Sequence
from typing import Literal

from lema_local.answers import extract_answer, is_correct
from lema_local.endpoint import Endpoint, Prompt, Sampling
from lema_local.profiles import Profile
from lema_local.prompts import render, sample_template, stop_texts
from lema_local.records import Problem
from lema_local.serving import describe_endpoint, open_endpoint
from lema_local.stages.calls import Call, Outcome, complete, pending
from lema_local.stages.derive import derive
from lema_local.stages.run import Run


def wanted(profile: Profile, endpoint: Endpoint, problems: Sequence[Problem]) -> list[Call]:
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


def prompts(problems: Sequence[Problem], api: Literal["chat", "completions"]) -> Callable[[Call], Prompt]:
    """What renders the prompt of a sample of one of these problems."""
    questions = {problem.id: problem.question for problem in problems}

    def prompt(call: Call) -> Prompt:
        return render(call.template, {"question": questions[call.problem_id]}, api=api)

    return prompt


def sample(run: Run) -> Outcome:
    """Sample what is pending and grade it."""
    profile = run.profile.endpoint("reasoner")
    problems = {problem.id: problem for problem in run.problems.train}
    calls = pending(run, wanted(run.profile, describe_endpoint("reasoner", profile), run.problems.train))
    outcome = Outcome()
    if calls:
        with open_endpoint("reasoner", profile, options=run.serve_options, on_notice=run.notice) as endpoint:
            prompt = prompts(run.problems.train, endpoint.api)

            def accepts(call: Call, text: str) -> bool:
                problem = problems[call.problem_id]
                return is_correct(extract_answer(text, problem.kind), problem.answer, problem.kind)

            outcome = complete(run, calls, endpoint=endpoint, render=prompt, accepts=accepts, label="sample")
    derive(run.store, "sample")
    return outcome
