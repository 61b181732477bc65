"""A database with as many records as a test wants, in a second: rows go straight into the tables, with no server."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import facts

from lema_local.records import bulk
from lema_local.records.journal import row_of
from lema_local.records.store import Writer
from lema_local.records.types import Completion, Correction, Problem, Rationale
from lema_local.settings.profiles import load_profile
from lema_local.stages import correct, sample
from lema_local.stages.run import Run

PROFILE = """
description = "records in bulk"
[data]
dataset = "bulk"
train_path = "{folder}/train.jsonl"
test_path = "{folder}/test.jsonl"
decontaminate = false
{endpoints}
[sampling]
samples = {samples}
[sampling.of.augmenter]
samples = {paths}
[build]
augment_with = ["augmenter"]
augment_target = {target}
"""
ENDPOINT = '[endpoints.{name}]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "bulk-{name}"\n'
NAMES = ("reasoner", "corrector", "augmenter", "student")


@dataclass(frozen=True)
class Counts:
    """How many records: gold problems; sampled paths for augmentation, the first `right` of them right; corrections."""

    gold: int
    sampled: int
    right: int
    corrections: int
    samples: int = 2
    is_reference_derived: bool = False


def write_files(folder: Path, counts: Counts) -> Path:
    """The problems and the profile that asks for these records; returns the profile."""
    endpoints = "".join(ENDPOINT.format(name=name) for name in NAMES)
    profile = folder / "bulk.toml"
    profile.write_text(
        PROFILE.format(
            folder=folder,
            endpoints=endpoints,
            samples=counts.samples,
            paths=max(1, -(-counts.sampled // counts.gold)),
            target=max(1, counts.sampled),
        )
    )
    for name, numbers in (("train", range(counts.gold)), ("test", range(10**6, 10**6 + 2))):
        rows = (
            {
                "question": f"A shelf has {k} books and 1 more. How many?",
                "answer": f"{k + 1}",
                "solution": f"The shelf has {k} + 1 = {k + 1} books.",
                "subject": f"shelf {k % 3}",
            }
            for k in numbers
        )
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return profile


def fill(store: Writer, profile: Path, counts: Counts, *, backwards: bool = False) -> Run:
    """The run of this profile, with its records in the store; `backwards` puts them in in the opposite order."""
    run = Run(load_profile(str(profile), environment={}), store)
    train = run.problems.train
    completions: list[Completion] = []
    rationales: list[Rationale] = []
    corrections: list[Correction] = []

    augmenter = run.resolved("augmenter").endpoint
    by_id = {problem.id: problem for problem in train}
    paths = sample.wanted_of(run.profile, "augmenter", augmenter, train)
    for k, call in enumerate(sorted(paths, key=lambda call: (call.sample_index, call.problem_id))[: counts.sampled]):
        problem, is_right = by_id[call.problem_id], k < counts.right
        text = _steps(problem, f"In way {k}, ", wrong=not is_right)
        identity, index = augmenter.identity, call.sample_index
        completions.append(_completion(problem, call.id, text, "augment", identity, sample_index=index))
        rationales.append(_rationale(problem, call.id, "bulk-augmenter", is_right))
    reasoner = run.resolved("reasoner").endpoint
    calls = sample.wanted_of(run.profile, "reasoner", reasoner, train)[: counts.corrections]
    mistakes = []
    for call in calls:
        problem = by_id[call.problem_id]
        text = _steps(problem, f"Try {call.sample_index}: ", wrong=True)
        completions.append(_completion(problem, call.id, text, "sample", call.endpoint.identity))
        rationales.append(_rationale(problem, call.id, "bulk-reasoner", False))
        mistakes.append({"id": call.id, "problem_id": problem.id, "solution": problem.solution, "kind": "number"})
    corrector = run.resolved("corrector").endpoint
    for call in correct.wanted(run.profile, corrector, mistakes):
        problem = by_id[call.problem_id]
        solution = f"Step 2: That makes {problem.answer}. The answer is {problem.answer}."
        completions.append(_completion(problem, call.id, f"Step 2. {solution}", "correct", call.endpoint.identity))
        corrections.append(_correction(problem, call.id, str(call.rationale_id), solution, counts))

    with store.connect(write=True) as connection, bulk.transaction(connection):
        tables: tuple[tuple[str, list[Any]], ...] = (
            ("completion", completions),
            ("rationale", rationales),
            ("correction", corrections),
        )
        for table, records in tables:
            bulk.append(connection, table, _rows(reversed(records) if backwards else records))
    return run


def _rows(records: Iterable[Any]) -> Iterable[list[Any]]:
    return (row_of(record) for record in records)


def _steps(problem: Problem, opening: str, *, wrong: bool) -> str:
    answer = int(problem.answer) + (7 if wrong else 0)
    return f"Step 1: {opening}we count the books.\nStep 2: That makes {answer}. The answer is {answer}."


def _completion(problem: Problem, id_: str, text: str, purpose: Any, identity: str, **more: Any) -> Completion:
    return facts.completion(problem, id=id_, text=text, purpose=purpose, model_identity=identity, **more)


def _rationale(problem: Problem, id_: str, reasoner: str, is_right: bool) -> Rationale:
    answer = problem.answer if is_right else str(int(problem.answer) + 7)
    return Rationale(id_, problem.id, reasoner, answer, is_right, is_right, "exact", False)


def _correction(problem: Problem, id_: str, rationale_id: str, solution: str, counts: Counts) -> Correction:
    return Correction(
        id=id_,
        problem_id=problem.id,
        rationale_id=rationale_id,
        corrector="bulk-corrector",
        is_reference_derived=counts.is_reference_derived,
        incorrect_step=2,
        explanation="One book is added, not eight.",
        correct_solution=solution,
        answer=problem.answer,
        is_correct=True,
        rejected_because=None,
    )
