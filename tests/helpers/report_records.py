"""Records of trained and evaluated arms, written straight into a database: what a report is made from."""

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import facts

from lema_local.records import bulk
from lema_local.records.journal import row_of
from lema_local.records.store import Writer
from lema_local.records.types import Checkpoint, Completion, Evaluation, Problem, TrainingSet

STEPS = (100, 200, 300)
RATES: Mapping[str, float] = {"base": 0.10, "cot": 0.35, "lema": 0.55, "lema-controlled": 0.50}
TEXT = "Step 1: There are {k} apples. Step 2: {k} + 1 = {answer}. The answer is {answer}."


def _id(*parts: object) -> str:
    return str(UUID(int=random.Random(repr(parts)).getrandbits(128)))


def add_arms(
    db: Path,
    *,
    model: str = "llama-2-7b",
    dataset: str = "gsm8k",
    problems: int = 120,
    derived: int = 0,
    rates: Mapping[str, float] = RATES,
    seeds: int = 1,
    text: str = TEXT,
    steps: tuple[int, ...] = STEPS,
) -> None:
    """Evaluations of the base and of each arm at `steps`; a problem once solved stays solved."""
    rows: dict[str, list[Any]] = {
        "problem": [],
        "completion": [],
        "training_set": [],
        "checkpoint": [],
        "evaluation": [],
    }
    asked = [
        Problem(
            dataset,
            "test",
            f"{k} apples and 1 more: how many, in {dataset}?",
            str(k + 1),
            level=str(1 + k % 5),
            subject="apples",
        )
        for k in range(problems)
    ]
    rows["problem"] += asked
    for arm, rate in rates.items():
        if arm == "base":
            _evaluate(rows, asked, model, None, arm, rate, 0, text)
            continue
        size = {"cot": 300}.get(arm, 400)
        manifest = {
            "reference_derived": 0 if arm == "cot" else derived,
            "tokens": {"prompt": 100 * size, "output": 90 * size},
        }
        of_arm = TrainingSet(
            _id(model, dataset, arm),
            arm,
            dataset,
            1,
            300 if arm != "lema-controlled" else 200,
            size - 300 if arm == "lema" else 0,
            json.dumps(manifest),
            (),
        )
        rows["training_set"].append(of_arm)
        for seed in range(1, seeds + 1):
            for k, step in enumerate(steps, 1):
                checkpoint = _checkpoint(model, dataset, arm, seed, step, of_arm.id)
                rows["checkpoint"].append(checkpoint)
                _evaluate(rows, asked, model, checkpoint, arm, rate * k / len(steps), seed, text)
    with Writer(db) as store, store.connect(write=True) as connection, bulk.transaction(connection):
        for table, records in rows.items():
            bulk.append(connection, table, (_row(record) for record in records))


def _row(record: Any) -> list[Any]:
    """As the table has it: which examples a set holds is in another table."""
    return row_of(record)[: -1 if isinstance(record, TrainingSet) else None]


def _checkpoint(model: str, dataset: str, arm: str, seed: int, step: int, training_set: str) -> Checkpoint:
    return Checkpoint(
        id=_id(model, dataset, arm, seed, step),
        run_id=_id(model, dataset, arm, seed),
        base_model=model,
        quantization="nf4",
        training_set_id=training_set,
        arm=arm,
        dataset=dataset,
        seed=seed,
        step=step,
        settings='{"learning_rate": 0.0002}',
        path=f"runs/{arm}/step-{step:06d}",
        loss=1.0 / step,
        tokens_seen=1000 * step,
        samples_seen=8 * step,
        created_at=datetime(2026, 1, 2, tzinfo=UTC) + timedelta(minutes=step),
    )


def _evaluate(
    rows: dict[str, list[Any]],
    asked: list[Problem],
    model: str,
    checkpoint: Checkpoint | None,
    arm: str,
    rate: float,
    seed: int,
    text: str,
) -> None:
    """A problem is solved where its own difficulty, the same for all arms but for a little, is under the rate."""
    id_ = checkpoint.id if checkpoint else None
    for k, problem in enumerate(asked):
        difficulty = random.Random(f"{k}").random() * 0.9 + random.Random(f"{k} {arm} {seed}").random() * 0.1
        is_correct = difficulty < rate
        answer = problem.answer if is_correct else "0"
        completion: Completion = facts.completion(
            problem,
            id=_id(problem.id, id_, model),
            purpose="evaluate",
            checkpoint_id=id_,
            model=model,
            text=text.replace("{k}", str(k)).replace("{answer}", answer),
            sampling='{"max_tokens": 256, "temperature": 0.0}',
        )
        rows["completion"].append(completion)
        rows["evaluation"].append(
            Evaluation(
                completion.id, problem.id, model, "hf:base, nf4", id_, 0, answer, is_correct, is_correct, "exact", False
            )
        )
