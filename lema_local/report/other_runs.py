"""What a report compares beside its arms of as many steps: runs of equal tokens, and of other corrections. Pure.

for other in other_comparisons(trained, results, made_of, data, shown, margin=0.04):
    other.difference.arm, other.difference.against, other.matched_by        # "lema", "cot", "tokens"
    other.difference.in_words                                               # "over 10 seeds lema is above cot"

Two runs are compared where they differ in what they say that they differ in: one student, one design of training, the
CoT examples that go with their arms (report/runs.py), and as many steps or as many tokens, as recorded. A run counts at
its end: before it, a learning rate that falls is not where it was meant to be.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean
from typing import Any

from lema_local.report.evidence import ArmData, MatchedBy, OtherComparison, Row
from lema_local.report.over_seeds import SeedDifference, seed_difference
from lema_local.report.results import CheckpointResult
from lema_local.report.runs import Data, Runs, runs_of, settings_of

AS_MANY_TOKENS = 0.02  # a share: whole steps of batches of different length end no nearer to each other


@dataclass(frozen=True, slots=True)
class _Ends:
    """Where runs that differ in their seed alone end (at a constant learning rate pass), and what they solve there."""

    runs: Runs
    step: int
    results: dict[int, CheckpointResult] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)

    @property
    def checkpoints(self) -> frozenset[str]:
        return frozenset(r.checkpoint_id for r in self.results.values() if r.checkpoint_id)

    def mean_tokens(self, seeds: Iterable[int]) -> float:
        return fmean(self.tokens[seed] for seed in seeds)


def other_comparisons(
    trained: Sequence[Row],
    results: Iterable[CheckpointResult],
    made_of: Mapping[str, ArmData],
    data: Data,
    shown: Iterable[str],
    *,
    margin: float,
) -> list[OtherComparison]:
    """Of rows of db/stages/report_checkpoints.sql, oldest first, and of the results of their checkpoints, all that
    answered as much as any: each arm against cot, and an arm on its data against itself on data that came before.

    `made_of` is by checkpoint, `shown` the ids of the checkpoints whose comparison at equal steps the report has
    already.
    """
    sets: dict[tuple[str, str, str, str], dict[str, CheckpointResult]] = defaultdict(dict)
    for result in results:
        if result.checkpoint_id is not None and result.split != "dev":
            sets[result.model, result.base, result.dataset, result.split][result.checkpoint_id] = result
    every, seen, found = runs_of(trained), frozenset(shown), []
    designs = {each.student: dict(each.design) for each in every if seen & each.ids}
    for (model, base, dataset, split), group in sorted(sets.items()):
        for one, other, matched_by in _pairs(_ends(every, group), data):
            ids = one.checkpoints | other.checkpoints
            if matched_by == "steps" and ids <= seen:
                continue
            both = _made_of(one, made_of), _made_of(other, made_of)
            if (compared := _compared(one, other, _names(one, other, both), margin)) is not None:
                seeds = compared.compared.seeds
                tokens = round(one.mean_tokens(seeds)), round(other.mean_tokens(seeds))
                place, is_of_corrections = (model, base, dataset, split), one.runs.arm == other.runs.arm
                usual = designs.get(one.runs.student, {})
                unlike = tuple(f"{name} {value}" for name, value in one.runs.design if usual.get(name, value) != value)
                found.append(
                    OtherComparison(*place, matched_by, compared, tokens, both, is_of_corrections, ids, unlike)
                )
    return found


def ends(trained: Iterable[Row]) -> list[str]:
    """The evaluated checkpoints that can be compared: the last of their runs, or of a constant learning rate any."""
    return [row["id"] for row in trained if row["is_evaluated"] and _is_end(row)]


def _is_end(row: Row) -> bool:
    settings = settings_of(row["settings"])
    return settings.schedule == "constant" or row["step"] == settings.max_steps


def _ends(every: Iterable[Runs], results: Mapping[str, CheckpointResult]) -> list[_Ends]:
    """In the order in which they were trained."""
    found: dict[tuple[int, int], _Ends] = {}
    for place, runs in enumerate(every):
        for seed, rows in runs.seeds.items():
            for row in rows:
                if row["id"] in results and runs.length in (None, row["step"]):
                    end = found.setdefault((place, row["step"]), _Ends(runs, row["step"]))
                    end.results[seed], end.tokens[seed] = results[row["id"]], row["tokens_seen"]
    return list(found.values())


def _pairs(every: Sequence[_Ends], data: Data) -> Iterator[tuple[_Ends, _Ends, MatchedBy]]:
    """The first of each is no cot. Of runs that pass many steps, the furthest pair of a kind."""
    furthest: dict[tuple[Any, ...], tuple[_Ends, _Ends, MatchedBy]] = {}
    for earlier, later in combinations(every, 2):
        one, other = (earlier, later) if later.runs.arm == "cot" else (later, earlier)
        a, b = one.runs, other.runs
        is_against_cot = b.arm == "cot" != a.arm
        is_other_data = a.arm == b.arm != "cot" and a.training_set != b.training_set
        if (a.student, a.design) != (b.student, b.design) or not (is_against_cot or is_other_data):
            continue
        seeds = one.results.keys() & other.results.keys()
        if not seeds or not data.is_alike(a, b):
            continue
        matched_by = _matched_by(one, other, seeds)
        if matched_by is None or (is_other_data and matched_by == "tokens"):
            continue
        steps = one.step, other.step
        length = () if a.length is None else steps
        key = (a.arm, a.training_set, b.arm, b.training_set, a.student, a.design, matched_by, length)
        before = furthest.get(key)
        if before is None or (before[0].step, before[1].step) < steps:
            furthest[key] = one, other, matched_by
    yield from furthest.values()


def _matched_by(one: _Ends, other: _Ends, seeds: Iterable[int]) -> MatchedBy | None:
    if one.step == other.step:
        return "steps"
    a, b = (end.mean_tokens(seeds) for end in (one, other))
    return "tokens" if abs(a - b) <= AS_MANY_TOKENS * max(a, b) else None


def _names(one: _Ends, other: _Ends, data: tuple[ArmData | None, ArmData | None]) -> tuple[str, str]:
    """The arms; an arm that is compared with itself by whose corrections it has."""
    arm, against = one.runs.arm, other.runs.arm
    if arm != against:
        return arm, against
    first, second = (f"{arm} ({each.corrections_by if each else 'unknown data'})" for each in data)
    return first, second


def _compared(one: _Ends, other: _Ends, names: tuple[str, str], margin: float) -> SeedDifference | None:
    seeds = sorted(one.results.keys() & other.results.keys())
    return seed_difference(*names, {seed: (one.results[seed], other.results[seed]) for seed in seeds}, margin)


def _made_of(end: _Ends, made_of: Mapping[str, ArmData]) -> ArmData | None:
    return next((made_of[id_] for id_ in sorted(end.checkpoints) if id_ in made_of), None)
