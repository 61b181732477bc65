"""Sampling: each reasoner M_r writes n rationales for each train problem, and wrong ones are mistakes; the augmenter,
where there is one, writes n paths for CoT data."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from lema_local.answers.exact import extract_answer, is_correct
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.prompts import COT_TEMPLATE, render, sample_template, stop_texts
from lema_local.records.store import Store, stage_sql
from lema_local.records.types import Problem, Purpose
from lema_local.serving.endpoints import ResolvedEndpoint
from lema_local.settings.profiles import Profile
from lema_local.stages.calls import Outcome, complete, pending
from lema_local.stages.derive import derive
from lema_local.stages.engines import open_model
from lema_local.stages.run import Experiment, Run
from lema_local.stages.work import Call

AUGMENTER = "augmenter"


def wanted_of(
    profile: Profile, name: str, endpoint: Endpoint, problems: Sequence[Problem], *, beyond_target: bool = False
) -> list[Call]:
    """Every sample that the profile asks of this endpoint; `beyond_target`: those too that the augmenter's target
    leaves out (they may be there from a larger one)."""
    s = profile.sampling.by(name)
    purpose: Purpose = "augment" if name == AUGMENTER else "sample"
    sampling = Sampling(
        temperature=s.temperature, max_tokens=s.max_tokens, top_p=s.top_p, seed=s.seed, stop=stop_texts(endpoint.api)
    )
    target = profile.build.augment_target if name == AUGMENTER and not beyond_target else None
    found: list[Call] = []
    for is_evolved in (False, True):  # each up to the target: evolution takes nothing from the data set's own problems
        calls = [
            Call(endpoint, purpose, sample_template(problem.kind, s.prompt), sampling, problem.id, sample_index=index)
            for problem in problems
            if (problem.source is not None) == is_evolved
            for index in range(s.samples)
        ]
        if target is not None and target < len(calls):
            # one path of each problem before any second one, as building takes them up (sampled_paths.sql); then in
            # the old order, where one request brings several
            first = sorted(range(len(calls)), key=lambda k: (calls[k].sample_index, calls[k].problem_id))[:target]
            calls = [calls[k] for k in sorted(first)]
        found += calls
    return found


def wanted(experiment: Experiment) -> list[Call]:
    """Every sample of every reasoner."""
    profile, problems = experiment.profile, experiment.problems.train
    return [
        call
        for name in profile.sampling.reasoners
        for call in wanted_of(profile, name, experiment.resolved(name).endpoint, problems)
    ]


def imported(store: Store, purpose: Purpose, problems: Sequence[Problem]) -> list[str]:
    """Ids of the completions of these problems that were made elsewhere (`lema import`): they count like the profile's
    own."""
    ids = {problem.id for problem in problems}
    rows = store.rows(stage_sql("imported"), purpose=purpose)
    return [row["id"] for row in rows if row["problem_id"] in ids]


def prompts(
    problems: Sequence[Problem], api: Literal["chat", "completions"], *, bos_text: str = ""
) -> Callable[[Call], Prompt]:
    """What renders the prompt of a sample of one of these problems; `bos_text`: what rows began with in training, where
    the server's tokenizer does not add it."""
    questions = {problem.id: problem.question for problem in problems}

    def prompt(call: Call) -> Prompt:
        return begun(render(call.template, {"question": questions[call.problem_id]}, api=api), call, bos_text)

    return prompt


def begun(prompt: Prompt, call: Call, bos_text: str) -> Prompt:
    """The prompt as rows began in training, where it is the input that the model was trained with."""
    if call.template != COT_TEMPLATE or prompt.text is None:
        return prompt
    return replace(prompt, text=bos_text + prompt.text)


def bos_text_of(reasoner: ResolvedEndpoint) -> str:
    """The BOS that a warmed-up reasoner's rows began with."""
    return reasoner.model.bos_text if reasoner.model and reasoner.profile.warm_up_steps else ""


def sample(run: Run) -> Outcome:
    """Sample what is pending of every reasoner and grade it."""
    outcome = Outcome()
    for name in run.profile.sampling.reasoners:
        outcome += _sample(run, name)
    derive(run.store, "sample")
    return outcome


def augment(run: Run) -> Outcome:
    """Sample what is pending of the augmenter, where the profile has one, and grade it."""
    if AUGMENTER not in run.profile.endpoints:
        return Outcome()
    outcome = _sample(run, AUGMENTER)
    derive(run.store, "augment")
    return outcome


def _sample(run: Run, name: str) -> Outcome:
    resolved = run.resolved(name)
    problems = {problem.id: problem for problem in run.problems.train}
    calls = pending(run, wanted_of(run.profile, name, resolved.endpoint, run.problems.train))
    if not calls:
        return Outcome()

    def accepts(call: Call, text: str) -> bool:
        problem = problems[call.problem_id]
        return is_correct(extract_answer(text, problem.kind), problem.answer, problem.kind)

    with open_model(run, resolved) as endpoint:
        render_call = prompts(run.problems.train, endpoint.api, bos_text=bos_text_of(resolved))
        label = "sample" if name == "reasoner" else f"sample by {name}"
        return complete(run, calls, endpoint=endpoint, render=render_call, accepts=accepts, label=label)
