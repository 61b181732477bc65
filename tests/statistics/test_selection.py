"""Choosing among checkpoints, and what the choice is worth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lema_local.statistics.selection import best, optimism


def test_the_best_come_highest_first_and_of_equals_the_earliest() -> None:
    assert best([0.2, 0.5, 0.1, 0.5], 3) == [1, 3, 0]
    assert best([0.1]) == [0]
    assert best([], 3) == []


def test_one_checkpoint_was_not_chosen_and_so_is_not_flattered() -> None:
    found = optimism([[True, False, True, False]])
    assert (found.best, found.honest, found.optimism) == (0.5, 0.5, 0.0)
    assert optimism([[True, False]] * 3, count=3).optimism == 0.0


def test_two_that_always_agree_leave_nothing_to_choose() -> None:
    solved = [True, False] * 100
    assert optimism([solved, solved]).optimism == pytest.approx(0, abs=0.01)


def test_a_checkpoint_far_above_the_others_keeps_its_score() -> None:
    found = optimism([[False] * 100, [True] * 80 + [False] * 20])
    assert found.best == 0.8
    assert found.optimism == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("checkpoints", [2, 4, 8])
def test_the_optimism_of_choosing_among_equals_is_what_fresh_problems_show(checkpoints: int) -> None:
    """Checkpoints that all solve each problem with chance 0.25: the best of them on 100 problems is no better."""
    random = np.random.default_rng(checkpoints)
    seen, estimated = [], []
    for _ in range(30):
        solved = random.random((checkpoints, 100)) < 0.25
        found = optimism(solved.tolist())
        seen.append(found.best - 0.25)
        estimated.append(found.optimism)
    assert np.mean(estimated) == pytest.approx(np.mean(seen), abs=0.015)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1)))
def test_a_choice_is_the_same_each_time_and_its_parts_add_up(solved: list[list[bool]]) -> None:
    found = optimism(solved[:3])
    assert found == optimism(solved[:3])
    assert found.best - found.honest == pytest.approx(found.optimism)
    assert 0 <= found.honest <= 1
    assert found.best == max(np.mean(row) for row in solved[:3])


@pytest.mark.parametrize("solved", [[], [[]]], ids=["no checkpoints", "no problems"])
def test_nothing_to_choose_from_is_refused(solved: list[list[bool]]) -> None:
    with pytest.raises(ValueError, match="needs checkpoints that all got the same problems"):
        optimism(solved)
