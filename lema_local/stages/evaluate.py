"""Evaluation: zero-shot, greedy, on the test split, of the base model and of every checkpoint of every arm, with no
merge (stages/sweep.py serves them)."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lema_local.endpoint import Endpoint, Sampling
from lema_local.errors import DataError
from lema_local.models import prompt_of
from lema_local.prompts import evaluation_template
from lema_local.recipes import load_recipe
from lema_local.records import Checkpoint, Problem
from lema_local.serving import describe_endpoint
from lema_local.stages import train
from lema_local.stages.calls import Call, Outcome, pending
from lema_local.stages.derive import derive
from lema_local.stages.run import Run
from lema_local.stages.sweep import Target, complete_target, served
from lema_local.training.checkpoints import refuse_damaged


def targets(run: Run) -> list[Target]:
    """The base model, then every recorded checkpoint of the profile's arms."""
    profile = run.profile.endpoint("student")
    found: list[Checkpoint | None] = [None]
    if profile.recipe is not None and load_recipe(profile.recipe).adapters != "none":
        try:
            planned = train.planned_runs(run)
            recorded = train.checkpoints(run, planned)
            _name_missing(run, planned, recorded)
            found += recorded
        except DataError as error:
            run.notice(f"Only the base model is evaluated: {error}")
    e = run.profile.evaluation
    sampling = Sampling(temperature=0.0, max_tokens=e.max_tokens)
    made = []
    for checkpoint in found:
        endpoint = describe_endpoint("student", profile, checkpoint_id=checkpoint.id if checkpoint else None)
        calls = tuple(_call(endpoint, checkpoint, problem, sampling) for problem in run.problems.test)
        made.append(Target(checkpoint, calls))
    return made


def _name_missing(run: Run, planned: Sequence[train.TrainingRun], recorded: Sequence[Checkpoint]) -> None:
    """A table without an arm must say why: not trained, or trained with other settings or data."""
    there = {(c.run_id, c.step) for c in recorded}
    for training_run in planned:
        missing = [str(s) for s in training_run.settings.checkpoint_steps if (training_run.id, s) not in there]
        if missing:
            run.notice(
                f"{training_run.built.training_set.arm}: step {', '.join(missing)} of this profile and data is not "
                "trained yet: `lema train` with the same options, then this again."
            )


def evaluate(run: Run) -> tuple[list[Target], Outcome]:
    """Evaluate what is pending and grade it; a finished evaluation is never run again."""
    everything = targets(run)
    open_targets = [replace(t, calls=tuple(left)) for t in everything if (left := pending(run, t.calls))]
    for target in open_targets:
        if target.checkpoint is not None:
            refuse_damaged(run.checkpoint_path(target.checkpoint))
    total = Outcome()
    for target, endpoint in served(run, open_targets):
        total += complete_target(run, target, endpoint)
    derive(run.store, "evaluate")
    return everything, total


def result_rows(run: Run, everything: Sequence[Target]) -> list[dict[str, Any]]:
    """The graded answers of these targets, as rows of the view evaluation_result."""
    ids = {call.id for target in everything for call in target.calls}
    return [row for row in run.store.rows("from evaluation_result") if row["id"] in ids]


def facts(run: Run, everything: Sequence[Target]) -> list[str]:
    """What a reader must know before the numbers; reference-derived corrections come first."""
    profile, data = run.profile, run.profile.data
    arms = {t.checkpoint.training_set_id for t in everything if t.checkpoint}
    lines = []
    for row in run.store.rows("select id, arm, correction_examples, manifest from training_set order by arm"):
        derived = json.loads(row["manifest"])["corrections_reference_derived"]
        if row["id"] in arms and row["correction_examples"] and derived:
            lines.append(
                f"{row['arm']}: {derived} of its corrections are the oracle's, written from reference "
                f"solutions: they say nothing about any corrector model."
            )
    same = ", train and test problems come from the same templates" if data.dataset == "gsm-symbolic" else ""
    lines.append(
        f"{data.dataset}, test split, {len(run.problems.test)} problems{same}; "
        f"zero-shot, greedy, at most {profile.evaluation.max_tokens} tokens; student "
        f"{profile.endpoint('student').model}"
    )
    return lines


def _call(endpoint: Endpoint, checkpoint: Checkpoint | None, problem: Problem, sampling: Sampling) -> Call:
    checkpoint_id = checkpoint.id if checkpoint else None
    template = evaluation_template(prompt_of(endpoint.model))
    return Call(endpoint, "evaluate", template, sampling, problem.id, checkpoint_id=checkpoint_id)
