"""What every figure is made of: palettes, scales that keep an arm's look, panels, the look of the whole. Pure.

Specifications are Vega-Lite's (https://vega.github.io/vega-lite). Arms are told apart by dash and mark as well as
colour, and the colours stay apart for colour-blind readers (tests/report/test_figures.py).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
PER_CENT = {"format": ".0%", "tickCount": 5, "tickMinStep": 0.01}
COUNTED = {"format": "d", "tickCount": 5, "tickMinStep": 1}


@dataclass(frozen=True, slots=True)
class Look:
    """How an arm is drawn; a bar of a colour that another arm has too is told from its by `opacity`."""

    colour: str  # of a palette
    dash: tuple[int, ...]
    shape: str
    opacity: float = 1.0


# by arm, in the order in which arms are shown; more colours than four would not stay apart, and grey is the base alone
LOOKS: Mapping[str, Look] = {
    "base": Look("series-quiet", (1, 0), "circle"),
    "cot": Look("series-1", (1, 0), "circle"),
    "lema": Look("series-2", (6, 2), "square"),
    "lema-controlled": Look("series-3", (2, 2), "triangle-up"),
    "cot-expanded": Look("series-4", (8, 3, 2, 3), "diamond"),
    "cot-matched-tokens": Look("series-1", (1, 3), "cross", 0.5),
    "lema-no-step": Look("series-3", (10, 3), "triangle-down", 0.5),
    "lema-no-explanation": Look("series-4", (4, 4), "triangle-right", 0.5),
    "lema-no-solution": Look("series-2", (6, 2, 1, 2), "triangle-left", 0.5),
    "warm-up": Look("series-4", (3, 1), "cross", 0.2),
    "evolved": Look("series-3", (1, 0), "diamond", 0.2),
}
ARMS = tuple(LOOKS)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: a specification, or what is missing and how to make it."""

    name: str
    title: str
    caption: str
    spec: Spec | None
    missing: str = ""
    table: tuple[tuple[str, ...], ...] = ()  # what is drawn, as text: a heading, then the rows


def looks(arms: Iterable[str]) -> dict[str, Look]:
    """Of these arms, in their order. A known one looks the same whatever others are there; others, by their names, get
    the looks of known ones that are not there, as far as there are any."""
    there = set(arms)
    free = [look for arm, look in LOOKS.items() if arm not in there | {"base"}] or list(LOOKS.values())[1:]
    found = {arm: look for arm, look in LOOKS.items() if arm in there}
    return found | {arm: free[k % len(free)] for k, arm in enumerate(sorted(there - LOOKS.keys()))}


def line_looks(rows: Sequence[Mapping[str, Any]], palette: Palette) -> Spec:
    """Encodings of lines with points, by the field `arm`. The base has no line: it is in the domain of the marks lest
    Vega-Lite join their legend, which hides the dashes, to that of the lines."""
    by_arm, with_base = _by_arm(rows), _by_arm([*rows, {"arm": "base"}])
    return {
        "color": by_arm(lambda look: palette[look.colour]),
        "strokeDash": by_arm(lambda look: list(look.dash)),
        "shape": with_base(lambda look: look.shape) | {"legend": None},
    }


def bar_looks(rows: Iterable[Mapping[str, Any]], palette: Palette) -> Spec:
    """Encodings of bars, which are named beside the axis, by the field `arm`."""
    by_arm = _by_arm(rows)
    colour = by_arm(lambda look: palette[look.colour]) | {"legend": None}
    return {"fill": colour, "stroke": colour, "fillOpacity": by_arm(lambda look: look.opacity) | {"legend": None}}


def _by_arm(rows: Iterable[Mapping[str, Any]]) -> Callable[[Callable[[Look], Any]], Spec]:
    found = looks(row["arm"] for row in rows)

    def drawn(value: Callable[[Look], Any]) -> Spec:
        scale = {"type": "ordinal", "domain": list(found), "range": [value(look) for look in found.values()]}
        return {"field": "arm", "type": "nominal", "scale": scale, "title": None}

    return drawn


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
