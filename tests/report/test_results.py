"""What an evaluation says, from rows of evaluation_result."""

from typing import Any

import pytest

from lema_local.report.results import arm_results, checkpoint_results, differences, judged_pairs
from lema_local.statistics.comparison import wilson_interval


def rows(arm: str, step: int, right: str) -> list[dict[str, Any]]:
    """One row a problem; `right` has a 1 for each problem that is solved."""
    fixed = {"model": "m", "dataset": "d", "split": "test", "base": "b", "seed": None if arm == "base" else 1}
    checkpoint = None if arm == "base" else f"{arm}-{step}"
    return [
        fixed
        | {"arm": arm, "step": step, "checkpoint_id": checkpoint, "problem_id": f"p{k}"}
        | {"is_correct": bit == "1", "is_cut": bit == "c", "answer": bit}
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
    found = {(d.arm, d.against): d for d in differences(judged_pairs(checkpoint_results(TABLE)))}
    assert list(found) == [("cot", "base"), ("lema", "base"), ("lema", "cot")]
    assert (found["lema", "cot"].paired.gained, found["lema", "cot"].paired.lost) == (2, 0)
    assert found["lema", "cot"].step == 100
    assert found["lema", "cot"].in_words == "no difference can be told between lema and cot"
    assert found["lema", "cot"].because == "10 problems show one of 67 points or more, 4 times in 5"
    assert found["lema", "base"].in_words == "lema is above base"


def test_what_was_chosen_on_the_test_split_is_said_to_be_so_by_how_much() -> None:
    cot, lema = arm_results(checkpoint_results(TABLE))
    assert (lema.best_one.best, lema.last.step, lema.chosen_on_dev) == (0.9, 100, None)
    assert lema.best_three.best == pytest.approx(lema.mean)
    assert lema.best_one.honest < 0.9
    assert cot.best_three.optimism == 0  # two checkpoints: there were not three to choose from


def test_arms_that_differ_by_less_than_the_margin_are_level() -> None:
    table = [*rows("base", 0, "01" * 400), *rows("cot", 1, "01" * 399 + "10")]
    (found,) = differences(judged_pairs(checkpoint_results(table)), margin=0.03)
    assert found.in_words == "cot and base are level within 3 points"
    assert found.because == ""
    (found,) = differences(judged_pairs(checkpoint_results(table)), margin=0.001)
    assert found.in_words == "no difference can be told between cot and base"


def test_where_many_are_compared_one_small_p_is_no_finding() -> None:
    table = [
        *rows("base", 0, "0" * 30),
        *rows("cot", 1, "1" * 6 + "0" * 24),  # p = 2 / 64
        *rows("lema", 1, "1" * 5 + "0" * 25),
    ]
    found = differences(judged_pairs(checkpoint_results(table)))
    assert found[0].paired.p_value == pytest.approx(2 / 64)
    assert found[0].p_holm == pytest.approx(6 / 64)
    assert found[0].in_words == "no difference can be told between cot and base"
    assert found[0].because == "alone its p is 0.031, among all comparisons of this table 0.094"


def test_too_few_problems_are_said_to_show_nothing() -> None:
    (found,) = differences(judged_pairs(checkpoint_results([*rows("base", 0, "000"), *rows("cot", 1, "111")])))
    assert found.because == "3 problems cannot show any difference"


def test_a_fall_is_called_a_fall() -> None:
    (found,) = differences(judged_pairs(checkpoint_results([*rows("base", 0, "1" * 10), *rows("cot", 1, "0" * 10)])))
    assert found.in_words == "cot is below base"


def test_only_problems_that_both_answered_are_compared() -> None:
    (found,) = differences(judged_pairs(checkpoint_results([*rows("base", 0, "1010"), *rows("cot", 1, "11")])))
    assert (found.paired.n, found.paired.gained) == (2, 1)


def test_arms_that_end_at_steps_of_their_own_are_compared_where_they_end() -> None:
    table = checkpoint_results([*rows("cot", 2, "1000"), *rows("cot", 6, "1100"), *rows("lema", 2, "0000"),
                                *rows("lema", 4, "1110")])  # fmt: skip
    (same,) = differences(judged_pairs(table))
    assert (same.step, same.against_step, same.paired.difference) == (2, 2, -0.25)
    (ends,) = differences(judged_pairs(table, same_step=False))
    assert (ends.step, ends.against_step, ends.paired.difference) == (4, 6, 0.25)
    assert not differences(judged_pairs([each for each in table if each.arm == "lema"], same_step=False))


def test_nothing_evaluated_says_nothing() -> None:
    assert not checkpoint_results([])
    assert not arm_results([])
    assert not differences(judged_pairs([]))
