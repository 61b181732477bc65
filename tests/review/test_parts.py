"""The pure parts of review: how a sample is spread, where a reviewer stands, what a judge's reply says, agreement."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from review_records import HOSTILE, an_id, review

from lema_local.records.types import Grade
from lema_local.review.agreement import cohen_kappa, compare
from lema_local.review.items import MOST_CHARACTERS, item_of
from lema_local.review.judging import judge_inputs, parse_judgement
from lema_local.review.progress import Progress
from lema_local.review.rubric import GRADES, consensus, counts_of, current_grades, name_fault
from lema_local.review.sampling import SampleSize, allocate

A, B, C = (an_id(2_000 + k) for k in range(3))


def test_a_sample_is_spread_in_proportion_over_the_strata_of_each_corrector() -> None:
    strata = {
        ("gpt-4", "llama", "math", "1"): 310,
        ("gpt-4", "llama", "math", "2"): 90,
        ("w", "llama", "math", "1"): 9,
    }
    size = SampleSize(50, {"w": 20})
    assert sorted(allocate(strata, size).values()) == [9, 11, 39]
    assert allocate({("w", "a", "b", level): 1000 for level in "12345"}, size).keys() == {
        ("w", "a", "b", level) for level in "12345"
    }


@given(
    st.dictionaries(st.tuples(*[st.sampled_from("abc")] * 4), st.integers(1, 10_000), max_size=30), st.integers(1, 200)
)
def test_a_sample_has_the_size_that_is_asked_for_and_no_stratum_gives_more_than_it_has(
    strata: dict[tuple[str, str, str, str], int], each: int
) -> None:
    drawn = allocate(strata, SampleSize(each))
    for corrector in {stratum[0] for stratum in strata}:
        there = sum(count for stratum, count in strata.items() if stratum[0] == corrector)
        assert sum(count for stratum, count in drawn.items() if stratum[0] == corrector) == min(each, there)
    assert all(0 < drawn[stratum] <= strata[stratum] for stratum in drawn)


def test_what_is_skipped_comes_back_at_the_end_in_its_order() -> None:
    progress = Progress([A, B, C])
    progress.apply(review(1, 0, "ada", None, event="skip"))
    progress.apply(review(2, 1, "ada", None, event="skip"))
    assert progress.next() == C
    progress.apply(review(3, 2, "ada", "good"))
    assert progress.next() == A
    progress.apply(review(4, 0, "ada", None, event="skip"))
    assert progress.next() == B
    progress.apply(review(5, 1, "ada", "poor"))
    progress.apply(review(6, 0, "ada", "poor"))
    assert progress.next() is None
    assert progress.as_dict()["counts"] == {"excellent": 0, "good": 1, "poor": 2}


def test_undo_goes_back_step_by_step_to_the_beginning() -> None:
    progress = Progress([A, B])
    progress.apply(review(1, 0, "ada", "good"))
    progress.apply(review(2, 1, "ada", None, event="skip"))
    progress.apply(review(3, 1, "ada", "poor"))
    for number, (correction, grade, shown) in enumerate([(1, None, B), (1, None, B), (0, None, A)], 4):
        last = progress.before_last()
        assert last is not None
        assert last[0] == shown
        progress.apply(review(number, correction, "ada", grade, event="undo"))
    assert progress.before_last() is None
    assert progress.next() == A


def test_an_undone_grade_does_not_count_and_an_undone_change_leaves_the_first() -> None:
    events = [review(1, 0, "ada", "good"), review(2, 0, "ada", "poor"), review(3, 0, "ada", "good", event="undo")]
    assert current_grades(events) == {(A, "ada"): "good"}
    assert current_grades([*events, review(4, 0, "ada", None, event="undo")]) == {}


@pytest.mark.parametrize(
    ("grades", "middle"),
    [
        ([], None),
        (["good"], "good"),
        (["excellent", "poor"], "poor"),
        (["excellent", "excellent", "poor"], "excellent"),
    ],
)
def test_of_several_grades_the_middle_one_counts_and_of_two_the_worse(grades: list[Grade], middle: Grade) -> None:
    assert consensus(grades) == middle


def test_people_and_models_are_told_apart_by_name() -> None:
    assert [counts_of("ada", graders) for graders in ("people", "models", "all")] == [True, False, True]
    assert [counts_of("model:x", graders) for graders in ("people", "models", "all")] == [False, True, True]


@pytest.mark.parametrize("name", ["", " ada", "a\nb", "x" * 61, "model:gpt-4", "a/b", "..", "people", "\u202eada"])
def test_a_name_that_cannot_stand_for_a_person_is_refused(name: str) -> None:
    assert name_fault(name)


@pytest.mark.parametrize("name", ["ada", "Ada Lovelace", "Łukasz", "שרה", "a.b@c"])
def test_people_may_have_any_name(name: str) -> None:
    assert name_fault(name) is None


def test_kappa_is_that_of_the_textbook() -> None:
    # 20 + 15 of 50 agree, 0.5 by chance: (0.7 - 0.5) / (1 - 0.5)
    assert cohen_kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)
    # Cohen 1968, linear weights: 1 - (0.5 * 5 + 1 * 1) / 14.11, computed by hand from the margins
    matrix = [[11, 3, 1], [1, 9, 0], [0, 1, 10]]
    n, rows, columns = 36, [15, 10, 11], [12, 13, 11]
    chance = sum(abs(i - j) * rows[i] * columns[j] / n for i in range(3) for j in range(3))
    assert cohen_kappa(matrix, weighted=True) == pytest.approx(1 - (3 + 2 * 1 + 1 + 1) / chance)


def test_kappa_has_no_value_where_chance_cannot_disagree() -> None:
    found = compare(["good"] * 5, ["good"] * 5)
    assert (found.n, found.agreed, found.kappa, found.low, found.weighted_kappa) == (5, 5, None, None, None)
    assert compare([], []).kappa is None


def test_more_corrections_of_the_same_problems_do_not_narrow_the_interval_of_kappa() -> None:
    one: list[Grade] = ["excellent", "good", "poor", "poor", "good", "poor", "excellent", "good"]
    other: list[Grade] = ["excellent", "poor", "poor", "poor", "good", "good", "good", "good"]
    once, problems = compare(one, other), [str(k) for k in range(8)] * 5
    often, apart = compare(one * 5, other * 5, problems=problems), compare(one * 5, other * 5)
    assert (often.n, often.kappa) == (40, pytest.approx(once.kappa))
    assert (often.low, often.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert (apart.low or 0) > (once.low or 0)  # as problems of their own they do


@settings(deadline=None)  # the first comparison loads numpy
@given(st.lists(st.tuples(st.sampled_from(GRADES), st.sampled_from(GRADES)), min_size=1, max_size=60))
def test_agreement_is_symmetric_and_within_its_bounds(pairs: list[tuple[Grade, Grade]]) -> None:
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = compare(one, other), compare(other, one)
    assert there.agreed == back.agreed == sum(a == b for a, b in pairs)
    assert there.kappa == pytest.approx(back.kappa)
    if there.kappa is not None:
        assert -1 <= there.kappa <= 1
        assert (there.kappa == 1) == (there.agreed == there.n)
    assert Counter({g: n for g, n in zip(GRADES, map(sum, there.matrix), strict=True) if n}) == Counter(one)


@pytest.mark.parametrize(
    ("reply", "grade"),
    [
        ("Reason: it is.\nGrade: excellent", "excellent"),
        ("Reason: minor.\n**Grade:** Good.", "good"),
        ("<think>Grade: excellent?</think>Reason: no.\nGrade: poor\n", "poor"),
        ("Grade: excellent", "excellent"),
        ("Reason: fine", None),
        ("Grade: excellent\nBut then it is not.", None),
        ("Grade: excellent\nGrade: poor", None),
        ("Grade: excellent or good", None),
        ("Grade: 1", None),
        ("I would say excellent", None),
        ("Grade:", None),
        ("", None),
        ("grade: " * 50_000, None),
    ],
)
def test_a_judges_grade_is_read_strictly(reply: str, grade: Grade | None) -> None:
    found = parse_judgement(reply)
    assert (found.grade if found else None) == grade


def test_a_reason_is_kept_without_its_label() -> None:
    found = parse_judgement("Reason: The step is right.\nIt goes on.\nGrade: good")
    assert found is not None
    assert found.reason == "The step is right.\nIt goes on."


@pytest.mark.parametrize("text", HOSTILE)
def test_an_item_holds_texts_as_they_are_and_no_more_of_them_than_anyone_reads(text: str) -> None:
    item = item_of((A, text, "1", text, f"Step 1: {text}", "sample_number.1", None, 1, text, text, "1", None))
    for shown in (item.question, item.explanation, item.reference_solution):
        assert shown is not None
        assert shown.startswith(text[:MOST_CHARACTERS])
        assert len(shown) < MOST_CHARACTERS + 100
    assert all(len(line.text) < MOST_CHARACTERS + 100 for line in (*item.steps, *item.solution))
    assert set(judge_inputs(item)) >= {"question", "steps", "solution"}
