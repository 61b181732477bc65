"""The paper's printed figures (report/paper.toml), to stand beside ours. Pure.

paper().table_1[0]        # Table1Row(model="llama-2-70b", dataset="gsm8k", cot=(81.4, 81.3, 81.1), ...)
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from lema_local.typed_toml import build


@dataclass(frozen=True, slots=True)
class Table1Row:
    """Best three checkpoints and their mean, pass@1 in percent."""

    model: str
    dataset: str
    cot: tuple[float, ...]
    cot_mean: float
    lema: tuple[float, ...]
    lema_mean: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A row of Table 2, pass@1 in percent. `model`: our name of what the authors fine-tuned with LeMa."""

    name: str
    gsm8k: float | None = None
    math: float | None = None
    model: str | None = None

    def on(self, dataset: str) -> float | None:
        """Its figure on a data set, None where none is printed."""
        return {"gsm8k": self.gsm8k, "math": self.math}.get(dataset)


@dataclass(frozen=True, slots=True)
class BestModel:
    """A bar of Figure 1."""

    model: str
    gsm8k: float
    math: float


@dataclass(frozen=True, slots=True)
class Gain:
    """What LeMa adds to a specialised model, in points."""

    model: str
    dataset: str
    gain: float


@dataclass(frozen=True, slots=True)
class CorrectionRate:
    """GPT-4's corrections of a reasoner's mistakes on MATH; the rate in percent."""

    reasoner: str
    rate: float
    corrected: int | None = None
    mistakes: int | None = None


@dataclass(frozen=True, slots=True)
class GradeCounts:
    """People's grades of 50 corrections by GPT-4."""

    excellent: int
    good: int
    poor: int

    @property
    def total(self) -> int:
        return self.excellent + self.good + self.poor


@dataclass(frozen=True, slots=True)
class Paper:
    """All of it. `figure_3`: model -> arm -> pass@1 on GSM8K."""

    table_1: tuple[Table1Row, ...]
    table_2: Mapping[str, tuple[PublishedModel, ...]]
    figure_1: tuple[BestModel, ...]
    figure_3: Mapping[str, Mapping[str, float]]
    specialised: tuple[Gain, ...]
    correction_rate: tuple[CorrectionRate, ...]
    grades: GradeCounts
    arms_of_figure_3: tuple[str, ...] = field(default=("cot", "lema-controlled", "cot-expanded", "lema"))


@cache
def paper() -> Paper:
    """The figures of paper.toml."""
    raw = tomllib.loads(files("lema_local.report").joinpath("paper.toml").read_text(encoding="utf-8"))
    bars = {row["model"]: {arm: float(v) for arm, v in row.items() if arm != "model"} for row in raw["figure_3"]}
    return Paper(
        table_1=tuple(build(Table1Row, row, "paper.toml, table_1") for row in raw["table_1"]),
        table_2={
            size: tuple(build(PublishedModel, row, "paper.toml, table_2") for row in rows)
            for size, rows in raw["table_2"].items()
        },
        figure_1=tuple(build(BestModel, row, "paper.toml, figure_1") for row in raw["figure_1"]),
        figure_3=bars,
        specialised=tuple(build(Gain, row, "paper.toml, specialised") for row in raw["specialised"]),
        correction_rate=tuple(
            build(CorrectionRate, row, "paper.toml, correction_rate") for row in raw["correction_rate"]
        ),
        grades=build(GradeCounts, raw["grades"], "paper.toml, grades"),
    )
