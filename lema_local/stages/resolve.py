"""Re-solve: each reasoner goes on from the corrected step of its own mistakes. Does it reach the answer now?

It is asked greedily, once a correction, with the prompt that it was sampled with and the kept and corrected steps as
the beginning of its reply (corrections/resolving.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lema_local.answers.grading import Grader
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.corrections.parsing import ParsedCorrection
from lema_local.corrections.resolving import steps_to_resume
from lema_local.prompts import continued, sample_template, sampled_steps, stop_texts
from lema_local.stages import correct, sample
from lema_local.stages.calls import Outcome, complete, pending
from lema_local.stages.derive import mark_resolved
from lema_local.stages.engines import open_model
from lema_local.stages.run import Experiment, Run
from lema_local.stages.select import wanted_rows
from lema_local.stages.work import Call


@dataclass(frozen=True, slots=True)
class Resumed:
    """A kept correction, and the steps from which its reasoner goes on."""

    correction_id: str
    problem_id: str
    rationale_id: str
    steps: list[str]


def resolve(run: Run) -> Outcome:
    """Ask what is pending of every reasoner and record what came of it; nothing where the profile does not wish it."""
    outcome = Outcome()
    if not run.profile.correction.resolve:
        return outcome
    resumed = _resumed(run)
    for name, calls in _by_reasoner(run, resumed):
        outcome += _complete(run, name, pending(run, calls), resumed)
    run.store.merge()
    with Grader() as grader:
        mark_resolved(run.store, grader)
    return outcome


def wanted(run: Experiment) -> list[tuple[str, list[Call]]]:
    """What is asked of each reasoner, for the corrections that are kept so far. Calls nothing."""
    return list(_by_reasoner(run, _resumed(run))) if run.profile.correction.resolve else []


def _by_reasoner(run: Experiment, resumed: list[Resumed]) -> Iterator[tuple[str, list[Call]]]:
    for name in run.profile.sampling.reasoners:
        described = run.resolved(name).endpoint
        own = {call.id for call in sample.wanted_of(run.profile, name, described, run.problems.train)}
        yield name, _wanted(run, name, described, [each for each in resumed if each.rationale_id in own])


def _resumed(run: Experiment) -> list[Resumed]:
    """The kept corrections that leave something to go on with."""
    found = []
    for row in wanted_rows(run.store, "correction_parts", correct.kept_corrections(run)):
        id_, problem_id, _, _, step, _, solution, _, mistaken, template, rationale_id, *_ = row
        steps = steps_to_resume(ParsedCorrection(step, None, solution), sampled_steps(mistaken, template))
        if steps:
            found.append(Resumed(id_, problem_id, rationale_id, steps))
    return found


def _wanted(run: Experiment, name: str, endpoint: Endpoint, resumed: list[Resumed]) -> list[Call]:
    s = run.profile.sampling.by(name)
    kinds = {problem.id: problem.kind for problem in run.problems.train}
    sampling = Sampling(temperature=0.0, max_tokens=s.max_tokens, stop=stop_texts(endpoint.api))
    return [
        Call(
            endpoint,
            "resolve",
            sample_template(kinds[each.problem_id], s.prompt),
            sampling,
            each.problem_id,
            rationale_id=each.correction_id,
        )
        for each in resumed
    ]


def _complete(run: Run, name: str, calls: list[Call], resumed: list[Resumed]) -> Outcome:
    if not calls:
        return Outcome()
    steps = {each.correction_id: each.steps for each in resumed}
    questions = {problem.id: problem.question for problem in run.problems.train}
    resolved = run.resolved(name)
    bos_text = sample.bos_text_of(resolved)
    with open_model(run, resolved) as endpoint:

        def prompt(call: Call) -> Prompt:
            inputs = {"question": questions[call.problem_id]}
            prompt = continued(call.template, inputs, steps[str(call.rationale_id)], api=endpoint.api)
            return sample.begun(prompt, call, bos_text)

        return complete(run, calls, endpoint=endpoint, render=prompt, accepts=None, label=f"resolve by {name}")
