"""Figures: what is drawn and what is not, whole numbers on axes, and colours that everybody can tell apart."""

import re
from importlib.resources import files
from itertools import combinations
from typing import Any, get_args

import numpy as np
import pytest
from experiments import N, experiment, rows, trained_over

from lema_local.report.charts import ARMS, IN_FILE
from lema_local.report.evaluation import set_reports
from lema_local.report.evidence import Evidence, Experiment
from lema_local.report.figures import figures
from lema_local.report.paper import paper
from lema_local.settings.tables import Arm

# Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009) 1291-1298, severity 1.0, on linear RGB
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def drawn(*of: Experiment) -> dict[str, Any]:
    return {figure.name: figure for figure in figures(Evidence(experiments=of), paper(), IN_FILE)}


def test_a_checkpoint_that_has_not_answered_everything_makes_no_panel_of_its_own() -> None:
    found = rows("base", 0, 10)[:50] + rows("cot", 100, 60) + rows("lema", 100, 80)
    part = drawn(Experiment("m", "b", set_reports(found, margin=0.03)[0], {}))
    for name in ("figure-1", "figure-2"):
        assert [panel["title"] for panel in part[name].spec["concat"]] == [["m", f"GSM8K, {N} problems"]]
        assert "base" not in {row[1] for row in part[name].table}


def test_panels_of_one_figure_have_one_axis() -> None:
    two = drawn(experiment("a", cot=40, lema=60), experiment("b", cot=100, lema=180))["figure-1"].spec
    ends = {tuple(layer["encoding"]["x"]["scale"]["domain"]) for panel in two["concat"] for layer in panel["layer"]}
    assert len(ends) == 1


def test_steps_are_whole_numbers_and_seeds_are_told_apart_beside_their_mean() -> None:
    figure = drawn(trained_over(*[20] * 3))["figure-2"]
    axes = [layer["encoding"]["x"]["axis"] for layer in figure.spec["concat"][0]["layer"] if "x" in layer["encoding"]]
    assert {axis["format"] for axis in axes} == {"d"}
    assert {axis["tickMinStep"] for axis in axes} == {1}
    assert "numbered at their ends" in figure.caption
    means = [row for row in figure.table if row[2] == "mean"]
    assert len(means) == 4  # two arms, two steps
    assert [layer["mark"]["type"] for layer in figure.spec["concat"][0]["layer"]] == ["rule", "line", "line", "text"]


def test_every_figure_with_data_has_it_as_a_table_too() -> None:
    found = drawn(experiment(cot=60, lema=80, lema_controlled=70))
    for name in ("figure-1", "figure-2", "figure-3"):
        heading, *lines = found[name].table
        assert "pass@1 %" in heading
        assert all(len(line) == len(heading) for line in lines)
        assert len(lines) >= 3


def drawn_as(figure: Any) -> dict[str, tuple[Any, ...]]:
    """How each arm is drawn: its value on every channel that tells arms apart."""
    found: dict[str, dict[str, Any]] = {}
    for layer in figure.spec["concat"][0]["layer"]:
        for channel, spec in layer["encoding"].items():
            if spec.get("field") == "arm":
                for arm, value in zip(spec["scale"]["domain"], spec["scale"]["range"], strict=True):
                    found.setdefault(arm, {})[channel] = value
    return {arm: tuple(str(value) for _, value in sorted(look.items())) for arm, look in found.items()}


def looks_of(*arms: str) -> list[dict[str, tuple[Any, ...]]]:
    """In figures 1 and 2."""
    both = drawn(experiment(**{arm.replace("-", "_"): 40 for arm in arms}))
    return [drawn_as(both[name]) for name in ("figure-1", "figure-2")]


@pytest.mark.parametrize("arms", [get_args(Arm), ("cot", "lema", "evolved"), ("cot", "lema-no-step", "mine", "yours")])
def test_every_arm_of_a_figure_is_drawn_in_a_way_of_its_own_and_only_the_base_is_grey(arms: tuple[str, ...]) -> None:
    for found in looks_of(*arms):
        own = [look for arm, look in found.items() if arm != "base"]
        assert {*arms} <= found.keys()
        assert len(set(own)) == len(own) >= len(arms)
        assert IN_FILE["series-quiet"] not in str(own)
        assert IN_FILE["ink-soft"] not in str(own)


def test_an_arm_looks_the_same_whatever_others_stand_beside_it() -> None:
    for one, other in zip(looks_of("cot", "evolved"), looks_of("evolved", "lema-no-step", "another"), strict=True):
        assert one["evolved"] == other["evolved"]
    assert {*get_args(Arm)} | {"base"} == {*ARMS}


def test_a_panel_of_corrections_has_those_of_one_way_of_asking() -> None:
    row = {
        "corrector": "c", "dataset": "math", "is_reference_derived": False, "template": "a.1", "settings": "{}",
        "model_identity": "w", "corrected": 30, "rate": 0.3, "low": 0.2, "high": 0.4,
    }  # fmt: skip
    levels = [row | {"level": str(k), "mistakes": 100 - k} for k in (1, 2)]
    again = [each | {"template": "a.2", "mistakes": 90} for each in levels]
    oracle = [each | {"is_reference_derived": True, "settings": "its own"} for each in levels]
    *_, figure = figures(Evidence(correction_by_level=(*again, *levels, *oracle)), paper(), IN_FILE)
    panels = [[(r["level"], r["mistakes"]) for r in panel["data"]["values"]] for panel in figure.spec["concat"]]
    assert panels == [[("1", 99), ("2", 98)]] * 2
    assert len(figure.table) == 5
    assert "those with most mistakes" in figure.caption
    *_, alone = figures(Evidence(correction_by_level=tuple(levels)), paper(), IN_FILE)
    assert "those with most mistakes" not in alone.caption


def lab(colour: str, matrix: Any) -> Any:
    """CIE L*a*b* of an sRGB colour as somebody with this matrix sees it."""
    srgb = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(matrix) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    scaled = (to_xyz @ seen) / np.array([0.9505, 1.0, 1.089])
    f = np.where(scaled > 216 / 24389, np.cbrt(scaled), (24389 / 27 * scaled + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def series() -> tuple[dict[str, str], dict[str, str]]:
    """The colours of arms on a page: light, dark."""
    css = files("lema_local.report").joinpath("theme.css").read_text(encoding="utf-8")
    light, dark = css.split("prefers-color-scheme: dark")
    return dict(re.findall(r"--(series-[\w]+): (#\w{6})", light)), dict(re.findall(r"--(series-[\w]+): (#\w{6})", dark))


@pytest.mark.parametrize("who", BLINDNESS)
def test_colours_of_arms_stay_apart_for_colour_blind_readers(who: str) -> None:
    for colours in series():
        assert len(colours) == 5
        for one, other in combinations(colours, 2):
            distance = np.linalg.norm(lab(colours[one], BLINDNESS[who]) - lab(colours[other], BLINDNESS[who]))
            assert distance > 15, (one, other, distance)


def test_a_picture_in_a_file_has_the_colours_of_the_light_page() -> None:
    assert {name: IN_FILE[name] for name in series()[0]} == series()[0]
