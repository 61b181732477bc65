"""From a corrector's replies to the rows of `correction` and what the views say of them, in a real database."""

from typing import Any

import pytest
from correction_replies import MISTAKEN, NASTY, QUESTION, SOLUTION, STEP_2, reply
from facts import HOSTILE, completion
from statsmodels.stats.proportion import proportion_confint

from lema_local.corrections.checks import CHECKS
from lema_local.corrections.rationales import number_steps
from lema_local.records.store import Writer
from lema_local.records.types import Problem
from lema_local.stages.derive import Flip, derive, rederive

PROBLEM = Problem("d", "train", QUESTION, "33", solution=SOLUTION)
MISTAKE = completion(PROBLEM, 1, purpose="sample", model="reasoner", text=number_steps(MISTAKEN))


def corrected(store: Writer, replies: list[str], *, mistakes: int = 1, **more: Any) -> list[dict[str, Any]]:
    """The derived rows of these replies, in their order, dealt out to so many mistakes."""
    others = range(100, 99 + mistakes)
    given = [MISTAKE, *(completion(PROBLEM, k, purpose="sample", model="reasoner", text=MISTAKE.text) for k in others)]
    store.add(PROBLEM)
    for mistake in given:
        store.add(mistake)
    asked: dict[str, Any] = {"purpose": "correct", "model": "corrector", "model_identity": "gguf:2"}
    for k, text in enumerate(replies, start=2):
        store.add(completion(PROBLEM, k, rationale_id=given[k % mistakes].id, text=text, **(asked | more)))
    derive(store, "sample")
    derive(store, "correct")
    return store.rows("from correction order by id")


def test_a_correction_is_recorded_with_all_that_was_found(store: Writer) -> None:
    (row,) = corrected(store, [reply()])
    assert row["rejected_because"] is None
    assert row["correct_solution"] == STEP_2
    assert (row["incorrect_step"], row["fault_step"]) == (2, 2)
    checks = ("step_exists", "continues", "arithmetic", "explains", "step_agrees", "resolved")
    assert [row[name] for name in checks] == [True, True, True, True, True, None]


def test_a_solution_is_recorded_as_it_goes_on_from_the_kept_steps(store: Writer) -> None:
    whole = "Step 1: Nadia picks 3 * 14 = 42 apples.\n" + STEP_2
    (row,) = corrected(store, [reply(solution=whole)])
    assert row["correct_solution"] == STEP_2


def test_no_hostile_reply_is_kept_or_stops_the_run(store: Writer) -> None:
    replies = [*NASTY.values(), *HOSTILE.values()]
    rows = corrected(store, replies)
    assert len(rows) == len(replies)
    assert [row["rejected_because"] for row in rows if row["rejected_because"] is None] == []


def test_deriving_anew_gives_the_same_rows(store: Writer) -> None:
    before = corrected(store, [reply(), reply(7), "", NASTY["another question"]])
    rederive(store)
    assert store.rows("from correction order by id") == before


def test_a_correction_that_an_older_parser_kept_is_rejected_anew_and_counted(store: Writer) -> None:
    corrected(store, [reply(), "The original solution is correct. The answer is 33.", "Step 1: 42 - 9 = 33."])
    with store.connect(write=True) as connection:
        connection.execute("update correction set rejected_because = null, resolved = true, incorrect_step = 1")
    flips = {flip.table: flip for flip in rederive(store)}
    assert flips["correction"] == Flip("correction", 3, became_correct=0, became_wrong=2, changed=3)
    assert [row["rejected_because"] for row in store.rows("from correction order by id")].count(None) == 1
    assert rederive(store)[1].changed == 0
    rows = store.rows("select rejected_because, corrections from rejections order by all")
    assert [tuple(row.values()) for row in rows] == [("called correct", 1), ("no incorrect step", 1)]


def test_a_problem_solved_anew_has_the_right_answer_and_counts_as_no_correction(store: Writer) -> None:
    corrected(store, ["Step 1: 3 * 14 = 42 apples.\nStep 2: 42 - 9 = 33 apples. The answer is 33."])
    (row,) = store.rows("select mistakes, right_answer, corrected from self_correction_rate")
    assert row == {"mistakes": 1, "right_answer": 1, "corrected": 0}


def test_rejections_are_counted_by_reasoner_corrector_and_reason(store: Writer) -> None:
    corrected(store, [reply(), reply(7), reply(8), ""])
    rows = store.rows("from rejections")
    assert [(r["reasoner"], r["corrector"], r["rejected_because"], r["corrections"], r["share"]) for r in rows] == [
        ("reasoner", "corrector", "no such step", 2, 0.5),
        ("reasoner", "corrector", "no incorrect step", 1, 0.25),
    ]


def test_the_rate_of_a_corrector_comes_with_wilsons_interval(store: Writer) -> None:
    corrected(store, [reply(), "", "", ""], mistakes=4)
    (row,) = store.rows("from self_correction_rate")
    assert (row["mistakes"], row["corrected"], row["rate"]) == (4, 1, 0.25)
    # the four mistakes are alike to the letter: a quarter of one observation
    assert (row["low"], row["high"]) == pytest.approx(proportion_confint(0.25, 1, method="wilson"), abs=1e-9)


def test_what_an_accepted_correction_costs_includes_the_rejected_ones(store: Writer) -> None:
    corrected(store, [reply(), "", ""], completion_tokens=100, latency_s=2.0)
    (row,) = store.rows("from correction_cost")
    assert (row["calls"], row["kept"], row["tokens_per_kept"], row["seconds_per_kept"]) == (3, 1, 300, 6.0)


def test_checks_are_counted_over_what_is_kept(store: Writer) -> None:
    corrected(store, [reply(), reply(1, solution=STEP_2), reply(7)])
    found = {
        r["check_name"]: (r["kept"], r["passed"], r["failed"], r["cannot_tell"])
        for r in store.rows("from correction_checks")
    }
    assert list(found) == list(CHECKS)
    assert found["continues"] == found["step_agrees"] == (2, 1, 1, 0)
    assert found["resolved"] == (2, 0, 0, 2)


def test_correctors_that_agree_on_the_step_are_counted(store: Writer) -> None:
    corrected(store, [reply(), reply(), reply(1, solution=f"Step 1: 3 * 14 = 42.\n{STEP_2}")])
    (row,) = store.rows("from correction_agreement")
    assert (row["kept"], row["steps_named"], row["most_named"], row["agree_with_fault_step"]) == (3, 2, 2, 2)
