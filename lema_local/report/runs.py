"""Runs that differ in their seed alone, and whether two of them may be compared. Pure.

    cot, lema = runs_of(rows)                     # one for each arm, training set, design and length
    lema.seeds, lema.training_set, lema.length    # {42: [...], 43: [...]}, "9d5bb50f-...", 120
    Data.of(rows of report_arms.sql, rows of report_shared_examples.sql).is_alike(lema, cot)

Only evaluated checkpoints are here: what is being trained stands for nothing yet.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from lema_local.errors import TrainingError
from lema_local.settings.training import TrainingSettings

Row = Mapping[str, Any]
_FIELDS = {each.name for each in fields(TrainingSettings)}


def settings_of(text: str) -> TrainingSettings:
    """A run's, as recorded by whatever version; the defaults for what it does not say, or says in an unknown way."""
    try:
        return TrainingSettings(**{name: value for name, value in json.loads(text).items() if name in _FIELDS})
    except (ValueError, TypeError, AttributeError, TrainingError):
        return TrainingSettings()


@dataclass(slots=True)
class Runs:
    """Of one student, data set, arm, training set and design; and of one length, unless the learning rate is constant:
    a longer run passes there."""

    student: tuple[str, str]  # base model, data set
    arm: str
    training_set: str
    design: tuple[tuple[str, str], ...]  # settings by name
    length: int | None  # steps; None where the learning rate is constant
    seeds: dict[int, list[Row]] = field(default_factory=dict)  # of each the latest run's checkpoints, oldest first
    is_by_steps: bool = False  # any was asked for without a match by epochs or tokens
    last: int = 0  # the place of the last one among all

    @property
    def ids(self) -> set[str]:
        """Of its checkpoints."""
        return {row["id"] for of_seed in self.seeds.values() for row in of_seed}

    def common_seeds(self, other: "Runs") -> set[int]:
        """Seeds of both."""
        return self.seeds.keys() & other.seeds.keys()


def runs_of(rows: Sequence[Row]) -> list[Runs]:
    """Of rows of db/stages/report_checkpoints.sql, oldest first: the evaluated ones, the last trained at the end."""
    found: dict[tuple[Any, ...], Runs] = {}
    for place, row in enumerate(rows):
        if not row["is_evaluated"]:
            continue
        settings = settings_of(row["settings"])
        length = None if settings.schedule == "constant" else settings.max_steps
        student = row["base_model"], row["dataset"]
        design = tuple((name, str(value)) for name, value in sorted(settings.design.items()))
        key = (student, row["arm"], row["training_set_id"], design, length)
        runs = found.setdefault(key, Runs(*key))
        of_seed = runs.seeds.get(row["seed"], [])
        if of_seed and of_seed[-1]["run_id"] != row["run_id"]:
            of_seed = []  # it was trained again: the later run counts
        runs.seeds[row["seed"]] = [*of_seed, row]
        runs.is_by_steps |= settings.match == "steps"
        runs.last = place
    return sorted(found.values(), key=lambda runs: runs.last)


@dataclass(frozen=True, slots=True)
class Data:
    """What is known of training sets: whose corrections they hold, and how many examples two of them share."""

    correctors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cot: Mapping[frozenset[str], int] = field(default_factory=dict)  # of a set with itself: how many it has
    corrections: Mapping[frozenset[str], int] = field(default_factory=dict)

    @classmethod
    def of(cls, arms: Iterable[Row], shared: Iterable[Row]) -> "Data":
        """From rows of db/stages/report_arms.sql and db/stages/report_shared_examples.sql."""
        pairs = [(frozenset((row["one"], row["other"])), row) for row in shared]
        return cls(
            {row["training_set_id"]: tuple(row["correctors"]) for row in arms},
            {pair: row["shared"] for pair, row in pairs},
            {pair: row["shared_corrections"] for pair, row in pairs},
        )

    def is_alike(self, one: Runs, other: Runs) -> bool:
        """Whether CoT examples are what the arms say that they are: the same ones, or where an arm has fewer or more by
        its making, all of the fewer among the more. What differs besides is what is compared."""
        a, b, both = _counts(self.cot, one.training_set, other.training_set)
        fewer, more = sorted((a, b))
        return both == fewer > 0 and (fewer == more or not {one.arm, other.arm} <= {"cot", "lema"})

    def is_unlike(self, one: Runs, other: Runs) -> bool:
        """Whether both are known to have CoT examples, and they are others."""
        a, b, _ = _counts(self.cot, one.training_set, other.training_set)
        return a > 0 and b > 0 and not self.is_alike(one, other)

    def has_other_corrections(self, one: Runs, of: Runs) -> bool:
        """Whether an arm is known to rest on corrections that `of` does not."""
        mine, theirs = (self.correctors.get(each.training_set, ()) for each in (one, of))
        if theirs and not set(mine) <= set(theirs):
            return True
        a, b, both = _counts(self.corrections, one.training_set, of.training_set)
        wanted = min(a, b) if one.arm == "evolved" else a
        return 0 < both < wanted  # none in common: an arm that leaves a part of each away


def _counts(shared: Mapping[frozenset[str], int], one: str, other: str) -> tuple[int, int, int]:
    """Examples of the two, and of both."""
    return shared.get(frozenset((one,)), 0), shared.get(frozenset((other,)), 0), shared.get(frozenset((one, other)), 0)
