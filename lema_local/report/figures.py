"""Figures 1 to 4 of the paper with our data, as Vega-Lite specifications. Pure.

    figures(evidence, paper(), ON_PAGE)[0]     # Figure(name="figure-1", title=..., caption=..., spec={...}, missing="")

The paper's values stand beside ours, as diamonds, where the same model and data set were run. Only checkpoints that
answered everything are drawn. A figure without data says in `missing` which command makes it; each has what it draws
as a table too.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from lema_local.report.charts import (
    ARMS,
    COUNTED,
    PER_CENT,
    Figure,
    Palette,
    Spec,
    bar_looks,
    faceted,
    line_looks,
    themed,
)
from lema_local.report.claims import named, percent, student_of
from lema_local.report.evidence import Evidence, Experiment, in_one_way
from lema_local.report.paper import Paper
from lema_local.report.results import CheckpointResult

Row = dict[str, Any]


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
        _row(e, result)
        | {"paper": _share(printed.get((e.model, e.dataset))) if result.arm == "lema" and not e.is_transfer else None}
        for e in experiments
        for result in _whole(e, e.result.reported)
    ]
    title = "Figure 1: what each arm solves"
    caption = (
        "Longer bars solve more: pass@1 of the base model and of each arm's checkpoint, the one that the dev split "
        "chose, else the last. Lines are 95% Wilson intervals; where they overlap widely, nothing can be told."
    )
    if not rows:
        return Figure("figure-1", title, caption, None, "No checkpoint was evaluated yet: make train eval")
    spec = _grouped_bars(rows, palette)
    return Figure("figure-1", title, caption + _diamonds(rows), spec, table=_table(rows))


def _controlled(experiments: Sequence[Experiment], paper: Paper, palette: Palette) -> Figure:
    rows = []
    for e in experiments:
        if not e.of_arm("lema-controlled"):
            continue
        bars = paper.figure_3.get(e.model, {}) if e.dataset == "gsm8k" and not e.is_transfer else {}
        for result in _whole(e, [arm.reported for arm in e.result.arms]):
            data = e.arms.get(result.arm)
            size = f", {data.examples:,} examples" if data else ""
            rows.append(_row(e, result) | {"paper": _share(bars.get(result.arm)), "size": f"{result.arm}{size}"})
    title = "Figure 3: at equal size of the data"
    caption = (
        "lema-controlled has as many examples as cot, so that what differs is their kind: compare these two. "
        "Lines are 95% Wilson intervals."
    )
    if not rows:
        missing = (
            "No arm lema-controlled was evaluated yet: add it to build.arms of the profile, then make data train eval"
        )
        return Figure("figure-3", title, caption, None, missing)
    spec = _grouped_bars(rows, palette)
    return Figure("figure-3", title, caption + _diamonds(rows), spec, table=_table(rows))


def _curves(experiments: Sequence[Experiment], palette: Palette) -> Figure:
    rows = [_row(e, r) for e in experiments for r in _whole(e, e.result.whole)]
    tuned = [row for row in rows if row["arm"] != "base"]
    title = "Figure 2: pass@1 along the training"
    several = len({row["seed"] for row in tuned}) > 1
    caption = "An arm whose line lies above another's all along solved more at every checkpoint. " + (
        "Thick lines are means over seeds, thin ones the seeds, numbered at their ends."
        if several
        else "Bands are 95% Wilson intervals."
    )
    caption += " The grey line is the base model." if len(tuned) < len(rows) else ""
    if not tuned:
        return Figure("figure-2", title, caption, None, "No checkpoint was evaluated yet: make train eval")
    rows += _means(tuned) if several else []
    return Figure("figure-2", title, caption, _lines(rows, palette, several=several), table=_table(rows, along=True))


def _means(rows: Iterable[Row]) -> list[Row]:
    """Of each arm and step that all of an arm's seeds reached: the mean over them."""
    found: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    seeds: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row in rows:
        found[row["group"], row["arm"], row["step"]].append(row)
        seeds[row["group"], row["arm"]].add(row["seed"])
    return [
        group[0] | {"is_mean": True, "value": fmean(row["value"] for row in group), "low": None, "high": None}
        for (place, arm, _), group in found.items()
        if len(group) == len(seeds[place, arm])
    ]


def _lines(rows: list[Row], palette: Palette, *, several: bool) -> Spec:
    steps = sorted({row["step"] for row in rows if row["arm"] != "base"})
    x = {
        "field": "step",
        "type": "quantitative",
        "title": "step",
        "axis": COUNTED,
        "scale": {"domain": [steps[0] if len(steps) > 1 else 0, steps[-1]], "nice": False},
    }
    tuned = [row for row in rows if row["arm"] != "base"]
    legend = {"symbolType": "stroke", "symbolSize": 300, "symbolOpacity": 1}
    shown = line_looks(tuned, palette)
    shown["color"]["legend"] = legend
    bold, single = "datum.is_mean" if several else "true", "!datum.is_mean"

    def only(condition: str) -> list[Spec]:
        return [{"filter": f"datum.arm != 'base' && ({condition})"}]

    layers: list[Spec] = [
        {
            "transform": [{"filter": "datum.arm == 'base'"}],
            "mark": {"type": "rule", "color": palette["series-quiet"], "strokeWidth": 1},
            "encoding": {"y": _y("value")},
        },
        {
            "transform": only(bold),
            "mark": {"type": "line", "point": {"size": 44}, "strokeWidth": 2.5},
            "encoding": {"x": x, "y": _y("value"), **shown},
        },
    ]
    if several:
        layers += [
            {
                "transform": only(single),
                "mark": {"type": "line", "point": {"size": 14}, "strokeWidth": 1, "opacity": 0.55},
                "encoding": {"x": x, "y": _y("value"), "detail": {"field": "seed"}, **shown},
            },
            {
                "transform": only(f"{single} && datum.step == {steps[-1]}"),
                "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 9},
                "encoding": {"x": x, "y": _y("value"), "text": {"field": "seed"}, "color": shown["color"]},
            },
        ]
    else:
        band = {"x": x, "y": _y("low"), "y2": {"field": "high"}, "color": shown["color"]}
        layers.insert(1, {"transform": only("true"), "mark": {"type": "area", "opacity": 0.14}, "encoding": band})
    return faceted(layers, rows, palette, width=300, height=220)


def _levels(evidence: Evidence, palette: Palette) -> Figure:
    title = "Figure 4: corrections by level"
    caption = (
        "Mistakes given to each corrector and corrections kept, by the level of the problem, and the share kept with "
        "its 95% Wilson interval. The paper's share falls from level to level."
    )
    panels: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in evidence.correction_by_level:
        if row["level"] != "-":
            of = " (reference-derived)" if row["is_reference_derived"] else ""
            panels[f"{row['corrector']}\n{named(row['dataset'])}{of}"].append(row)
    names = ("level", "mistakes", "corrected", "rate", "low", "high")
    rows = [
        {"group": group, **{name: row[name] for name in names}}
        for group, asked in panels.items()
        for row in in_one_way(asked)
    ]
    if len(rows) < sum(map(len, panels.values())):
        caption += " Of several prompts, settings or weights of a corrector it is those with most mistakes."
    if not rows:
        return Figure(
            "figure-4", title, caption, None, "No problem that was corrected has a level: make data DATASET=math"
        )
    x = {"field": "level", "type": "ordinal", "title": "level", "axis": {"labelAngle": 0}}
    most = max(row["mistakes"] for row in rows)
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
                "axis": COUNTED,
                "scale": {"domain": [0, most]},
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
    table = (
        ("corrector", "level", "mistakes", "kept", "share kept %", "95% interval"),
        *(
            (
                row["group"].replace("\n", ", "),
                str(row["level"]),
                str(row["mistakes"]),
                str(row["corrected"]),
                percent(row["rate"]),
                f"{percent(row['low'])} to {percent(row['high'])}",
            )
            for row in rows
        ),
    )
    return Figure("figure-4", title, caption, themed({"concat": columns, "columns": 2}, palette), table=table)


def _whole(e: Experiment, results: Iterable[CheckpointResult]) -> list[CheckpointResult]:
    """Those of the results that answered everything, arms in their usual order."""
    whole = {(r.arm, r.seed, r.step) for r in e.result.whole}
    kept = [r for r in results if (r.arm, r.seed, r.step) in whole]
    return sorted(kept, key=lambda r: (ARMS.index(r.arm) if r.arm in ARMS else len(ARMS), r.arm, r.seed or 0, r.step))


def _row(e: Experiment, result: CheckpointResult) -> Row:
    return {
        "arm": result.arm,
        "seed": result.seed or 0,
        "step": result.step,
        "value": result.pass_at_1,
        "low": result.low,
        "high": result.high,
        "is_mean": False,
        "group": f"{student_of(e)}\n{named(e.dataset)}, {result.n:,} problems",
    }


def _table(rows: Iterable[Row], *, along: bool = False) -> tuple[tuple[str, ...], ...]:
    def seed(row: Row) -> str:
        return "–" if row["arm"] == "base" else "mean" if row["is_mean"] else str(row["seed"])

    return (
        ("student", "arm", "seed", *(["step"] if along else []), "pass@1 %", "95% interval"),
        *(
            (
                row["group"].replace("\n", ", "),
                row["arm"],
                seed(row),
                *([str(row["step"])] if along else []),
                percent(row["value"]),
                "–" if row["low"] is None else f"{percent(row['low'])} to {percent(row['high'])}",
            )
            for row in rows
        ),
    )


def _share(percent_: float | None) -> float | None:
    return None if percent_ is None else percent_ / 100


def _diamonds(rows: Iterable[Mapping[str, Any]]) -> str:
    return " Diamonds: the paper's." if any(row["paper"] is not None for row in rows) else ""


def _y(field: str, title: str = "pass@1") -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "axis": PER_CENT}


def _grouped_bars(rows: list[Row], palette: Palette) -> Spec:
    """Horizontal bars, an arm a line, a student and set a panel, all on one axis; seeds are lines of their own."""
    several = len({row["seed"] for row in rows if row["arm"] != "base"}) > 1
    for row in rows:
        row["name"] = row.get("size") or row["arm"]
        if several and row["arm"] != "base":
            row["name"] += f", seed {row['seed']}"
    y = {"field": "name", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 260}}
    scale = {"domain": [0, max(row["high"] for row in rows)]}
    x = {"type": "quantitative", "title": "pass@1", "axis": PER_CENT, "scale": scale}
    layers: list[Spec] = [
        {
            "mark": {"type": "bar", "height": 13},
            "encoding": {"y": y, "x": x | {"field": "value"}, **bar_looks(rows, palette)},
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
    return faceted(layers, rows, palette, width=300, height={"step": 22})
