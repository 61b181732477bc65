"""Which checkpoints a report shows: of each student those of one design, so that what it compares differs in the arm
alone. Pure.

    shown_checkpoints(rows)["7f0c..."]        # same_step=True: its arm is compared with others at the same step

A database may hold several: other data, another learning rate, and, where the learning rate falls to zero, runs of
other lengths: arms of as many steps, `lema` cut to the tokens that `cot` saw, `cot` trained on to those of `lema`. Each
pair of these is a comparison of its own, and two of different pairs are none: those that are not shown here are said
beside it (report/other_runs.py).
"""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lema_local.errors import TrainingError
from lema_local.settings.training import TrainingSettings

Row = Mapping[str, Any]
_FIELDS = {field.name for field in fields(TrainingSettings)}


@dataclass(frozen=True, slots=True)
class _Trained:
    row: Row
    settings: TrainingSettings

    @property
    def run(self) -> tuple[str, int]:
        return self.row["arm"], self.row["seed"]


def shown_checkpoints(rows: Sequence[Row], preferred: Collection[str] = ()) -> dict[str, bool]:
    """Of rows of db/stages/report_checkpoints.sql, oldest first, the ids of those to show, each with whether its arm is
    compared at the step that it shares with another (else each where it ends).

    Of each student and data set: the settings that were trained with last; of each arm the data that it was trained on
    last, of the `preferred` training sets if it was trained on any of them; where runs of other lengths are other runs,
    the steps that two arms share and that were trained last without a match by epochs or tokens; where there are none,
    of each seed the latest run, which then ends at a step of its own.
    """
    students: dict[tuple[str, str], list[_Trained]] = defaultdict(list)
    for row in rows:
        students[row["base_model"], row["dataset"]].append(_Trained(row, settings_of(row["settings"])))
    return {id_: same_step for trained in students.values() for id_, same_step in _shown(trained, preferred).items()}


def settings_of(text: str) -> TrainingSettings:
    """A run's, as recorded by whatever version; the defaults for what it does not say, or says in an unknown way."""
    try:
        return TrainingSettings(**{name: value for name, value in json.loads(text).items() if name in _FIELDS})
    except (ValueError, TypeError, AttributeError, TrainingError):
        return TrainingSettings()


def _shown(trained: Sequence[_Trained], preferred: Collection[str]) -> dict[str, bool]:
    newest = trained[-1].settings
    kept = [each for each in trained if each.settings.design == newest.design]
    by_preference = sorted(kept, key=lambda each: each.row["training_set_id"] in preferred)
    data = {each.row["arm"]: each.row["training_set_id"] for each in by_preference}  # the last of an arm stays
    kept = [each for each in kept if each.row["training_set_id"] == data[each.row["arm"]]]
    if newest.schedule == "constant":  # a longer run is the same run, and passes the steps of a shorter one
        same_step = any(each.settings.match == "steps" for each in kept)
    else:
        steps = _equal_steps(kept)
        same_step = steps is not None
        kept = [each for each in kept if steps in (None, each.settings.max_steps)]
    latest = {each.run: each.row["run_id"] for each in kept}
    return {each.row["id"]: same_step for each in kept if each.row["run_id"] == latest[each.run]}


def _equal_steps(trained: Sequence[_Trained]) -> int | None:
    """The length that two arms or more have, and that was asked for last without a match."""
    arms: dict[int, set[str]] = defaultdict(set)
    for each in trained:
        arms[each.settings.max_steps].add(each.row["arm"])
    asked = (each.settings for each in reversed(trained) if each.settings.match == "steps")
    return next((settings.max_steps for settings in asked if len(arms[settings.max_steps]) > 1), None)
