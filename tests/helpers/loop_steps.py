"""What tests of the loop share: a scripted reasoner whose mistakes are known beforehand; the steps of `lema data`."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripted_server import Body, Say, chat

from lema_local.records.store import Store, Writer
from lema_local.settings.profiles import load_profile
from lema_local.stages.build import Built, build
from lema_local.stages.correct import correct
from lema_local.stages.run import Run
from lema_local.stages.sample import sample

NUMBERS = re.compile(r"has (\d+) boxes of (\d+) pens and gives (\d+) pens")
Profile = Callable[..., Path]


def amounts(body: Body) -> tuple[int, int, int]:
    """The three numbers of the question that is asked."""
    a, b, c = map(int, NUMBERS.findall(body["messages"][-1]["content"])[-1])
    return a, b, c


def reason(body: Body, *, delay_s: float = 0.0) -> Say:
    """Right where the boxes are even in number, wrong in the second step where they are odd; 5 boxes: cut off."""
    a, b, c = amounts(body)
    left = f"{a * b} - {c} = {a * b - c}" if a % 2 == 0 else f"{a * b} + {c} = {a * b + c}"
    text = f"Step 1: There are {a} * {b} = {a * b} pens.\nStep 2: So {left} are left."
    answer = left.rpartition(" ")[2]
    if a == 5:
        return chat(text, finish_reason="length", delay_s=delay_s)
    return chat(f"{text} The answer is {answer}.", delay_s=delay_s)


def reason_and_correct(body: Body) -> Say:
    """The corrector puts mistakes over fewer than 7 boxes right, and has nothing to say about the others."""
    if body["model"] == "scripted":
        return reason(body)
    return chat("I see no mistake here.") if amounts(body)[0] >= 7 else put_right(body)


def put_right(body: Body, *, off: int = 0) -> Say:
    """A correction with the right answer, whose sum is `off` by so many."""
    a, b, c = amounts(body)
    right = f"Step 2: So {a * b} - {c} = {a * b - c + off} are left. The answer is {a * b - c}."
    return chat(f"Step 2.\nExplanation: Pens given away are taken off.\nCorrect Solution:\n...\n{right}")


@contextmanager
def opened(db: Path, profile: Path) -> Iterator[Run]:
    with Writer(db) as store:
        yield Run(load_profile(str(profile), environment={}), store)


def data(db: Path, profile: Path) -> list[Built]:
    """What `lema data` does."""
    with opened(db, profile) as run:
        sample(run)
        correct(run)
        return build(run)


def rows(db: Path, sql: str) -> list[dict[str, Any]]:
    return Store(db).rows(sql)


def counts(db: Path) -> dict[str, int]:
    """How many completions of each purpose there are; no two may be of one wish."""
    doubled = "from (from completion select distinct purpose, problem_id, rationale_id, sample_index, model)"
    distinct = {row["purpose"]: row["n"] for row in rows(db, f"select purpose, count(*) as n {doubled} group by all")}
    stored = rows(db, "select purpose, count(*) as n from completion group by all")
    assert distinct == {row["purpose"]: row["n"] for row in stored}
    return distinct
