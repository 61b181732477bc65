"""What a run has done until now, read from the database: progress of each stage, what was spent, samples, losses.

    look(store)        Live(writer=4711, progress=({"stage": "corrections", "what": "gpt-4, gsm8k", "done": 120, ...},))

Replies are in the database a second or two after they come, and are graded when their stage ends: until then a sample
is read by the parser that will grade it, and has no verdict.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from lema_local.corrections.parsing import parse_correction
from lema_local.prompts import sampled_steps
from lema_local.records.store import Store, stage_sql
from lema_local.report.evidence import Row
from lema_local.report.gather import CorrectionSample
from lema_local.review.items import item_of

SAMPLES = 30
RUNS = 6
POINTS = 120  # of a loss curve
_WIDTH, _HEIGHT, _EDGE = 240, 60, 2  # of its picture, as live.html has it


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of a training run so far; `points` is an SVG polyline's."""

    label: str
    step: int
    first: str
    last: str
    speed: str
    points: str


@dataclass(frozen=True, slots=True)
class Live:
    """All that the live part of the page shows."""

    writer: int | None
    progress: Sequence[Row]
    spent: str
    samples: Sequence[CorrectionSample]
    losses: Sequence[Loss]


def look(store: Store) -> Live:
    """What is there now, each query by itself. StoreError: the database cannot be read at this moment."""
    (spent,) = store.rows(stage_sql("live_spent"), now=datetime.now(UTC))
    losses = store.rows(stage_sql("live_losses"), runs=RUNS, points=POINTS)
    return Live(
        writer=store.writer_pid(),
        progress=store.rows(stage_sql("live_progress")),
        spent=spent_text(spent),
        samples=[_sample(row) for row in store.rows(stage_sql("live_samples"), count=SAMPLES)],
        losses=[_loss(list(rows)) for _, rows in groupby(losses, key=lambda row: row["run_id"])],
    )


def spent_text(row: Row) -> str:
    """A row of db/stages/live_spent.sql in words."""
    text = (
        f"{row['calls']:,} replies, {row['last_minute']:,} of them in the last minute, {row['failed']:,} failed calls; "
    )
    text += f"{row['prompt_tokens']:,} tokens read and {row['completion_tokens']:,} written; "
    if row["usd"] is None:
        return f"{text}no price is known."
    free = f", {row['without_price']:,} replies without a price" if row["without_price"] else ""
    return f"{text}{row['usd']:.2f} US dollars{free}."


def _sample(row: Row) -> CorrectionSample:
    step, explanation, solution = row["incorrect_step"], row["explanation"], row["correct_solution"]
    if not row["is_graded"]:
        parsed = parse_correction(row["reply"], sampled_steps(row["mistaken"], row["template"]))
        step, explanation = parsed.incorrect_step, parsed.explanation
        solution = parsed.correct_solution or row["reply"]
    item = item_of(
        (
            row["id"], row["question"], row["reference"], row["reference_solution"], row["mistaken"], row["template"],
            row["mistaken_answer"], step, explanation, solution, row["answer"], row["rejected_because"],
        )
    )  # fmt: skip
    return CorrectionSample(item, row["corrector"], row["reasoner"], row["is_reference_derived"], row["is_graded"])


def _loss(rows: Sequence[dict[str, Any]]) -> Loss:
    last = rows[-1]
    return Loss(
        label=last["label"],
        step=last["step"],
        first=f"{rows[0]['loss']:.3f}",
        last=f"{last['loss']:.3f}",
        speed=f"{last['tokens_per_second']:,.0f}",
        points=polyline([(row["step"], row["loss"]) for row in rows]),
    )


def polyline(points: Iterable[tuple[float, float]]) -> str:
    """Points of a curve as SVG has them, step 0 at the left, loss 0 at the bottom; what is no number is left out."""
    whole = [(x, y) for x, y in points if math.isfinite(y)]
    right, top = max((x for x, _ in whole), default=0) or 1, max((y for _, y in whole), default=0) or 1
    width, height = _WIDTH - 2 * _EDGE, _HEIGHT - 2 * _EDGE
    return " ".join(f"{_EDGE + width * x / right:.1f},{_HEIGHT - _EDGE - height * y / top:.1f}" for x, y in whole)
