"""What a database holds for and against the paper's claims, as plain values. Pure.

Experiment(model="smollm2-135m-instruct", base="gguf:9f...", result=SetReport(dataset="gsm-symbolic", ...),
           arms={"lema": ArmData(examples=276, corrections=122, reference_derived=122)}, parameters=134515008)
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lema_local.report.evaluation import SetReport
from lema_local.report.over_seeds import SeedDifference
from lema_local.report.results import ArmResult, CheckpointResult, Difference

Row = Mapping[str, Any]
MatchedBy = Literal["steps", "tokens"]


@dataclass(frozen=True, slots=True)
class ArmData:
    """What an arm trained on."""

    examples: int
    corrections: int
    reference_derived: int  # of the examples, those that the oracle wrote: corrections, or their solutions as CoT
    tokens: int | None = None  # of the set, once through
    correctors: tuple[str, ...] = ()  # whose corrections they are

    @property
    def corrections_by(self) -> str:
        """256 by oracle; of an arm that learns the corrected solutions alone, solutions by oracle; empty for cot."""
        return f"{self.corrections or 'solutions'} by {', '.join(self.correctors)}" if self.correctors else ""


@dataclass(frozen=True, slots=True)
class Effect:
    """What an arm adds: over seeds and problems where there are several seeds, else problem by problem. Shares."""

    difference: float
    low: float
    high: float
    n: int
    margin: float

    @property
    def is_level(self) -> bool:
        """Whether the whole interval lies within the margin."""
        return -self.margin <= self.low and self.high <= self.margin

    @property
    def interval(self) -> tuple[float, float, float]:
        """Estimate, low, high."""
        return self.difference, self.low, self.high


@dataclass(frozen=True, slots=True)
class Experiment:
    """One student on one set of problems, trained on one data set, its base as served the same throughout."""

    model: str
    base: str
    result: SetReport
    arms: Mapping[str, ArmData]
    parameters: int | None = None
    trained_on: str | None = None  # the data set; None: nothing was trained
    is_one_of_bases: bool = False  # the same student was evaluated over several bases, each an experiment

    @property
    def dataset(self) -> str:
        return self.result.dataset

    @property
    def is_transfer(self) -> bool:
        """Whether it was trained on another data set than it answers: no figure of the paper is about that."""
        return self.trained_on not in (None, self.dataset)

    @property
    def is_reference_derived(self) -> bool:
        """Whether arm lema trained on the oracle's corrections."""
        return "lema" in self.arms and self.arms["lema"].reference_derived > 0

    @property
    def untuned(self) -> CheckpointResult | None:
        """The base model's result."""
        return next((r for r in self.result.checkpoints if r.arm == "base"), None)

    def of_arm(self, arm: str) -> list[ArmResult]:
        """The arm's results, one a seed."""
        return [result for result in self.result.arms if result.arm == arm]

    def difference(self, arm: str, against: str) -> Difference | None:
        """Two arms, problem by problem; of several seeds the first."""
        return next((d for d in self.result.differences if (d.arm, d.against) == (arm, against)), None)

    def over_seeds(self, arm: str, against: str) -> SeedDifference | None:
        """The same over all seeds; None where there is one seed."""
        return next((d for d in self.result.seed_differences if (d.arm, d.against) == (arm, against)), None)

    def effect(self, arm: str, against: str) -> Effect | None:
        """What one may say of the two: of all seeds where there are several, never of the first alone."""
        d, seeds = self.difference(arm, against), self.over_seeds(arm, against)
        if d is None:
            return None
        if seeds is None:
            p = d.paired
            return Effect(p.difference, p.low, p.high, p.n, d.margin)
        c = seeds.compared
        return Effect(c.difference, c.low, c.high, c.n, d.margin)


@dataclass(frozen=True, slots=True)
class OtherComparison:
    """Runs of other lengths, or on other corrections, than an experiment shows (report/other_runs.py): the first arm
    minus the second, over their common seeds and problems."""

    model: str
    base: str
    dataset: str
    split: str
    matched_by: MatchedBy
    difference: SeedDifference
    tokens: tuple[int, int]  # that the two read, means over the seeds
    data: tuple[ArmData | None, ArmData | None]
    is_of_corrections: bool  # one arm, on other corrections than it was compared with
    checkpoints: frozenset[str]  # that it rests on
    unlike: tuple[str, ...] = ()  # settings of both that are others than those of what is shown of this student


@dataclass(frozen=True, slots=True)
class Evidence:
    """Rows are those of the views of the same names (`lema sql NAME --describe`)."""

    experiments: tuple[Experiment, ...] = ()
    others: tuple[OtherComparison, ...] = ()
    self_correction_rate: tuple[Row, ...] = ()
    mistakes_by_level: tuple[Row, ...] = ()
    correction_by_level: tuple[Row, ...] = ()
    corrector_agreement: tuple[Row, ...] = ()
    corrector_grades: tuple[Row, ...] = ()
    parameters: Mapping[str, int] = field(default_factory=dict)  # of models by name, where known
    not_shown: int = 0  # evaluated checkpoints that neither an experiment nor another comparison holds
    not_evaluated: int = 0  # trained checkpoints of which no problem was asked


def in_one_way(rows: Iterable[Row], first: Callable[[Row], bool] = lambda _: True) -> list[Row]:
    """Those of one prompt and sampling, by the same weights: the ones with most mistakes, of those with a row that
    `first` wants. The same mistakes asked about in several ways are no more mistakes."""
    ways: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        ways[tuple(row.get(name) for name in ("template", "settings", "model_identity"))].append(row)
    return max(ways.values(), key=lambda way: (any(map(first, way)), sum(row["mistakes"] for row in way)))
