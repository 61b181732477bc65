"""What an evaluation says: pass@1 of every checkpoint, best three of each arm and what a dev split chose, and paired
differences in words. Pure.

{"arm": "lema", "step": 40, "n": 80, "correct": 21, "pass_at_1": 0.2625, "low": 0.178, "high": 0.368, ...}

A reply without an answer is wrong. So is, of a set whose problems are known, a problem without a reply (a row whose
`is_missing` is true): a model is not better for what it was not asked.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lema_local.statistics.comparison import SIGNIFICANT, PairedComparison, holm, paired_comparison, wilson_interval
from lema_local.statistics.selection import Optimism, best, optimism

BEST = 3  # the paper's way to sum up an arm
MARGIN = 0.03  # a share: differences below it are called level, where the interval allows that


@dataclass(frozen=True, slots=True)
class CheckpointResult:
    """One row of the table: the base model (arm "base", step 0) or a checkpoint, over the same problems. `by_problem`
    has those with a reply."""

    model: str
    dataset: str
    split: str
    arm: str
    seed: int | None
    step: int
    checkpoint_id: str | None
    base: str
    n: int
    correct: int
    pass_at_1: float
    low: float
    high: float
    cut_off: int
    no_answer: int  # replies in which none was found
    missing: int  # of n, problems without a reply
    by_problem: Mapping[str, bool]

    @property
    def replied(self) -> int:
        """Problems with a reply."""
        return self.n - self.missing


Pair = tuple[CheckpointResult, CheckpointResult]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """An arm, one seed of it: the paper's best checkpoints (three, or as many as there are) with their mean, the best
    one, the last one, and the one that the dev split chose."""

    arm: str
    seed: int | None
    best: tuple[float, ...]
    mean: float
    best_three: Optimism  # of the mean
    best_one: Optimism
    last: CheckpointResult
    chosen_on_dev: CheckpointResult | None  # its result on the test split; None: there is no dev split
    dev_pass_at_1: float | None  # of that checkpoint, on the dev split

    @property
    def reported(self) -> CheckpointResult:
        """The checkpoint that stands for the arm: no choice on the test split."""
        return self.chosen_on_dev or self.last


@dataclass(frozen=True, slots=True)
class Difference:
    """Two rows of the table, problem by problem, in points of pass@1: `arm` minus `against`."""

    arm: str
    against: str
    seed: int | None
    step: int
    against_step: int
    paired: PairedComparison
    p_holm: float  # among all comparisons of the table
    margin: float = MARGIN

    @property
    def in_words(self) -> str:
        """What the numbers allow one to say."""
        p = self.paired
        if self.p_holm < SIGNIFICANT:
            return f"{self.arm} is {'above' if p.difference > 0 else 'below'} {self.against}"
        if p.is_within(self.margin):
            return f"{self.arm} and {self.against} are level within {100 * self.margin:g} points"
        return f"no difference can be told between {self.arm} and {self.against}"

    @property
    def because(self) -> str:
        """What stands behind the words, where they say that nothing can be told: what would have shown."""
        p = self.paired
        if self.p_holm < SIGNIFICANT or p.is_within(self.margin):
            return ""
        if p.p_value < SIGNIFICANT:
            return f"alone its p is {p.p_value:.2g}, among all comparisons of this table {self.p_holm:.2g}"
        if p.detectable is None:
            return f"{p.n} problems cannot show any difference"
        return f"{p.n} problems show one of {100 * p.detectable:.0f} points or more, 4 times in 5"


def checkpoint_results(rows: Iterable[Mapping[str, Any]]) -> list[CheckpointResult]:
    """Rows of the view evaluation_result, one sample a problem, to one result a checkpoint (a model that was not
    trained here is its own); base first, then by arm, seed and step."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        place = (row["dataset"], row["split"], row["arm"] != "base", row["arm"], row["seed"] or 0, row["step"])
        groups[*place, row["model"], row["base"], row["checkpoint_id"] or ""].append(row)
    return [_checkpoint_result(groups[key]) for key in sorted(groups)]


def _checkpoint_result(group: Sequence[Mapping[str, Any]]) -> CheckpointResult:
    first, n, correct = group[0], len(group), sum(row["is_correct"] for row in group)
    replied = [row for row in group if not row.get("is_missing")]
    low, high = wilson_interval(correct, n)
    names = ("model", "dataset", "split", "arm", "seed", "step", "checkpoint_id", "base")
    return CheckpointResult(
        **{name: first[name] for name in names},
        n=n,
        correct=correct,
        pass_at_1=correct / n,
        low=low,
        high=high,
        cut_off=sum(row["is_cut"] for row in replied),
        no_answer=sum(row["answer"] is None for row in replied),
        missing=n - len(replied),
        by_problem={row["problem_id"]: row["is_correct"] for row in replied},
    )


def fully_answered(results: Sequence[CheckpointResult]) -> list[CheckpointResult]:
    """Base models, with which nothing competes; and the checkpoints that answered all of their student, base, data set
    and split (`whole_size`). The others are what an interrupted evaluation left: a few problems make a rate that no
    whole checkpoint can compete with."""
    students: dict[tuple[str, ...], list[CheckpointResult]] = defaultdict(list)
    for r in results:
        students[r.model, r.base, r.dataset, r.split].append(r)
    whole = {student: whole_size(of) for student, of in students.items()}
    return [r for r in results if r.arm == "base" or r.replied == whole[r.model, r.base, r.dataset, r.split]]


def whole_size(results: Sequence[CheckpointResult]) -> int:
    """How many problems a checkpoint answered that answered all: as many as the fullest. Where several answered so many
    it does not matter that the base answered more: it may have been asked for another draw of problems too."""
    trained = [r.replied for r in results if r.arm != "base"]
    most = max(trained, default=0)
    return most if trained.count(most) > 1 else max([most, *(r.replied for r in results)])


def arm_results(results: Sequence[CheckpointResult], dev: Sequence[CheckpointResult] = ()) -> list[ArmResult]:
    """Each arm, and seed of it, summed up. The best are chosen on the test split, as in the paper, so they are
    optimistic, and it is said by how much; `dev` has the same checkpoints on the dev split, which choose without it."""
    on_dev = {r.checkpoint_id: r.pass_at_1 for r in dev}
    return [_arm_result(group, on_dev) for group in _by_arm(results).values()]


def _by_arm(results: Iterable[CheckpointResult]) -> dict[tuple[str, int | None], list[CheckpointResult]]:
    arms: dict[tuple[str, int | None], list[CheckpointResult]] = defaultdict(list)
    for result in results:
        if result.arm != "base":
            arms[result.arm, result.seed].append(result)
    return {key: sorted(group, key=lambda r: r.step) for key, group in arms.items()}


def _arm_result(group: Sequence[CheckpointResult], on_dev: Mapping[str | None, float]) -> ArmResult:
    values = [r.pass_at_1 for r in group]
    top = tuple(values[k] for k in best(values, BEST))
    chosen = chosen_on_dev(group, on_dev)
    common = sorted(set.intersection(*(set(r.by_problem) for r in group)))
    solved = [[r.by_problem[problem] for problem in common] for r in group]
    return ArmResult(
        arm=group[0].arm,
        seed=group[0].seed,
        best=top,
        mean=sum(top) / len(top),
        best_three=optimism(solved, count=BEST) if common else Optimism(top[0], top[0], 0.0),
        best_one=optimism(solved) if common else Optimism(top[0], top[0], 0.0),
        last=group[-1],
        chosen_on_dev=chosen,
        dev_pass_at_1=on_dev[chosen.checkpoint_id] if chosen else None,
    )


def chosen_on_dev(group: Sequence[CheckpointResult], on_dev: Mapping[str | None, float]) -> CheckpointResult | None:
    """The checkpoint with the best dev accuracy, the earliest of equals; None where any was not evaluated on dev."""
    values = [on_dev.get(r.checkpoint_id) for r in group]
    known = [value for value in values if value is not None]
    return group[best(known)[0]] if group and len(known) == len(group) else None


def judged_pairs(
    results: Sequence[CheckpointResult], dev: Sequence[CheckpointResult] = (), *, same_step: bool = True
) -> list[Pair]:
    """By which checkpoints each arm is judged, against the base and against cot, seed by seed: those that the dev split
    chose, or without one the last (against cot at the same step, unless arms end at steps of their own: `same_step`
    False). Neither choice looks at the test split."""
    on_dev = {r.checkpoint_id: r.pass_at_1 for r in dev}
    arms = _by_arm(results)
    base = next((r for r in results if r.arm == "base"), None)
    pairs = [(chosen_on_dev(group, on_dev) or group[-1], base) for group in arms.values()] if base else []
    for (arm, seed), group in arms.items():
        if arm != "cot" and (pair := _against(group, arms.get(("cot", seed), []), on_dev, same_step)):
            pairs.append(pair)
    return pairs


def model_differences(results: Sequence[CheckpointResult], *, margin: float = MARGIN) -> list[Difference]:
    """Models that were not trained here, each against the first."""
    named = [replace(result, arm=result.model) for result in results]
    return differences([(other, named[0]) for other in named[1:]], margin=margin)


def _against(
    group: Sequence[CheckpointResult],
    other: Sequence[CheckpointResult],
    on_dev: Mapping[str | None, float],
    same_step: bool,
) -> Pair | None:
    one, two = chosen_on_dev(group, on_dev), chosen_on_dev(other, on_dev)
    if one is not None and two is not None:
        return one, two
    if not same_step:
        return (group[-1], other[-1]) if other else None
    steps = {r.step: r for r in other}
    common = [r for r in group if r.step in steps]
    return (common[-1], steps[common[-1].step]) if common else None


def differences(pairs: Iterable[Pair], *, margin: float = MARGIN) -> list[Difference]:
    """The first of each pair minus the second, problem by problem, with Holm's p over all of them; only problems that
    both answered are compared."""
    found = []
    for one, other in pairs:
        both = sorted(one.by_problem.keys() & other.by_problem.keys())
        if both:
            paired = paired_comparison([other.by_problem[p] for p in both], [one.by_problem[p] for p in both])
            found.append((one, other, paired))
    adjusted = holm([paired.p_value for _, _, paired in found])
    return [
        Difference(one.arm, other.arm, one.seed, one.step, other.step, paired, p_holm, margin)
        for (one, other, paired), p_holm in zip(found, adjusted, strict=True)
    ]
