"""Generated problems: disjoint splits, sameness, balance, and solutions that end at their answers."""

import sys
from collections import Counter

import pytest

from lema_local.corrections.rationales import solution_steps
from lema_local.errors import DataError, MissingPackageError
from lema_local.problems import gsm_symbolic
from lema_local.problems.gsm_symbolic import EXCLUDED, TEMPLATES, generate, split_of

SMALL = (10, 43, 72)
PINNED_QUESTION = (
    "A student has 12 marbles. His cousin has 8 fewer marbles than he has. How many marbles do they have together?"
)
PINNED_ID = "d71aa506-04ab-8d9e-ab59-6e1ca5c61537"


@pytest.fixture(autouse=True)
def _needs_reasoning_gym() -> None:
    pytest.importorskip("reasoning_gym")


@pytest.mark.parametrize("seeds", [(1, 1), (1, 2), (7, 1)], ids=["same-seed", "other-seed", "far-seed"])
def test_train_and_test_share_no_question(seeds: tuple[int, int]) -> None:
    train = generate("train", count=1500, seed=seeds[0], templates=SMALL)
    test = generate("test", count=600, seed=seeds[1], templates=SMALL)
    assert not {problem.question for problem in train} & {problem.question for problem in test}


def test_same_numbers_under_other_names_fall_on_the_same_side() -> None:
    for n in range(50):
        assert split_of(f"Ann has {n} pears and 1,000 figs.") == split_of(f"Bo reads {n} books in 1000 days.")


def test_both_sides_get_a_fair_share() -> None:
    sides = Counter(split_of(f"{a} and {b}") for a in range(40) for b in range(40))
    assert 0.2 < sides["test"] / sides.total() < 0.3


def test_same_arguments_give_the_same_problems_and_a_smaller_count_its_first() -> None:
    many = generate("train", count=60, seed=5, templates=SMALL)
    assert generate("train", count=25, seed=5, templates=SMALL) == many[:25]
    assert generate("train", count=60, seed=6, templates=SMALL) != many


def test_problems_are_pinned_across_machines_and_processes() -> None:
    (problem,) = generate("test", count=1, seed=0, templates=(43,))
    assert problem.question == PINNED_QUESTION
    assert problem.id == PINNED_ID


def test_templates_are_balanced_and_named_in_the_subject() -> None:
    subjects = Counter(problem.subject for problem in generate("test", count=32, seed=1, templates=SMALL))
    assert set(subjects) == {"template-10", "template-43", "template-72"}
    assert max(subjects.values()) - min(subjects.values()) <= 1


def test_every_sound_template_gives_solutions_that_end_at_their_answers() -> None:
    problems = generate("train", count=20 * (TEMPLATES - len(EXCLUDED)), seed=3, templates=None)
    assert len({problem.subject for problem in problems}) == TEMPLATES - len(EXCLUDED)
    assert len({problem.question for problem in problems}) == len(problems)
    for problem in problems:
        steps = solution_steps(problem.solution or "")
        assert steps[-1].rstrip(".").replace(",", "").find(problem.answer) >= 0
        assert "<<" not in (problem.solution or "")
        assert "####" not in (problem.solution or "")
        assert float(problem.answer) >= 0


@pytest.mark.parametrize(
    ("templates", "count", "says"),
    [
        pytest.param((100,), 5, "no template 100", id="unknown"),
        pytest.param((32,), 5, "no template 32", id="unrepaired"),
        pytest.param((75,), 5, "rounds halves down", id="excluded"),
        pytest.param((), 5, "at least one template", id="none"),
        pytest.param((43,), 0, "count of at least 1", id="count-zero"),
        pytest.param((6,), 5000, "ask for fewer than 5000", id="used-up"),
    ],
)
def test_what_cannot_be_generated_is_one_line_of_advice(templates: tuple[int, ...], count: int, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        generate("train", count=count, seed=1, templates=templates)
    assert "\n" not in str(caught.value)


def test_missing_reasoning_gym_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic", None)
    with pytest.raises(MissingPackageError, match=r"lema-local\[data\]"):
        gsm_symbolic.generate("train", count=1, seed=1, templates=None)
