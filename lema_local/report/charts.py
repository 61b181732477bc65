"""What every figure is made of: palettes, scales that keep an arm's colour and dash, panels, the look. Pure.

Specifications are Vega-Lite's (https://vega.github.io/vega-lite). Arms are told apart by dash and mark as well as
colour, and the colours of neighbours stay apart for colour-blind readers (tests/report/test_figures.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    "series-1": "#0f4c7a",
    "series-2": "#a8430f",
    "series-3": "#1f9a5a",
    "series-4": "#9a4fc4",
}
ARMS = ("base", "cot", "lema", "lema-controlled", "cot-expanded", "cot-matched-tokens")
COLOURS = ("series-quiet", "series-1", "series-2", "series-3", "series-4", "ink-soft")
DASHES = ([1, 0], [1, 0], [6, 2], [2, 2], [8, 3, 2, 3], [1, 3])
PER_CENT = {"format": ".0%", "tickCount": 5, "tickMinStep": 0.01}
COUNTED = {"format": "d", "tickCount": 5, "tickMinStep": 1}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: a specification, or what is missing and how to make it."""

    name: str
    title: str
    caption: str
    spec: Spec | None
    missing: str = ""
    table: tuple[tuple[str, ...], ...] = ()  # what is drawn, as text: a heading, then the rows


def scaled(field: str, rows: Iterable[Mapping[str, Any]], values: Sequence[Any]) -> Spec:
    """A nominal field whose values keep their colour, or dash, whatever other values are there."""
    there = {row[field] for row in rows}
    known = [arm for arm in ARMS if arm in there]
    others = sorted(there - set(ARMS))
    scale = [values[ARMS.index(arm)] for arm in known] + [values[k % len(values)] for k in range(len(others))]
    found: Spec = {"field": field, "type": "nominal", "scale": {"domain": known + others, "range": scale}}
    return found | {"title": None}


def colour(rows: Iterable[Mapping[str, Any]], palette: Palette) -> Spec:
    return scaled("arm", rows, [palette[name] for name in COLOURS])


def faceted(layers: list[Spec], rows: list[dict[str, Any]], palette: Palette, **size: Any) -> Spec:
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
    return themed({"concat": panels, "columns": 2, "resolve": {"scale": {"color": "shared"}}}, palette)


def themed(spec: Spec, palette: Palette) -> Spec:
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
            "legend": text | {"symbolStrokeWidth": 2.5, "orient": "top"},
            "title": {"color": palette["ink"], "fontSize": 12, "fontWeight": 600, "anchor": "start"},
            "view": {"stroke": None},
            # a reader may lack the font, and wider text is not cut
            "padding": {"left": 32, "right": 24, "top": 4, "bottom": 4},
        },
        **spec,
    }
