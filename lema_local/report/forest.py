"""The one picture of the answer: each arm's difference from CoT, seed by seed and over seeds, as a forest plot. Pure.

Arms are rows; a thin line is one seed with Newcombe's interval, the diamond is all seeds together with the interval
over seeds and problems. What lies right of zero is above CoT.
"""

from collections.abc import Iterator
from typing import Any

from lema_local.report.charts import ARMS, Figure, Palette, Spec, themed
from lema_local.report.claims import named, student_of
from lema_local.report.evidence import Experiment

AGAINST = "cot"
POINTS = {"format": "+.0f", "tickCount": 7}


def forest(experiment: Experiment, palette: Palette, *, name: str) -> Figure | None:
    """None where no arm was compared with CoT."""
    rows = sorted(_rows(experiment), key=lambda row: (row["arm_order"], row["is_all"], row["seed"]))
    if not rows:
        return None
    several = any(row["is_all"] for row in rows)
    caption = "Points of pass@1 that an arm solves more than cot, on the same problems, with 95% intervals. " + (
        "Thin lines: single seeds (Newcombe). Diamonds: all seeds together, the interval over seeds and problems."
        if several
        else "One seed (Newcombe): it says nothing of the next one."
    )
    title = f"What each arm adds to cot: {student_of(experiment)}, {named(experiment.dataset)}"
    return Figure(name, title, caption, _spec(rows, palette), table=_table(rows))


def _rows(experiment: Experiment) -> Iterator[dict[str, Any]]:
    result = experiment.result
    for d in result.differences:
        if d.against == AGAINST:
            seed = 0 if d.seed is None else d.seed
            p = d.paired
            yield _row(d.arm, seed, False, p.difference, p.low, p.high)
    for over in result.seed_differences:
        if over.against == AGAINST:
            c = over.compared
            yield _row(over.arm, len(c.seeds), True, c.difference, c.low, c.high)


def _row(arm: str, seed: int, is_all: bool, *shares: float) -> dict[str, Any]:
    difference, low, high = (100 * share for share in shares)
    return {
        "arm": arm,
        "arm_order": ARMS.index(arm) if arm in ARMS else len(ARMS),
        "seed": seed,
        "is_all": is_all,
        "name": f"{arm}, {seed} seeds" if is_all else f"{arm}, seed {seed}",
        "difference": difference,
        "low": low,
        "high": high,
    }


def _spec(rows: list[dict[str, Any]], palette: Palette) -> Spec:
    order = [row["name"] for row in rows]
    y = {"field": "name", "type": "nominal", "title": None, "sort": order, "axis": {"labelLimit": 240, "ticks": False}}
    x = {"type": "quantitative", "title": "points above cot", "axis": POINTS}
    single, together = {"filter": "!datum.is_all"}, {"filter": "datum.is_all"}
    interval = {"y": y, "x": x | {"field": "low"}, "x2": {"field": "high"}}
    value = {"y": y, "x": x | {"field": "difference"}}

    def mark(kind: str, colour: str, **more: Any) -> Spec:
        return {"type": kind, "color": palette[colour], **more}

    layers: list[Spec] = [
        {"mark": mark("rule", "ink", strokeDash=[4, 3], aria=False), "encoding": {"x": x | {"datum": 0}}},
        {"transform": [single], "mark": mark("rule", "series-quiet", strokeWidth=1.5), "encoding": interval},
        {
            "transform": [single],
            "mark": mark("point", "series-quiet", filled=True, opacity=1, size=36),
            "encoding": value,
        },
    ]
    if any(row["is_all"] for row in rows):
        layers += [
            {"transform": [together], "mark": mark("rule", "series-1", strokeWidth=3), "encoding": interval},
            {
                "transform": [together],
                "mark": mark("point", "series-1", shape="diamond", filled=True, opacity=1, size=120),
                "encoding": value,
            },
        ]
    return themed({"data": {"values": rows}, "layer": layers, "width": 420, "height": {"step": 20}}, palette)


def _table(rows: list[dict[str, Any]]) -> tuple[tuple[str, ...], ...]:
    return (
        ("arm", "points above cot", "95% interval"),
        *((row["name"], f"{row['difference']:+.1f}", f"{row['low']:+.1f} to {row['high']:+.1f}") for row in rows),
    )
