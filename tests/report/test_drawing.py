"""Figures are drawn in a process of its own: what happens to it costs a figure, and no figure gets a text uncleaned."""

import json
import sys
from pathlib import Path

import pytest
import report_records

from lema_local.records.store import Store
from lema_local.report import write
from lema_local.report.drawing import Drawn, draw

BARS = {
    "data": {"values": [{"name": "a", "n": 1}]},
    "mark": "bar",
    "encoding": {"x": {"field": "name"}, "y": {"field": "n", "type": "quantitative"}},
}
ENDS = """
import json, os, signal, sys
for spec in json.load(sys.stdin)["specs"]:
    if spec["title"] == "ends":
        os.kill(os.getpid(), signal.SIGKILL)
    print(json.dumps({"svg": json.dumps(spec), "png": "", "fault": ""}), flush=True)
"""


def scripted(program: str) -> list[str]:
    """A renderer of our own."""
    return [sys.executable, "-c", program]


def test_a_specification_is_drawn_as_svg_and_png() -> None:
    svg, png = draw([BARS])[0], draw([BARS], png=True)[0]
    assert (svg.svg[:4], svg.png, svg.fault) == ("<svg", b"", "")
    assert (png.svg, png.png[:4]) == (svg.svg, b"\x89PNG")


def test_a_specification_that_is_none_costs_that_figure_and_says_why() -> None:
    wrong, right = draw([BARS | {"mark": "no such mark"}, BARS])
    assert (wrong.svg, wrong.png) == ("", b"")
    assert wrong.fault
    assert "\n" not in wrong.fault
    assert right == draw([BARS])[0]


def test_a_renderer_that_ends_by_itself_costs_the_figure_that_it_was_at() -> None:
    specs = [{"title": title} for title in ("one", "ends", "two", "ends", "three")]
    fault = "the renderer ended by itself, SIGKILL"
    assert draw(specs, renderer=scripted(ENDS)) == [
        *(Drawn(json.dumps(spec)) if spec["title"] != "ends" else Drawn(fault=fault) for spec in specs)
    ]


def test_the_renderer_is_given_clean_text_alone() -> None:
    (drawn,) = draw([{"title": "level\x00 \x1b[2J", "a\x9f": ["\ud800"]}], renderer=scripted(ENDS))
    assert json.loads(drawn.svg) == {"title": "level\ufffd \ufffd[2J", "a\ufffd": ["\ufffd"]}


def test_a_report_without_a_renderer_at_work_has_all_but_the_figures(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report_records.add_arms(db, problems=12)
    output, notices = db.with_name("report.html"), list[str]()
    monkeypatch.setattr(write, "draw", lambda specs, png: draw(specs, png=png, renderer=scripted("")))
    files = write.write_report(
        Store(db, own_views=True), output, title="t", seed=1, pictures=db.parent, on_notice=notices.append
    )
    page = output.read_text(encoding="utf-8")
    assert files == [output]
    assert "<svg" not in page
    assert "This figure could not be drawn (the renderer ended by itself, code 0)." in page
    assert "figure-1 could not be drawn: the renderer ended by itself, code 0" in notices
