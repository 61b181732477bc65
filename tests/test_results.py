"""What an evaluation says, from rows of evaluation_result."""

from typing import Any

import pytest

from lema_local.report.results import arm_results, checkpoint_results, differences
from lema_local.statistics import wilson_interval


def rows(arm: str, step: int, right: str) -> list[dict[str, Any]]:
    """One row a problem; `right` has a 1 for each problem that is solved."""
    fixed = {"model": "m", "dataset": "d", "split": "test", "base": "b", "seed": None if arm == "base" else 1}
    checkpoint = None if arm == "base" else f"{arm}-{step}"
    return [
        fixed
        | {"arm": arm, "step": step, "checkpoint_id": checkpoint, "problem_id": f"p{k}"}
        | {"is_correct": bit == "1", "is_cut": bit == "c"}
        for k, bit in enumerate(right)
    ]


TABLE = [
    *rows("lema", 20, "1111000000"),
    *rows("lema", 100, "1111111110"),
    *rows("lema", 40, "1111110000"),
    *rows("lema", 60, "1111111000"),
    *rows("cot", 100, "1111111c00"),
    *rows("cot", 40, "1000000000"),
    *rows("base", 0, "0000000cc0"),
]


def test_base_comes_first_and_then_arms_by_step() -> None:
    order = [(r.arm, r.step) for r in checkpoint_results(TABLE)]
    assert order == [("base", 0), ("cot", 40), ("cot", 100), *(("lema", step) for step in (20, 40, 60, 100))]


def test_a_row_counts_its_problems_and_has_wilsons_interval() -> None:
    last = checkpoint_results(TABLE)[2]
    assert (last.n, last.correct, last.cut_off, last.checkpoint_id) == (10, 7, 1, "cot-100")
    assert last.pass_at_1 == pytest.approx(0.7)
    assert (last.low, last.high) == wilson_interval(7, 10)


def test_an_arm_is_its_best_three_checkpoints_and_their_mean() -> None:
    cot, lema = arm_results(checkpoint_results(TABLE))
    assert lema.best == (0.9, 0.7, 0.6)
    assert lema.mean == pytest.approx(2.2 / 3)
    assert cot.best == (0.7, 0.1)


def test_last_checkpoints_are_compared_with_the_base_and_with_cot() -> None:
    found = {(d.arm, d.against): d for d in differences(checkpoint_results(TABLE))}
    assert list(found) == [("cot", "base"), ("lema", "base"), ("lema", "cot")]
    assert (found["lema", "cot"].paired.gained, found["lema", "cot"].paired.lost) == (2, 0)
    assert found["lema", "cot"].step == 100
    assert found["lema", "cot"].in_words == "no difference can be told between lema and cot"
    assert found["lema", "cot"].because == "10 problems show one of 67 points or more, 4 times in 5"
    assert found["lema", "base"].in_words == "lema is above base"


def test_a_fall_is_called_a_fall() -> None:
    (found,) = differences(checkpoint_results([*rows("base", 0, "1" * 10), *rows("cot", 1, "0" * 10)]))
    assert found.in_words == "cot is below base"


def test_only_problems_that_both_answered_are_compared() -> None:
    (found,) = differences(checkpoint_results([*rows("base", 0, "1010"), *rows("cot", 1, "11")]))
    assert (found.paired.n, found.paired.gained) == (2, 1)


def test_nothing_evaluated_says_nothing() -> None:
    assert not checkpoint_results([])
    assert not arm_results([])
    assert not differences([])
