"""What a report compares beside its arms of as many steps: runs of equal tokens, and of other corrections. Pure.

for other in other_comparisons(trained, results, data, shared, shown, margin=0.04):
    other.difference.arm, other.difference.against, other.matched_by        # "lema", "cot", "tokens"
    other.difference.in_words                                               # "over 10 seeds lema is above cot"

Two runs are compared where they differ in what they say that they differ in: one student, one design of training, the
CoT examples of one all among those of the other, and as many steps or as many tokens, as recorded. A run counts at its
end: before it, a learning rate that falls is not where it was meant to be.
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
from lema_local.report.shown import settings_of

AS_MANY_TOKENS = 0.02  # a share: whole steps of batches of different length end no nearer to each other


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs that differ in their seed alone, at their ends."""

    arm: str
    training_set: str
    design: str
    step: int
    is_constant: bool  # the learning rate: then a longer run passes here
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
    data: Mapping[str, ArmData],
    shared: Iterable[Row],
    shown: Iterable[str],
    *,
    margin: float,
) -> list[OtherComparison]:
    """Of rows of db/stages/report_checkpoints.sql, oldest first, and of the results of their checkpoints, all that
    answered as much as any: each arm against cot, and an arm on its data against itself on data that came before.

    `data` is by checkpoint, `shared` are rows of db/stages/report_shared_examples.sql, `shown` the ids of the
    checkpoints whose comparison at equal steps the report has already.
    """
    sets: dict[tuple[str, str, str, str], list[CheckpointResult]] = defaultdict(list)
    for result in results:
        if result.checkpoint_id is not None and result.split != "dev":
            sets[result.model, result.base, result.dataset, result.split].append(result)
    common = {frozenset((row["one"], row["other"])): row["shared"] for row in shared}
    seen = frozenset(shown)
    found = []
    for (model, _, dataset, split), group in sorted(sets.items()):
        runs = _runs(trained, {result.checkpoint_id: result for result in group})
        for one, other, matched_by in _pairs(runs, common):
            if matched_by == "steps" and one.checkpoints | other.checkpoints <= seen:
                continue
            both = _data(one, data), _data(other, data)
            if (compared := _compared(one, other, _names(one, other, both), margin)) is not None:
                seeds = compared.compared.seeds
                tokens = round(one.mean_tokens(seeds)), round(other.mean_tokens(seeds))
                ids, is_of_corrections = one.checkpoints | other.checkpoints, one.arm == other.arm
                found.append(
                    OtherComparison(model, dataset, split, matched_by, compared, tokens, both, is_of_corrections, ids)
                )
    return found


def ends(trained: Iterable[Row]) -> list[str]:
    """The evaluated checkpoints that can be compared: the last of their runs, or of a constant learning rate any."""
    return [row["id"] for row in trained if row["is_evaluated"] and _is_end(row)]


def _is_end(row: Row) -> bool:
    settings = settings_of(row["settings"])
    return settings.schedule == "constant" or row["step"] == settings.max_steps


def _runs(trained: Iterable[Row], results: Mapping[str | None, CheckpointResult]) -> list[_Runs]:
    """In the order in which they were trained; of one seed that was trained twice the later run counts."""
    found: dict[tuple[Any, ...], _Runs] = {}
    for row in trained:
        if row["id"] in results and _is_end(row):
            settings = settings_of(row["settings"])
            design = repr((row["base_model"], row["dataset"], sorted(settings.design.items())))
            key = (row["arm"], row["training_set_id"], design, row["step"])
            runs = found.setdefault(key, _Runs(*key, settings.schedule == "constant"))
            runs.results[row["seed"]] = results[row["id"]]
            runs.tokens[row["seed"]] = row["tokens_seen"]
    return list(found.values())


def _pairs(runs: Sequence[_Runs], common: Mapping[frozenset[str], int]) -> Iterator[tuple[_Runs, _Runs, MatchedBy]]:
    """The first of each is no cot. Of runs that pass many steps, the furthest pair of a kind."""
    furthest: dict[tuple[Any, ...], tuple[_Runs, _Runs, MatchedBy]] = {}
    for earlier, later in combinations(runs, 2):
        one, other = (earlier, later) if later.arm == "cot" else (later, earlier)
        is_against_cot = other.arm == "cot" and one.arm != "cot"
        is_other_data = one.arm == other.arm != "cot" and one.training_set != other.training_set
        if one.design != other.design or not (is_against_cot or is_other_data):
            continue
        if not _is_alike(one.training_set, other.training_set, common):
            continue
        seeds = one.results.keys() & other.results.keys()
        if not seeds:
            continue
        matched_by = _matched_by(one, other, seeds)
        if matched_by is None or (is_other_data and matched_by == "tokens"):
            continue
        length = () if one.is_constant else (one.step, other.step)
        key = (one.arm, one.training_set, other.arm, other.training_set, one.design, matched_by, length)
        before = furthest.get(key)
        if before is None or (before[0].step, before[1].step) < (one.step, other.step):
            furthest[key] = one, other, matched_by
    yield from furthest.values()


def _is_alike(one: str, other: str, common: Mapping[frozenset[str], int]) -> bool:
    """Whether the CoT examples of one data set are all among those of the other: the rest is what is compared."""
    least = min(common.get(frozenset((each,)), 0) for each in (one, other))
    return common.get(frozenset((one, other)), 0) == least > 0


def _matched_by(one: _Runs, other: _Runs, seeds: Iterable[int]) -> MatchedBy | None:
    if one.step == other.step:
        return "steps"
    a, b = (runs.mean_tokens(seeds) for runs in (one, other))
    return "tokens" if abs(a - b) <= AS_MANY_TOKENS * max(a, b) else None


def _names(one: _Runs, other: _Runs, data: tuple[ArmData | None, ArmData | None]) -> tuple[str, str]:
    """The arms; an arm that is compared with itself by whose corrections it has."""
    if one.arm != other.arm:
        return one.arm, other.arm
    first, second = (f"{one.arm} ({each.corrections_by if each else 'unknown data'})" for each in data)
    return first, second


def _compared(one: _Runs, other: _Runs, names: tuple[str, str], margin: float) -> SeedDifference | None:
    seeds = sorted(one.results.keys() & other.results.keys())
    return seed_difference(*names, {seed: (one.results[seed], other.results[seed]) for seed in seeds}, margin)


def _data(runs: _Runs, data: Mapping[str, ArmData]) -> ArmData | None:
    return next((data[id_] for id_ in sorted(runs.checkpoints) if id_ in data), None)
