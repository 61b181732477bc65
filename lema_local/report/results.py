"""What an evaluation says: pass@1 of every checkpoint, best three of each arm, and paired differences with their p.
Pure.

{"arm": "lema", "step": 40, "n": 80, "correct": 21, "pass_at_1": 0.2625, "low": 0.178, "high": 0.368, ...}
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lema_local.statistics import PairedComparison, paired_comparison, wilson_interval

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class CheckpointResult:
    """One row of the table: the base model (arm "base", step 0) or a checkpoint, over the same problems."""

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
    by_problem: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """The paper's way to sum up an arm: its best checkpoints (three, or as many as there are) and their mean."""

    arm: str
    best: tuple[float, ...]
    mean: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Two rows of the table, problem by problem, in points of pass@1: `arm` minus `against`."""

    arm: str
    against: str
    step: int
    paired: PairedComparison

    @property
    def in_words(self) -> str:
        """What the numbers allow one to say."""
        p = self.paired
        if p.p_value < SIGNIFICANT:
            return f"{self.arm} is {'above' if p.difference > 0 else 'below'} {self.against}"
        return f"no difference can be told between {self.arm} and {self.against}"


def checkpoint_results(rows: Sequence[Mapping[str, Any]]) -> list[CheckpointResult]:
    """Rows of the view evaluation_result, one sample a problem, to one result a checkpoint; base first, then by arm
    and step."""
    groups: dict[tuple[str, int, str | None], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["arm"], row["step"], row["checkpoint_id"]].append(row)
    results = []
    for (arm, step, checkpoint_id), group in sorted(
        groups.items(), key=lambda item: (item[0][0] != "base", item[0][0], item[0][1])
    ):
        first, n, correct = group[0], len(group), sum(row["is_correct"] for row in group)
        low, high = wilson_interval(correct, n)
        results.append(
            CheckpointResult(
                model=first["model"],
                dataset=first["dataset"],
                split=first["split"],
                arm=arm,
                seed=first["seed"],
                step=step,
                checkpoint_id=checkpoint_id,
                base=first["base"],
                n=n,
                correct=correct,
                pass_at_1=correct / n,
                low=low,
                high=high,
                cut_off=sum(row["is_cut"] for row in group),
                by_problem={row["problem_id"]: row["is_correct"] for row in group},
            )
        )
    return results


def arm_results(results: Sequence[CheckpointResult]) -> list[ArmResult]:
    """Best three checkpoints of each arm and their mean. They are chosen on the test split, as in the paper, so they
    are optimistic."""
    arms: dict[str, list[float]] = defaultdict(list)
    for result in results:
        if result.arm != "base":
            arms[result.arm].append(result.pass_at_1)
    best = {arm: tuple(sorted(values, reverse=True)[:3]) for arm, values in arms.items()}
    return [ArmResult(arm, values, sum(values) / len(values)) for arm, values in best.items()]


def differences(results: Sequence[CheckpointResult]) -> list[Difference]:
    """Each arm's last checkpoint against the base and, at the same step, against cot. The last is chosen without a
    look at the test split."""
    steps: dict[str, dict[int, CheckpointResult]] = defaultdict(dict)
    for result in results:
        steps[result.arm][result.step] = result
    tuned = [arm for arm in steps if arm != "base"]
    found = []
    for arm, against in [(arm, "base") for arm in tuned] + [(arm, "cot") for arm in tuned if arm != "cot"]:
        common = steps[arm] if against == "base" else steps[arm].keys() & steps[against].keys()
        if against not in steps or not common:
            continue
        step = max(common)
        other = steps[against][0 if against == "base" else step]
        a, b = other.by_problem, steps[arm][step].by_problem
        both = sorted(a.keys() & b.keys())
        if both:
            comparison = paired_comparison([a[p] for p in both], [b[p] for p in both])
            found.append(Difference(arm, against, step, comparison))
    return found
