"""Evaluation: zero-shot, greedy, on the test split, of the base model and of every checkpoint of every arm, with no
merge (stages/sweep.py serves them).

Where the profile asks for it: on a dev split and other sets too (evaluation_sets.py), the greedy answer again and
again, and samples beside it. None of that changes the key of a greedy answer.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lema_local.calls.endpoint import Endpoint, Sampling
from lema_local.errors import DataError
from lema_local.prompts import evaluation_template
from lema_local.records.store import stage_sql
from lema_local.records.types import Checkpoint, Problem
from lema_local.serving.recipes import load_recipe
from lema_local.settings.published import Adapter, find_adapter
from lema_local.stages import train
from lema_local.stages.bases import describe_student
from lema_local.stages.calls import Outcome, pending
from lema_local.stages.derive import derive
from lema_local.stages.imported_answers import ImportedAnswers, import_answers
from lema_local.stages.run import Run
from lema_local.stages.student import student_frame, student_prompt
from lema_local.stages.sweep import Target, sweep
from lema_local.stages.tracking import Tracking
from lema_local.stages.work import Call
from lema_local.training.checkpoints import is_removed


def targets(run: Run) -> list[Target]:
    """The base model, then every recorded checkpoint of the profile's arms; a published adapter alone, where the
    student's model names one."""
    profile = run.profile.endpoint("student")
    if profile.recipe is not None and (published := find_adapter(profile.model)) is not None:
        run.profile = run.profile.with_student(published.base)
        return [target_of(run, None, published)]
    recorded, runs = list[Checkpoint](), dict[str, train.TrainingRun]()
    if profile.recipe is not None and load_recipe(profile.recipe).adapters != "none":
        try:
            planned = train.planned_runs(run)
            recorded = train.checkpoints(run, planned)
            _name_missing(run, planned, recorded)
            if run.profile.evaluation.checkpoints == "last":
                ends = {r.id: r.ends for r in planned}
                recorded = [c for c in recorded if c.step in ends[c.run_id]]
            runs = {r.id: r for r in planned}
        except DataError as error:
            run.notice(f"Only the base model is evaluated: {error}")
    tuned = [replace(target_of(run, checkpoint), training_run=runs[checkpoint.run_id]) for checkpoint in recorded]
    return [target_of(run, None), *tuned]


def target_of(run: Run, checkpoint: Checkpoint | None, published: Adapter | None = None) -> Target:
    """What a checkpoint, a published adapter or (neither) the base model is asked."""
    checkpoint_id = checkpoint.id if checkpoint else None
    endpoint = describe_student(run, published.identity if published else checkpoint_id)
    if published is not None:
        endpoint = replace(endpoint, model=published.name)
    calls = tuple(evaluation_calls(run, endpoint, checkpoint_id))
    return Target(checkpoint, calls, published, has_seed_in_label=run.profile.training.seeds > 1)


def _name_missing(run: Run, planned: Sequence[train.TrainingRun], recorded: Sequence[Checkpoint]) -> None:
    """A table without an arm must say why: not trained, or trained with other settings or data."""
    there = {(c.run_id, c.step) for c in recorded}
    for training_run in planned:
        missing = [str(s) for s in training_run.settings.checkpoint_steps if (training_run.id, s) not in there]
        if missing:
            run.notice(
                f"{training_run.label}: step {', '.join(missing)} of this profile and data is not "
                "trained yet: `lema train` with the same options, then this again."
            )


def evaluate(run: Run) -> tuple[list[Target], Outcome]:
    """Evaluate what is pending and grade it; a finished evaluation is never run again."""
    Tracking(run)  # a tracker that is not installed is named before anything is asked
    everything = targets(run)
    total = sweep(run, _without_removed(run, everything))
    derive(run.store, "evaluate")
    return everything, total


def _without_removed(run: Run, everything: Sequence[Target]) -> list[Target]:
    """Those whose weights are there: `lema train --keep` takes away the oldest, and says so; this says so again, of
    those that were not evaluated before."""
    there = [t for t in everything if t.checkpoint is None or not is_removed(run.checkpoint_path(t.checkpoint))]
    gone = [t.label for t in everything if t not in there and pending(run, t.calls)]
    if gone:
        run.notice(
            f"Not evaluated, because their weights were removed (training.keep): {', '.join(gone)}. To have them, "
            "delete their step-... folders and `lema train` without keep."
        )
    return there


def result_rows(run: Run, everything: Sequence[Target]) -> list[dict[str, Any]]:
    """The graded answers of these targets, as rows of db/stages/evaluated.sql."""
    ids = {call.id for target in everything for call in target.calls}
    return [row for row in run.store.rows(stage_sql("evaluated")) if row["id"] in ids]


def show_evaluation(run: Run, targets: Sequence[Target], rows: Sequence[Mapping[str, Any]]) -> None:
    """Show these rows of the table in the trackers that the profile names: of each training run of the targets its
    checkpoints', and the base model's at step 0. A row that misses a reply is not shown yet."""
    tracking, whole = Tracking(run), [row for row in rows if not row["missing"]]
    if not tracking:
        return
    evaluated = {row["checkpoint_id"] for row in whole}
    tuned = [(t.training_run, t.checkpoint.id) for t in targets if t.training_run and t.checkpoint]
    for training_run in {each.id: each for each, _ in tuned}.values():
        own = evaluated & {checkpoint_id for each, checkpoint_id in tuned if each is training_run}
        if own:
            with tracking.showing(training_run.shown) as showing:
                for row in whole:
                    if row["checkpoint_id"] in own or row["arm"] == "base":
                        showing.evaluation(row)


def without_reply(everything: Sequence[Target], rows: Sequence[dict[str, Any]]) -> list[str]:
    """The labels of the targets that none of these rows is of: they stand in no table."""
    ids = {row["id"] for row in rows}
    return [target.label for target in everything if not any(call.id in ids for call in target.calls)]


def imported_rows(run: Run, file: Path, *, model: str | None) -> tuple[list[dict[str, Any]], ImportedAnswers]:
    """Grade a file of answers that were made elsewhere to this run's test problems and other sets: its rows, as
    result_rows has them, and how the import went."""
    asked = [problem for each in run.evaluation_sets if each.split != "dev" for problem in each.problems]
    imported = import_answers(run.store, file, problems=asked, model=model)
    ids = set(imported.ids)
    return [row for row in run.store.rows(stage_sql("evaluated")) if row["id"] in ids], imported


def facts(run: Run, everything: Sequence[Target]) -> list[str]:
    """What a reader must know before the numbers; reference-derived corrections come first."""
    profile = run.profile
    arms = {t.checkpoint.training_set_id for t in everything if t.checkpoint}
    lines = []
    for row in run.store.rows("select id, arm, manifest from training_set order by arm"):
        derived = json.loads(row["manifest"]).get("reference_derived", 0)
        if row["id"] in arms and derived:
            lines.append(
                f"{row['arm']}: {derived} of its examples are the oracle's, written from reference solutions: they say "
                f"nothing about any corrector model."
            )
    for each in run.evaluation_sets:
        is_own = each.split == "test" and each.dataset == profile.data.dataset == "gsm-symbolic"
        same = ", train and test problems come from the same templates" if is_own else ""
        use = "dev split (chooses checkpoints, no test problem)" if each.split == "dev" else f"{each.split} split"
        lines.append(
            f"{each.dataset}, {use}, {len(each.problems)} problems{same}; zero-shot, greedy, at most "
            f"{profile.evaluation.max_tokens} tokens; student {profile.endpoint('student').model}"
        )
    if profile.endpoint("student").recipe is None:  # a recipe undoes its server's defaults in each request
        lines.append(
            "the student is a server that lema did not start: what is not sent (a repeat penalty, top-k) is as that "
            "server has it, and greedy may not be plain greedy (llama-cpp-python: repeat penalty 1.1)"
        )
    if profile.evaluation.samples:
        e = profile.evaluation
        lines.append(
            f"beside the greedy answer {e.samples} samples at temperature {e.temperature:g}, top_p {e.top_p:g}"
        )
    return lines


def evaluation_calls(run: Run, endpoint: Endpoint, checkpoint_id: str | None) -> Iterator[Call]:
    """What one checkpoint, or the base, is asked. Greedy on every set; then all of it once more for each repeat, so
    that no two repeats are one request; then samples. The dev split only chooses: once, greedy."""
    e = run.profile.evaluation
    frame = student_frame(run)
    stop = () if frame is None else (frame.end,)
    greedy = Sampling(temperature=0.0, max_tokens=e.max_tokens, stop=stop)
    sampled = Sampling(temperature=e.temperature, max_tokens=e.max_tokens, top_p=e.top_p, seed=e.seed, stop=stop)
    template = evaluation_template(student_prompt(run))

    def call(problem: Problem, sampling: Sampling, index: int) -> Call:
        return Call(endpoint, "evaluate", template, sampling, problem.id, index, checkpoint_id=checkpoint_id)

    tested = [problem for each in run.evaluation_sets if each.split != "dev" for problem in each.problems]
    yield from (call(problem, greedy, 0) for each in run.evaluation_sets for problem in each.problems)
    yield from (call(problem, greedy, repeat) for repeat in range(1, e.repeats) for problem in tested)
    yield from (call(problem, sampled, index) for problem in tested for index in range(e.samples))
