"""Figures 1 to 4 of the paper with our data, as Vega-Lite specifications (https://vega.github.io/vega-lite). Pure.

    figures(evidence, paper(), ON_PAGE)[0]     # Figure(name="figure-1", title=..., caption=..., spec={...}, missing="")

The paper's values stand beside ours, as diamonds, where the same model and data set were run. Arms are told apart by
dash and mark as well as colour. A figure without data says in `missing` which command makes it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lema_local.report.claims import named
from lema_local.report.evidence import Evidence, Experiment
from lema_local.report.paper import Paper
from lema_local.report.results import CheckpointResult

Spec = dict[str, Any]
Palette = Mapping[str, str]

# theme.css's names, for a page; and its light values, for a file
ON_PAGE: Palette = {
    **{name: f"var(--{name})" for name in ("ink", "ink-soft", "rule", "series-quiet")},
    **{f"series-{k}": f"var(--series-{k})" for k in range(1, 5)},
    "paper": "none",
}
IN_FILE: Palette = {
    "ink": "#1c2126",
    "ink-soft": "#535c66",
    "rule": "#dfdbd2",
    "series-quiet": "#9a9890",
    "paper": "#ffffff",
    "series-1": "#1d5c86",
    "series-2": "#b4541a",
    "series-3": "#4f7a3a",
    "series-4": "#7a4f96",
}
ARMS = ("base", "cot", "lema", "lema-controlled", "cot-expanded", "cot-matched-tokens")
COLOURS = ("series-quiet", "series-1", "series-2", "series-3", "series-4", "ink-soft")
DASHES = ([1, 0], [1, 0], [6, 2], [2, 2], [8, 3, 2, 3], [1, 3])
PER_CENT = {"format": ".0%", "tickCount": 5}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: a specification, or what is missing and how to make it."""

    name: str
    title: str
    caption: str
    spec: Spec | None
    missing: str = ""


def figures(evidence: Evidence, paper: Paper, palette: Palette) -> list[Figure]:
    """The four figures, in their order."""
    experiments = [e for e in evidence.experiments if e.result.arms]
    return [
        _bars(experiments, paper, palette),
        _curves(experiments, palette),
        _controlled(experiments, paper, palette),
        _levels(evidence, palette),
    ]


def _bars(experiments: Sequence[Experiment], paper: Paper, palette: Palette) -> Figure:
    printed = {
        (bar.model, dataset): value
        for bar in paper.figure_1
        for dataset, value in (("gsm8k", bar.gsm8k), ("math", bar.math))
    }
    rows = [
        _row(e, result) | {"paper": _share(printed.get((e.model, e.dataset))) if result.arm == "lema" else None}
        for e in experiments
        for result in e.result.reported
    ]
    title = "Figure 1: what each arm solves"
    caption = (
        "pass@1 of the base model and of each arm's checkpoint: the one that the dev split chose, else the last. "
        "Lines are 95% Wilson intervals."
    )
    if not rows:
        return Figure("figure-1", title, caption, None, "No checkpoint was evaluated yet: make train eval")
    return Figure("figure-1", title, caption + _diamonds(rows), _grouped_bars(rows, palette))


def _controlled(experiments: Sequence[Experiment], paper: Paper, palette: Palette) -> Figure:
    rows = []
    for e in experiments:
        if not e.of_arm("lema-controlled"):
            continue
        bars = paper.figure_3.get(e.model, {}) if e.dataset == "gsm8k" else {}
        for arm in e.result.arms:
            result = arm.reported
            data = e.arms.get(arm.arm)
            size = f", {data.examples:,} examples" if data else ""
            rows.append(_row(e, result) | {"paper": _share(bars.get(arm.arm)), "size": f"{arm.arm}{size}"})
    title = "Figure 3: at equal size of the data"
    caption = (
        "lema-controlled has as many examples as cot, so that what differs is their kind. "
        "Lines are 95% Wilson intervals."
    )
    if not rows:
        missing = (
            "No arm lema-controlled was evaluated yet: add it to build.arms of the profile, then make data train eval"
        )
        return Figure("figure-3", title, caption, None, missing)
    return Figure("figure-3", title, caption + _diamonds(rows), _grouped_bars(rows, palette))


def _curves(experiments: Sequence[Experiment], palette: Palette) -> Figure:
    rows = [_row(e, result) for e in experiments for result in e.result.whole if result.arm != "base"]
    base = [_row(e, e.untuned) for e in experiments if e.untuned]
    title = "Figure 2: pass@1 along the training"
    caption = (
        "Each whole checkpoint of each arm; bands are 95% Wilson intervals, the thin line is the base model, seeds are "
        "lines of their own."
    )
    if not rows:
        return Figure("figure-2", title, caption, None, "No checkpoint was evaluated yet: make train eval")
    x = {
        "field": "step",
        "type": "quantitative",
        "title": "step",
        "axis": {"tickMinStep": 1, "tickCount": 5},
        "scale": {"zero": False},
    }
    line: Spec = {
        "mark": {"type": "line", "point": {"size": 36}, "strokeWidth": 2},
        "encoding": {
            "x": x,
            "y": _y("value"),
            "color": _colour(rows, palette),
            "detail": {"field": "seed"},
            "strokeDash": _scaled("arm", rows, DASHES),
        },
    }
    band: Spec = {
        "mark": {"type": "area", "opacity": 0.14},
        "encoding": {
            "x": x,
            "y": _y("low"),
            "y2": {"field": "high"},
            "color": _colour(rows, palette),
            "detail": {"field": "seed"},
        },
    }
    rule: Spec = {
        "transform": [{"filter": "datum.arm == 'base'"}],
        "mark": {"type": "rule", "color": palette["series-quiet"], "strokeWidth": 1},
        "encoding": {"y": _y("value")},
    }
    tuned = {"transform": [{"filter": "datum.arm != 'base'"}]}
    spec = _faceted([rule, band | tuned, line | tuned], rows + base, palette, width=300, height=200)
    return Figure("figure-2", title, caption, spec)


def _levels(evidence: Evidence, palette: Palette) -> Figure:
    title = "Figure 4: corrections by level"
    caption = (
        "Mistakes given to each corrector and corrections kept, by the level of the problem, and the share kept with "
        "its 95% Wilson interval."
    )
    rows = [
        {
            "level": row["level"],
            "group": f"{row['corrector']}\n{named(row['dataset'])}"
            + (" (reference-derived)" if row["is_reference_derived"] else ""),
            "mistakes": row["mistakes"],
            "corrected": row["corrected"],
            "rate": row["rate"],
            "low": row["low"],
            "high": row["high"],
        }
        for row in evidence.correction_by_level
        if row["level"] != "-"
    ]
    if not rows:
        return Figure(
            "figure-4", title, caption, None, "No problem that was corrected has a level: make data DATASET=math"
        )
    x = {"field": "level", "type": "ordinal", "title": "level", "axis": {"labelAngle": 0}}
    counts: Spec = {
        "transform": [{"fold": ["mistakes", "corrected"], "as": ["what", "count"]}],
        "mark": "bar",
        "width": 300,
        "height": 130,
        "encoding": {
            "x": x,
            "xOffset": {"field": "what", "sort": ["mistakes", "corrected"]},
            "y": {
                "field": "count",
                "type": "quantitative",
                "title": "corrections",
                "axis": {"tickMinStep": 1, "tickCount": 5},
            },
            "color": {
                "field": "what",
                "type": "nominal",
                "title": None,
                "scale": {"domain": ["mistakes", "corrected"], "range": [palette["series-quiet"], palette["series-1"]]},
            },
        },
    }
    rate: Spec = {
        "width": 300,
        "height": 90,
        "layer": [
            {
                "mark": {"type": "line", "point": True, "color": palette["series-2"]},
                "encoding": {"x": x, "y": _y("rate", "share kept")},
            },
            {
                "mark": {"type": "rule", "color": palette["series-2"]},
                "encoding": {"x": x, "y": _y("low", "share kept"), "y2": {"field": "high"}},
            },
        ],
    }
    groups = sorted({row["group"] for row in rows})
    columns = [
        {
            "title": group.split("\n"),
            "data": {"values": [row for row in rows if row["group"] == group]},
            "vconcat": [counts, rate],
        }
        for group in groups
    ]
    return Figure("figure-4", title, caption, _themed({"concat": columns, "columns": 2}, palette))


def _row(e: Experiment, result: CheckpointResult) -> dict[str, Any]:
    return {
        "arm": result.arm,
        "seed": result.seed or 0,
        "step": result.step,
        "value": result.pass_at_1,
        "low": result.low,
        "high": result.high,
        "group": f"{e.model}\n{named(e.dataset)}, {result.n:,} problems",
    }


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _diamonds(rows: Iterable[Mapping[str, Any]]) -> str:
    return " Diamonds: the paper's." if any(row["paper"] is not None for row in rows) else ""


def _y(field: str, title: str = "pass@1") -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "axis": PER_CENT}


def _scaled(field: str, rows: Iterable[Mapping[str, Any]], values: Sequence[Any]) -> Spec:
    """A nominal field whose values keep their colour, or dash, whatever other values are there."""
    there = {row[field] for row in rows}
    known = [arm for arm in ARMS if arm in there]
    others = sorted(there - set(ARMS))
    scale = [values[ARMS.index(arm)] for arm in known] + [values[k % len(values)] for k in range(len(others))]
    found: Spec = {"field": field, "type": "nominal", "scale": {"domain": known + others, "range": scale}}
    return found | {"title": None}


def _colour(rows: Iterable[Mapping[str, Any]], palette: Palette) -> Spec:
    return _scaled("arm", rows, [palette[name] for name in COLOURS])


def _grouped_bars(rows: list[dict[str, Any]], palette: Palette) -> Spec:
    """Horizontal bars, an arm a line, a student and set a panel; seeds are lines of their own."""
    several = len({row["seed"] for row in rows if row["arm"] != "base"}) > 1
    for row in rows:
        row["name"] = row.get("size") or row["arm"]
        if several and row["arm"] != "base":
            row["name"] += f", seed {row['seed']}"
    y = {"field": "name", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 260}}
    x = {"type": "quantitative", "title": "pass@1", "axis": PER_CENT}
    layers: list[Spec] = [
        {
            "mark": {"type": "bar", "height": 13},
            "encoding": {"y": y, "x": x | {"field": "value"}, "color": _colour(rows, palette) | {"legend": None}},
        },
        {
            "mark": {"type": "rule", "color": palette["ink"]},
            "encoding": {"y": y, "x": x | {"field": "low"}, "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "text", "align": "left", "dx": 4, "color": palette["ink"], "fontSize": 11},
            "encoding": {"y": y, "x": x | {"field": "high"}, "text": {"field": "value", "format": ".1%"}},
        },
    ]
    if _diamonds(rows):  # a layer without a mark would be a picture without a name
        point = {"type": "point", "shape": "diamond", "filled": True, "size": 70, "color": palette["ink"]}
        layers.append(
            {
                "transform": [{"filter": "isValid(datum.paper)"}],
                "mark": point,
                "encoding": {"y": y, "x": x | {"field": "paper"}},
            }
        )
    return _faceted(layers, rows, palette, width=300, height={"step": 22})


def _faceted(layers: list[Spec], rows: list[dict[str, Any]], palette: Palette, **size: Any) -> Spec:
    """A panel for each student and set, two a line, each with axes of its own."""
    groups = list(dict.fromkeys(row["group"] for row in rows))
    panels = [
        {
            "title": group.split("\n"),
            "data": {"values": [row for row in rows if row["group"] == group]},
            "layer": layers,
            **size,
        }
        for group in groups
    ]
    return _themed({"concat": panels, "columns": 2, "resolve": {"scale": {"color": "shared"}}}, palette)


def _themed(spec: Spec, palette: Palette) -> Spec:
    text = {
        "labelColor": palette["ink-soft"],
        "titleColor": palette["ink-soft"],
        "labelFontSize": 11,
        "titleFontSize": 11,
    }
    lines = {"gridColor": palette["rule"], "domainColor": palette["rule"], "tickColor": palette["rule"]}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": palette["paper"] if palette["paper"] != "none" else None,
        "config": {
            "font": "Liberation Sans, Helvetica, Arial, sans-serif",
            "axis": text | lines | {"titleFontWeight": "normal"},
            "legend": text | {"symbolStrokeWidth": 2, "orient": "top"},
            "title": {"color": palette["ink"], "fontSize": 12, "fontWeight": 600, "anchor": "start"},
            "view": {"stroke": None},
            "padding": {"left": 14, "right": 24, "top": 4, "bottom": 4},
        },
        **spec,
    }
