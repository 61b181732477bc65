"""Evaluation: zero-shot, greedy, on the test split, of the base model and of every checkpoint of every arm, with no
merge.

llama.cpp holds one adapter at a time, as a LoRA GGUF made from the checkpoint, and is started anew for each; vLLM
serves the base
once with all adapters as model names. A plain base URL serves the base model only.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lema_local.answers import extract_answer, is_correct
from lema_local.endpoint import Endpoint, Prompt, Sampling
from lema_local.errors import DataError
from lema_local.models import resolve_model
from lema_local.prompts import EVALUATION_TEMPLATE, cot_input
from lema_local.recipes import Recipe, load_recipe
from lema_local.records import Checkpoint, Problem
from lema_local.serving import describe_endpoint, open_endpoint
from lema_local.stages import train
from lema_local.stages.calls import Call, Outcome, complete, pending
from lema_local.stages.derive import derive
from lema_local.stages.run import Run
from lema_local.training.checkpoints import refuse_damaged


@dataclass(frozen=True, slots=True)
class Target:
    """Something to evaluate: the base model (no checkpoint) or an adapter over it, with the calls that this takes."""

    checkpoint: Checkpoint | None
    calls: tuple[Call, ...]

    @property
    def label(self) -> str:
        return "base" if self.checkpoint is None else f"{self.checkpoint.arm}-{self.checkpoint.step}"


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
        missing = [str(s) for s in run.profile.training.checkpoint_steps if (training_run.id, s) not in there]
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
    for target, endpoint in _served(run, open_targets):
        total += _complete(run, target, endpoint)
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
    return Call(endpoint, "evaluate", EVALUATION_TEMPLATE, sampling, problem.id, checkpoint_id=checkpoint_id)


def _served(run: Run, open_targets: Sequence[Target]) -> Iterator[tuple[Target, Endpoint]]:
    """Each target with an endpoint that serves it, for as long as the caller works on it."""
    profile = run.profile.endpoint("student")
    recipe = load_recipe(profile.recipe) if profile.recipe else None
    if recipe is not None and recipe.adapters == "many" and open_targets:
        paths = {t.label: run.checkpoint_path(t.checkpoint) for t in open_targets if t.checkpoint}
        options = replace(run.serve_options, adapters=paths, lora_rank=run.profile.training.lora_r)
        with open_endpoint("student", profile, options=options, on_notice=run.notice) as endpoint:
            for target in open_targets:
                served = target.label if target.checkpoint else endpoint.served_model
                yield target, replace(endpoint, served_model=served)
        return
    for target in open_targets:
        with _one(run, target, recipe) as endpoint:
            yield target, endpoint


@contextmanager
def _one(run: Run, target: Target, recipe: Recipe | None) -> Iterator[Endpoint]:
    """A server that has this target alone."""
    profile = run.profile.endpoint("student")
    options, checkpoint = run.serve_options, target.checkpoint
    if checkpoint is not None and recipe is not None and recipe.weights == "gguf":
        base = resolve_model(profile.model).gguf()
        options = replace(options, adapters={target.label: _lora_gguf(run.checkpoint_path(checkpoint), base)})
    checkpoint_id = checkpoint.id if checkpoint else None
    run.notice(f"evaluating {target.label}")
    with open_endpoint(
        "student", profile, options=options, checkpoint_id=checkpoint_id, on_notice=run.notice
    ) as endpoint:
        yield endpoint


def _lora_gguf(directory: Path, base: Path) -> Path:
    """The adapter as llama.cpp loads it, made once beside the checkpoint."""
    from lema_local.training.adapter_gguf import convert_adapter

    target = directory / "adapter.gguf"
    if not target.is_file():
        convert_adapter(directory, target, base_gguf=base)
    return target


def _complete(run: Run, target: Target, endpoint: Endpoint) -> Outcome:
    problems = {problem.id: problem for problem in run.problems.test}
    profile = run.profile.endpoint("student")
    bos_text = resolve_model(profile.model).bos_text if profile.recipe else ""

    def prompt(call: Call) -> Prompt:
        # one BOS: as text where the server's tokenizer adds none by itself
        text = cot_input(problems[call.problem_id].question)
        return (
            Prompt(text=bos_text + text)
            if endpoint.api == "completions"
            else Prompt(messages=({"role": "user", "content": text},))
        )

    def accepts(call: Call, text: str) -> bool:
        problem = problems[call.problem_id]
        return is_correct(extract_answer(text, problem.kind), problem.answer, problem.kind)

    label = f"evaluate {target.label}"
    return complete(run, target.calls, endpoint=endpoint, render=prompt, accepts=accepts, label=label)
