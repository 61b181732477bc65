"""Arms over their training seeds: the spread of what they solve, and two compared over seeds and problems. Pure.

next(seed_differences(pairs, 0.03, is_chosen=False)).in_words      # "over 5 seeds lema is above cot"
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lema_local.report.results import ArmResult, Pair
from lema_local.statistics.seeds import SeedComparison, Spread, compare_over_seeds, spread


@dataclass(frozen=True, slots=True)
class SeedResult:
    """An arm over its training seeds: the spread of what its chosen or last checkpoints solve."""

    arm: str
    spread: Spread


@dataclass(frozen=True, slots=True)
class SeedDifference:
    """Two arms over seeds and problems: `arm` minus `against`, by the checkpoints of each seed's own difference."""

    arm: str
    against: str
    steps: tuple[tuple[int, int], ...]  # of each seed, the two
    compared: SeedComparison
    margin: float  # a share
    left_out: tuple[int, ...] = ()  # seeds that were compared at other steps: their training is not at its end

    @property
    def in_words(self) -> str:
        """What the interval over seeds allows one to say."""
        others = f"; not at these steps yet: seed {', '.join(map(str, self.left_out))}" if self.left_out else ""
        return f"{self._said}{others}"

    @property
    def _said(self) -> str:
        c, seeds = self.compared, len(self.compared.seeds)
        over = f"over {seeds} seeds" if seeds > 1 else "with one seed"
        if c.low > 0 or c.high < 0:
            return f"{over} {self.arm} is {'above' if c.low > 0 else 'below'} {self.against}"
        if -self.margin <= c.low and c.high <= self.margin:
            return f"{over} {self.arm} and {self.against} are level within {100 * self.margin:g} points"
        return f"{over} no difference can be told between {self.arm} and {self.against}"


def seed_results(arms: Iterable[ArmResult]) -> list[SeedResult]:
    """The arms that have several seeds."""
    found: dict[str, dict[int, ArmResult]] = defaultdict(dict)
    for arm in arms:
        if arm.seed is not None:
            found[arm.arm][arm.seed] = arm
    values = {
        name: [arm.reported.pass_at_1 for seed, arm in seeds.items() if seed in _at_the_end(seeds)]
        for name, seeds in found.items()
    }
    return [SeedResult(arm, spread(each)) for arm, each in values.items() if len(each) > 1]


def _at_the_end(seeds: Mapping[int, ArmResult | Pair]) -> set[int]:
    """The seeds that stand where most do, of equally many the furthest: one whose training or evaluation is under way
    has come less far, and is no draw of the same. Where a dev split chose the steps, all."""
    steps: dict[int, tuple[int, ...]] = {}
    for seed, each in seeds.items():
        if isinstance(each, ArmResult):
            steps[seed] = () if each.chosen_on_dev else (each.last.step,)
        else:
            steps[seed] = each[0].step, each[1].step
    counts = Counter(steps.values())
    end = max(counts, key=lambda place: (counts[place], place))
    return {seed for seed, place in steps.items() if place == end}


def seed_differences(pairs: Iterable[Pair], margin: float, *, is_chosen: bool) -> Iterator[SeedDifference]:
    """The pairs of the seeds' own differences, taken together; `is_chosen` by a dev split, each at steps of its own."""
    groups: dict[tuple[str, str], dict[int, Pair]] = defaultdict(dict)
    for one, other in pairs:
        if one.seed is not None:
            groups[one.arm, other.arm][one.seed] = one, other
    for (arm, against), found in groups.items():
        kept = set(found) if is_chosen else _at_the_end(found)
        seeds = {seed: pair for seed, pair in found.items() if seed in kept}
        left_out = tuple(sorted(found.keys() - kept))
        if len(seeds) > 1 and (difference := seed_difference(arm, against, seeds, margin, left_out)) is not None:
            yield difference


def seed_difference(
    arm: str, against: str, pairs: Mapping[int, Pair], margin: float, left_out: tuple[int, ...] = ()
) -> SeedDifference | None:
    """The pairs of seeds over the problems that all of them answered; None where there is no such problem."""
    common = sorted(set.intersection(*(set(r.by_problem) for pair in pairs.values() for r in pair)))
    if not common:
        return None
    a = {seed: [other.by_problem[p] for p in common] for seed, (_, other) in pairs.items()}
    b = {seed: [one.by_problem[p] for p in common] for seed, (one, _) in pairs.items()}
    steps = tuple((one.step, other.step) for one, other in pairs.values())
    return SeedDifference(arm, against, steps, compare_over_seeds(a, b), margin, left_out)
