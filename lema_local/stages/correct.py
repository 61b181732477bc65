"""Correction: the corrector M_c gets every mistake. Correctors form a cascade: each next one gets only what the ones
before answered and failed to correct."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from lema_local.answers.exact import extract_answer, is_correct
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.corrections.checks import CHECKS, failed_requirement
from lema_local.corrections.parsing import parse_correction
from lema_local.corrections.rationales import number_steps
from lema_local.prompts import as_json, correction_template, render, sampled_steps, stop_texts
from lema_local.records.keys import content_key
from lema_local.records.store import Store
from lema_local.records.types import Problem
from lema_local.serving.command import ServeOptions
from lema_local.settings.profiles import Profile
from lema_local.settings.tables import CorrectionProfile
from lema_local.stages import sample
from lema_local.stages.calls import Outcome, complete, pending
from lema_local.stages.derive import derive
from lema_local.stages.engines import open_model
from lema_local.stages.oracle_file import oracle_problems
from lema_local.stages.run import Experiment, Run
from lema_local.stages.select import wanted_rows
from lema_local.stages.work import Call

Mistake = dict[str, Any]  # id, problem_id, rationale (its text), template (it was asked by), question, solution, kind


def mistakes(experiment: Experiment, *, texts: bool = True) -> list[Mistake]:
    """The graded mistakes to correct, by id: among the samples that the profile asks for, and among imported ones; not
    those that an imported correction puts right: nobody is asked again. Without `texts` their text is "", else those
    without a step are left out, and counted in a notice: no correction of them can be kept, for it names a step."""
    store, problems = experiment.store, experiment.problems.train
    done = corrected_elsewhere(store, problems)
    ids = [*(call.id for call in sample.wanted(experiment)), *sample.imported(store, "sample", problems)]
    by_id = {problem.id: problem for problem in problems}
    found, stepless = [], 0
    for id_, problem_id, text, template in wanted_rows(store, "wanted_mistakes", ids, texts=texts):
        if id_ in done:
            continue
        if texts and not sampled_steps(text, template):
            stepless += 1
            continue
        problem = by_id[problem_id]
        words = {"question": problem.question, "solution": problem.solution, "kind": problem.kind}
        found.append({"id": id_, "problem_id": problem_id, "rationale": text, "template": template} | words)
    if stepless:
        experiment.notice(f"{stepless} mistakes have no steps that can be read: no corrector is asked about them.")
    return found


def wanted(profile: Profile, endpoint: Endpoint, given: Sequence[Mistake]) -> list[Call]:
    """One correction of each of these mistakes by this corrector.

    A reference-derived corrector is asked only where there is a solution, and for another solution anew.
    """
    c = profile.correction
    seed = c.seed if c.temperature > 0 else None
    sampling = Sampling(
        temperature=c.temperature,
        max_tokens=c.max_tokens,
        top_p=c.top_p,
        seed=seed,
        stop=stop_texts(endpoint.api),
        structured=c.structured and not endpoint.is_reference_derived,  # that one writes by rule, in the paper's form
    )
    calls = []
    for row in given:
        asked = endpoint
        if endpoint.is_reference_derived:
            if row["solution"] is None:
                continue
            asked = replace(endpoint, identity=f"{endpoint.identity}:{content_key('solution', row['solution'])}")
        template = correction_template(row["kind"])
        calls.append(Call(asked, "correct", template, sampling, row["problem_id"], rationale_id=row["id"]))
    return calls


def prompts(given: Sequence[Mistake], api: Literal["chat", "completions"]) -> Callable[[Call], Prompt]:
    """What renders the prompt of a correction of one of these mistakes."""
    by_id = {row["id"]: row for row in given}

    def prompt(call: Call) -> Prompt:
        row = by_id[str(call.rationale_id)]
        steps = number_steps(sampled_steps(row["rationale"], row["template"])) or row["rationale"].strip()
        prompt = render(call.template, {"question": row["question"], "steps": steps}, api=api)
        return as_json(prompt) if call.sampling.structured else prompt

    return prompt


def kept(store: Store, calls: Sequence[Call]) -> dict[str, str]:
    """Rationale id -> correction id of those calls whose correction was kept."""
    return dict(wanted_rows(store, "wanted_corrections", (call.id for call in calls)))


def left_for_the_next(
    run: Experiment, given: Sequence[Mistake], calls: Sequence[Call], done: Container[str]
) -> list[Mistake]:
    """Of the mistakes that a corrector was given, those that the next one gets too, once their replies are graded;
    `calls` are the corrector's, `done` the mistakes that it put right.

    One whose reply is still to come stays with it: a batch will bring it, or the next run asks again, and the next
    corrector would be paid for the same.
    """
    if run.profile.correction.everyone:
        return list(given)
    ids = [call.id for call in calls]
    missing = run.store.missing("completion", ids)
    waited_for = {call.rationale_id for call, id_ in zip(calls, ids, strict=True) if id_ in missing}
    return [row for row in given if row["id"] not in done and row["id"] not in waited_for]


def has_asked(run: Experiment) -> bool:
    """Whether any correction that this profile wants is there, kept or not."""
    given = mistakes(run, texts=False)
    for name in run.profile.correction.correctors:
        ids = [call.id for call in wanted(run.profile, run.resolved(name).endpoint, given)]
        if len(run.store.missing("completion", ids)) < len(ids):
            return True
    return False


def corrected_problems(run: Experiment) -> list[str]:
    """Ids of the problems that the kept corrections are of: as often as each was corrected."""
    return [row[0] for row in wanted_rows(run.store, "corrected_problems", kept_corrections(run))]


def correct(run: Run) -> Outcome:
    """Send what is pending through the cascade and grade it."""
    total = Outcome()
    left = mistakes(run)
    for name in run.profile.correction.correctors:
        resolved = run.resolved(name)
        calls = wanted(run.profile, resolved.endpoint, left)
        open_calls = pending(run, calls)
        if open_calls:
            options = run.serve_options
            if resolved.recipe and resolved.recipe.reference_derived:
                options = ServeOptions(log_directory=options.log_directory, problems=oracle_problems(run))
            with open_model(run, resolved, options=options) as endpoint:
                total += _complete(run, open_calls, endpoint, left)
        derive(run.store, "correct")
        left = left_for_the_next(run, left, calls, kept(run.store, calls))
    return total


def kept_corrections(run: Experiment) -> list[str]:
    """Ids of the corrections of this profile that training may use, whichever corrector of the cascade wrote them."""
    c, found = run.profile.correction, list(corrected_elsewhere(run.store, run.problems.train).values())
    left = mistakes(run, texts=False)
    by_mistake: dict[str, list[str]] = {}
    for name in c.correctors:
        calls = wanted(run.profile, run.resolved(name).endpoint, left)
        done = kept(run.store, calls)
        for rationale_id, id_ in done.items():
            by_mistake.setdefault(rationale_id, []).append(id_)
        if not c.everyone:  # what is paid for trains, though a call before it is still to come
            left = [row for row in left if row["id"] not in done]
    if c.everyone:
        return sorted([*found, *_chosen(run.store, c, by_mistake)])
    return sorted([*found, *(ids[0] for ids in by_mistake.values())])


def _chosen(store: Store, c: CorrectionProfile, by_mistake: dict[str, list[str]]) -> Iterator[str]:
    """One correction of each mistake, of those that enough correctors agree with on the step: the first that passes
    the required checks, else the first, which building then leaves out with its reason.

    Not by "resolved": only what is chosen here is re-solved.
    """
    require = [name for name in c.require if name != "resolved"]
    ids = [id_ for each in by_mistake.values() for id_ in each]
    step_of, passes = {}, set()
    for id_, _, _, _, step, *_, checked in wanted_checks(store, ids):
        step_of[id_] = step
        if failed_requirement(checked, require) is None:
            passes.add(id_)
    for each in by_mistake.values():
        same = [id_ for id_ in each if sum(step_of[other] == step_of[id_] for other in each) >= c.agree]
        if same:
            yield next((id_ for id_ in same if id_ in passes), same[0])


def wanted_checks(store: Store, ids: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """The corrections of these ids in their parts (correction_parts.sql), the checks as one mapping at the end."""
    for row in wanted_rows(store, "correction_parts", ids):
        yield *row[: -len(CHECKS)], dict(zip(CHECKS, row[-len(CHECKS) :], strict=True))


def corrected_elsewhere(store: Store, problems: Sequence[Problem]) -> dict[str, str]:
    """Rationale id -> id of a kept correction of a mistake that was made elsewhere and imported."""
    return dict(wanted_rows(store, "wanted_corrections", sample.imported(store, "correct", problems)))


def of_no_mistake(store: Store, problems: Sequence[Problem]) -> dict[str, int]:
    """Imported corrections that would be kept, but are of no mistake: why -> how many."""
    return dict(wanted_rows(store, "corrections_of_no_mistake", sample.imported(store, "correct", problems)))


def _complete(run: Run, calls: Sequence[Call], endpoint: Endpoint, given: Sequence[Mistake]) -> Outcome:
    prompt = prompts(given, endpoint.api)
    problems = {problem.id: problem for problem in run.problems.train}

    def accepts(call: Call, text: str) -> bool:
        problem, solution = problems[call.problem_id], parse_correction(text).correct_solution
        return solution is not None and is_correct(extract_answer(solution, problem.kind), problem.answer, problem.kind)

    label = f"correct by {endpoint.model}"
    return complete(run, calls, endpoint=endpoint, render=prompt, accepts=accepts, label=label)
