"""The views' figures, on a handful of records whose right counts can be seen at a glance; and that they work in plain
DuckDB, from the file alone."""

import json
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT
from facts import completion

from lema_local.errors import StoreError
from lema_local.records.keys import content_key
from lema_local.records.queries import named_queries, run_query
from lema_local.records.store import Store, Writer
from lema_local.records.types import (
    Attempt,
    Checkpoint,
    Correction,
    Evaluation,
    Example,
    Grade,
    Problem,
    Rationale,
    TrainingSet,
)
from lema_local.review.rubric import consensus
from lema_local.review.summary import summarise
from lema_local.settings.training import TrainingSettings
from lema_local.statistics.comparison import wilson_interval

START = datetime(2026, 1, 1, tzinfo=UTC)
Row = dict[str, Any]


def key(*parts: Any) -> str:
    return content_key("test", *parts)


TRAIN = [Problem("d", "train", f"q{k}", "1", level=f"Level {1 + k // 2}", subject="algebra") for k in range(4)]
TEST = [Problem("d", "test", f"t{k}", "1", level="Level 1", subject="number") for k in range(4)]


class Filler:
    """Adds records one by one."""

    def __init__(self, store: Writer) -> None:
        self.store = store

    def rationale(
        self, k: int, reasoner: str, *, is_correct: bool = False, is_cut: bool = False, sample: int = 0, **more: Any
    ) -> str:
        id_ = key("rationale", k, reasoner, *filter(None, [sample]))
        self._complete(TRAIN[k], id_, **{"purpose": "sample", "model": reasoner, "model_identity": reasoner} | more)
        self.store.derive(
            "rationale",
            [
                Rationale(
                    id_, TRAIN[k].id, reasoner, "1" if is_correct else "2", is_correct, is_correct, "exact", is_cut
                )
            ],
        )
        return id_

    def correction(
        self, k: int, reasoner: str, corrector: str, *, kept: bool, step: int | None = 1, steps: int | None = 3,
        fault: int | None = None, sample: int = 0, **more: Any,
    ) -> str:  # fmt: skip
        mistake = key("rationale", k, reasoner, *filter(None, [sample]))
        id_ = key("correction", k, reasoner, corrector, *filter(None, [sample]), *more.values())
        is_oracle = corrector == "oracle"
        self._complete(
            TRAIN[k], id_, purpose="correct", model=corrector, rationale_id=mistake,
            is_reference_derived=is_oracle, **{"model_identity": corrector} | more,
        )  # fmt: skip
        found = Correction(
            id_, TRAIN[k].id, mistake, corrector, is_oracle, step, "why", "Step 1: so.", "1", kept,
            None if kept else "wrong answer", fault_step=fault, step_agrees=None if fault is None else step == fault,
            mistaken_steps=steps,
        )  # fmt: skip
        self.store.derive("correction", [found])
        return id_

    def evaluation(
        self,
        k: int,
        arm: str,
        step: int,
        *,
        is_correct: bool,
        seed: int = 1,
        index: int = 0,
        heat: float = 0.0,
        again: int = 0,
        **more: Any,
    ) -> str:
        checkpoint = None if arm == "base" else key("checkpoint", arm, step, seed, *filter(None, [again]))
        id_ = key("evaluation", k, arm, step, seed, index, heat, again, *more.values())
        self._complete(
            TEST[k], id_, purpose="evaluate", model="student", checkpoint_id=checkpoint, sample_index=index,
            sampling=f'{{"temperature": {heat}}}', **more,
        )  # fmt: skip
        answer = "1" if is_correct else "2"
        graded = Evaluation(
            id_, TEST[k].id, "student", "q4", checkpoint, index, answer, is_correct, is_correct, "exact", False
        )
        self.store.derive("evaluation", [graded])
        return id_

    def checkpoint(self, arm: str, step: int, seed: int = 1, again: int = 0, on: str = "", settings: str = "{}") -> str:
        id_ = key("checkpoint", arm, step, seed, *filter(None, [again]))
        self.store.add(
            Checkpoint(
                id_, key("run", arm, seed, again), "student", "nf4", key("set", on or arm), arm, "d", seed, step,
                settings,
                "runs/x", 1.0 / step, 100 * step, 4 * step, START + timedelta(days=again),
            )
        )  # fmt: skip
        return id_

    def grade(self, correction: str, reviewer: str, grade: str | None, minute: int) -> None:
        self.store.merge()
        with self.store.connect(write=True) as connection:
            connection.execute(
                "insert into review (id, correction_id, reviewer, grade, created_at) values ($id, $of, $by, $to, $at)",
                {"id": key(correction, reviewer, minute), "of": correction, "by": reviewer, "to": grade,
                 "at": START + timedelta(minutes=minute)},
            )  # fmt: skip

    def _complete(self, of: Problem, id_: str, **more: Any) -> None:
        self.store.add(of)
        self.store.add(completion(of, id=id_, **more))


@pytest.fixture
def filler(store: Writer) -> Filler:
    return Filler(store)


def rows(store: Store, view: str) -> list[Row]:
    if isinstance(store, Writer):
        store.merge()
    columns, found = run_query(store, view, {})
    return [dict(zip(columns, row, strict=True)) for row in found]


def test_mistakes_by_level_and_subject_leave_out_what_was_cut(filler: Filler) -> None:
    filler.rationale(0, "m", is_correct=True)
    filler.rationale(1, "m")
    filler.rationale(2, "m")
    filler.rationale(3, "m", is_cut=True)
    filler.rationale(3, "augmenter", purpose="augment")
    first, second = rows(filler.store, "mistakes_by_level")
    assert (first["level"], first["correct"], first["mistakes"], first["rate"]) == ("Level 1", 1, 1, 0.5)
    assert (second["level"], second["rationales"], second["cut_off"], second["rate"]) == ("Level 2", 2, 1, 1.0)
    (subject,) = rows(filler.store, "mistakes_by_subject")
    assert (subject["subject"], subject["correct"], subject["mistakes"]) == ("algebra", 1, 2)
    assert (subject["low"], subject["high"]) == pytest.approx(wilson_interval(2, 3), abs=1e-12)


def test_where_all_samples_fare_alike_each_problem_counts_once(filler: Filler) -> None:
    for sample in range(4):  # four mistakes at each of two problems
        for k in range(2):
            filler.rationale(k, "m", sample=sample)
            filler.correction(k, "m", "c", kept=True, sample=sample)
    (rate,) = rows(filler.store, "self_correction_rate")
    assert (rate["mistakes"], rate["corrected"], rate["rate"]) == (8, 8, 1.0)
    assert (rate["effective_n"], rate["right_effective_n"]) == (2, 2)
    assert (rate["low"], rate["high"]) == pytest.approx(wilson_interval(2, 2), abs=1e-12)
    for view, count in (
        ("mistake_rate", "mistakes"), ("mistakes_by_level", "mistakes"), ("mistakes_by_subject", "mistakes"),
        ("correction_by_level", "mistakes"), ("correction_by_subject", "mistakes"),
        ("correction_by_step", "corrections"),
    ):  # fmt: skip
        (row,) = rows(filler.store, view)
        assert (row[count], row["effective_n"]) == (8, 2), view
        assert row["low"] == pytest.approx(wilson_interval(2, 2)[0], abs=1e-12), view


def effective_n(hits: list[int], samples: list[int]) -> float:
    """n over the variance of a ratio of cluster totals (Cochran, Sampling Techniques, 1977, section 6.4) in units of
    that of independent samples: another way to write the design effect."""
    y, m, problems = np.array(hits), np.array(samples), len(hits)
    rate, n = y.sum() / m.sum(), m.sum()
    variance = problems * np.var(y - rate * m, ddof=1) / n**2
    return float(n / max(1, variance / (rate * (1 - rate) / (n - 1))))


@pytest.mark.parametrize(
    ("hits", "samples"),
    [
        ([4, 0, 4, 0], [4, 4, 4, 4]),
        ([1, 0, 3, 2], [1, 3, 3, 4]),
        ([1, 0, 1, 0], [1, 1, 1, 1]),
        ([2, 2, 2, 2], [4, 4, 4, 4]),
        ([0, 1, 0, 0], [3, 1, 2, 2]),
    ],
)
def test_several_samples_of_a_problem_count_by_how_alike_they_are(
    filler: Filler, hits: list[int], samples: list[int]
) -> None:
    for k, (y, m) in enumerate(zip(hits, samples, strict=True)):
        for sample in range(m):
            filler.rationale(k, "m", is_correct=sample >= y, sample=sample)
            filler.rationale(k, "n", sample=sample)
            correction = filler.correction(k, "n", "c", kept=sample < y, sample=sample)
            filler.grade(correction, "ann", "excellent" if sample < y else "poor", 0)
            filler.evaluation(k, "base", 0, is_correct=sample < y, index=sample, heat=0.7)
    expected = effective_n(hits, samples)
    n = sum(samples)
    assert expected == pytest.approx(n) if max(samples) == 1 or set(hits) == {2} else expected < n
    of_samples, _ = rows(filler.store, "mistake_rate")
    (of_corrections,) = rows(filler.store, "self_correction_rate")
    (by_subject,) = rows(filler.store, "correction_by_subject")
    (of_grades,) = rows(filler.store, "corrector_grades")
    views = ("pass_at_1", "pass_at_1_by_level", "pass_at_1_by_subject")
    evaluated = [row for view in views for row in rows(filler.store, view)]
    assert len(evaluated) == 3
    for row in (of_samples, of_corrections, by_subject, of_grades, *evaluated):
        assert row["effective_n"] == pytest.approx(expected, rel=1e-12)
        found = wilson_interval(sum(hits) / n * expected, expected)
        assert (row["low"], row["high"]) == pytest.approx(found, abs=1e-12)
    assert of_corrections["right_effective_n"] == pytest.approx(expected, rel=1e-12)
    assert of_grades["poor_effective_n"] == pytest.approx(expected, rel=1e-12)
    for tally in summarise(filler.store).tallies:
        assert tally.shares["excellent"] == pytest.approx((sum(hits) / n, *found), abs=1e-12)


def test_the_interval_of_a_rate_over_several_samples_of_a_problem_holds_what_it_says() -> None:
    """500 worlds of 60 problems, 4 samples each, which share their problem's chance; beta-binomial, correlation 0.5."""
    generator, true = np.random.default_rng(1), 0.35
    hits = generator.binomial(4, generator.beta(true, 1 - true, (500, 60)))
    found = np.array([
        [low <= true <= high for low, high in (
            wilson_interval(y.sum() / 240 * n, n) for n in (effective_n(list(y), [4] * 60), 240)
        )] for y in hits
    ])  # fmt: skip
    effective, plain = found.mean(axis=0)
    assert effective > 0.93
    assert plain < 0.85  # as if they were 240 problems


def test_an_interval_holds_its_own_rate_where_one_reply_was_copied_often(filler: Filler) -> None:
    for sample in range(10):
        filler.rationale(0, "m", sample=sample)
        filler.correction(0, "m", "c", kept=True, sample=sample)
    for k in (1, 2):
        filler.rationale(k, "m", is_correct=True)
    filler.rationale(3, "m")
    filler.correction(3, "m", "c", kept=False)
    for view in ("mistake_rate", "mistakes_by_subject", "self_correction_rate", "correction_by_subject"):
        for row in rows(filler.store, view):
            assert row["low"] < row["rate"] < row["high"], view


def test_corrections_by_level_say_how_many_mistakes_were_collected_and_the_oracle_comes_last(filler: Filler) -> None:
    for k in range(4):
        filler.rationale(k, "m")
    filler.correction(0, "m", "oracle", kept=True)
    filler.correction(0, "m", "z", kept=True)
    filler.correction(2, "m", "z", kept=False)
    found = [(r["corrector"], r["level"], r["collected"], r["mistakes"], r["corrected"], r["rate"])
             for r in rows(filler.store, "correction_by_level")]  # fmt: skip
    assert found == [
        ("z", "Level 1", 2, 1, 1, 1.0),
        ("z", "Level 2", 2, 1, 0, 0.0),
        ("oracle", "Level 1", 2, 1, 1, 1.0),
    ]
    (subject, _) = rows(filler.store, "correction_by_subject")
    assert (subject["subject"], subject["collected"], subject["mistakes"], subject["corrected"]) == ("algebra", 4, 2, 1)


def test_self_correction_is_the_diagonal(filler: Filler) -> None:
    for name in ("a", "b"):
        filler.rationale(0, name)
        for corrector in ("a", "b"):
            filler.correction(0, name, corrector, kept=name == corrector)
    found = {
        (r["reasoner"], r["corrector"]): (r["is_self"], r["rate"]) for r in rows(filler.store, "self_correction_rate")
    }
    assert found == {("a", "a"): (True, 1), ("a", "b"): (False, 0), ("b", "a"): (False, 0), ("b", "b"): (True, 1)}


@pytest.mark.parametrize(
    ("step", "steps", "position"),
    [(1, 3, "first"), (2, 3, "middle"), (3, 3, "last"), (1, 1, "only"), (None, 3, "none named"), (4, 3, "no such step"),
     (0, 3, "no such step"), (2, None, "not known")],
)  # fmt: skip
def test_the_step_that_is_named_has_a_place_in_the_mistake(
    filler: Filler, step: int | None, steps: int | None, position: str
) -> None:
    filler.rationale(0, "m")
    filler.rationale(1, "m")
    filler.correction(0, "m", "c", kept=True, step=step, steps=steps, fault=2)
    filler.correction(1, "m", "c", kept=False, step=1, steps=9)
    found = rows(filler.store, "correction_by_step")
    assert sum(row["corrections"] for row in found) == 2
    assert sum(row["share"] for row in found) == 1
    row = next(row for row in found if row["position"] == position)
    assert (row["corrected"], row["at_fault"], row["fault_known"]) == (1, int(step == 2), 1)


def test_a_corrector_is_judged_by_the_grades_that_count(filler: Filler) -> None:
    filler.rationale(0, "m")
    filler.rationale(1, "m")
    one, two = (filler.correction(k, "m", "c", kept=True) for k in (0, 1))
    filler.grade(one, "ann", "poor", 0)
    filler.grade(one, "ann", "excellent", 1)
    filler.grade(one, "bob", "good", 0)
    filler.grade(two, "ann", "excellent", 2)
    filler.grade(one, "model:judge", "poor", 0)
    person, judge = rows(filler.store, "corrector_grades")
    assert (person["by_model"], person["corrections"], person["reviewers"]) == (False, 2, 2)
    assert [person[g] for g in ("excellent", "good", "poor")] == [1, 1, 0]
    assert (judge["by_model"], judge["corrections"], judge["poor"]) == (True, 1, 1)


@pytest.mark.parametrize(
    "grades",
    [["excellent"], ["poor", "excellent"], ["good", "poor", "excellent"], ["poor", "good", "good", "excellent"],
     ["excellent"] * 3 + ["poor"] * 2],
    ids=len,
)  # fmt: skip
def test_of_several_reviewers_a_correction_has_the_grade_of_the_summary(filler: Filler, grades: list[Grade]) -> None:
    filler.rationale(0, "m")
    correction = filler.correction(0, "m", "c", kept=True)
    for k, grade in enumerate(grades):
        filler.grade(correction, f"person {k}", grade, k)
        filler.grade(correction, f"model:{k}", grade, k)
    found = rows(filler.store, "corrector_grades")
    assert [row["by_model"] for row in found] == [False, True]
    for row in found:
        assert (row["reviewers"], row["corrections"], row[consensus(grades) or ""]) == (len(grades), 1, 1)
        assert (row["low"], row["high"]) == pytest.approx(wilson_interval(row["excellent"], 1), abs=1e-12)


@pytest.mark.parametrize("view", ["self_correction_rate", "correction_by_level", "correction_by_subject"])
def test_a_mistake_that_was_corrected_several_times_is_one_mistake(filler: Filler, view: str) -> None:
    for k in (0, 1):
        filler.rationale(k, "m")
        for index, kept in enumerate((False, k == 0, False, k == 0)):
            filler.correction(k, "m", "c", kept=kept, sample_index=index)
    (row,) = rows(filler.store, view)
    assert (row["mistakes"], row["corrected"], row["rate"]) == (2, 1, 0.5)
    assert row.get("right_answer", 1) == 1
    assert (row["low"], row["high"]) == pytest.approx(wilson_interval(1, 2), abs=1e-12)


def test_a_reply_that_was_none_costs_what_was_paid_for_it(filler: Filler) -> None:
    filler.rationale(0, "m", cost_usd=2.0, latency_s=3.0)
    for cost in (12.5, None):
        filler.store.add(Attempt(key("attempt", cost), key(cost), "empty reply", 200, "", "corrector", START, cost))
    costs = {row["purpose"]: row for row in rows(filler.store, "cost")}
    failed, sampled = costs["failed"], costs["sample"]
    assert (failed["endpoint"], failed["calls"], failed["usd"], failed["seconds"]) == ("corrector", 1, 12.5, None)
    assert (sampled["calls"], sampled["usd"], sampled["seconds"]) == (1, 2.0, 3.0)


def test_two_correctors_are_compared_on_the_mistakes_that_both_were_given(filler: Filler) -> None:
    for k in range(4):
        filler.rationale(k, "m")
        filler.correction(k, "m", "a", kept=k < 3, step=1)
        filler.correction(k, "m", "b", kept=k > 0, step=k)
    filler.correction(0, "m", "oracle", kept=True, step=2)
    pairs = rows(filler.store, "corrector_agreement")
    assert [(r["corrector"], r["other"], r["is_reference_derived"]) for r in pairs] == [
        ("a", "b", False), ("a", "oracle", True), ("b", "oracle", True)
    ]  # fmt: skip
    counts = ("mistakes", "both_kept", "only_corrector", "only_other", "neither", "same_step", "same_step_share")
    assert [pairs[0][name] for name in counts] == [4, 2, 1, 1, 0, 1, 0.5]
    assert [pairs[1][name] for name in counts] == [1, 1, 0, 0, 0, 0, 0.0]
    assert [(r["reasoner"], r["corrector_ahead"], r["other_ahead"]) for r in pairs] == [
        ("m", 1, 1), ("m", 0, 0), ("m", 0, 1)
    ]  # fmt: skip


def test_correctors_are_compared_by_mistakes_however_often_each_was_corrected(filler: Filler) -> None:
    filler.rationale(0, "m")
    for index in range(3):
        filler.correction(0, "m", "a", kept=index > 0, step=index, sample_index=index)
        filler.correction(0, "m", "b", kept=index == 1, step=2, sample_index=index)
    (pair,) = rows(filler.store, "corrector_agreement")
    assert [pair[name] for name in ("mistakes", "both_kept", "neither", "same_step")] == [1, 1, 0, 1]


def test_a_corrector_served_in_two_ways_has_two_rates(filler: Filler) -> None:
    for k in range(2):
        filler.rationale(k, "m")
        for identity in ("c:q4", "c:q8"):
            filler.correction(k, "m", "c", kept=(k == 0) == (identity == "c:q4"), model_identity=identity)
        filler.correction(k, "m", "oracle", kept=True, model_identity=f"solution {k}")
    rates = rows(filler.store, "self_correction_rate")
    assert [(r["corrector"], r["model_identity"], r["corrected"], r["mistakes"]) for r in rates] == [
        ("c", "c:q4", 1, 2), ("c", "c:q8", 1, 2), ("oracle", None, 2, 2),
    ]  # fmt: skip
    for view in ("correction_by_level", "correction_by_subject", "correction_by_step"):
        assert len(rows(filler.store, view)) == 3, view
    assert [r["mistakes"] for r in rows(filler.store, "corrector_agreement")] == [2, 2, 2]


def test_what_blaming_the_first_step_always_would_have_right_stands_beside_what_a_corrector_has(filler: Filler) -> None:
    for k, (step, fault) in enumerate(((1, 1), (3, 1), (3, 3))):
        filler.rationale(k, "m")
        filler.correction(k, "m", "c", kept=True, step=step, fault=fault)
    found = {
        r["position"]: (r["at_fault"], r["first_at_fault"], r["fault_known"])
        for r in rows(filler.store, "correction_by_step")
    }
    assert found == {"first": (1, 1, 1), "last": (1, 1, 2)}


def test_several_mistakes_at_one_problem_put_a_corrector_ahead_at_one(filler: Filler) -> None:
    for index in (1, 2, 3):
        filler.rationale(0, "m", sample=index)
        filler.correction(0, "m", "a", kept=index < 3, sample=index)
        filler.correction(0, "m", "b", kept=False, sample=index)
    (pair,) = rows(filler.store, "corrector_agreement")
    assert [pair[name] for name in ("mistakes", "only_corrector", "neither", "corrector_ahead", "other_ahead")] == [
        3, 2, 1, 1, 0
    ]  # fmt: skip


def test_a_curve_stands_beside_the_base_model(filler: Filler) -> None:
    for step in (10, 20):
        filler.checkpoint("lema", step)
        for k in range(4):
            filler.evaluation(k, "lema", step, is_correct=k < step // 10)
    for k in range(4):
        filler.evaluation(k, "base", 0, is_correct=k == 3)
    found = [(r["step"], r["pass_at_1"], r["base_pass_at_1"], r["points"], r["samples_seen"])
             for r in rows(filler.store, "checkpoint_curve")]  # fmt: skip
    assert found == [(10, 0.25, 0.25, 0, 40), (20, 0.5, 0.25, 25, 80)]
    assert [r["pass_at_1"] for r in rows(filler.store, "pass_at_1_by_level")] == [0.25, 0.25, 0.5]
    assert {r["subject"] for r in rows(filler.store, "pass_at_1_by_subject")} == {"number"}


def test_a_half_answered_checkpoint_says_what_it_misses_and_stands_for_no_arm(filler: Filler) -> None:
    for arm, step, answered in (("base", 0, 4), ("lema", 10, 4), ("lema", 20, 1)):
        if arm != "base":
            filler.checkpoint(arm, step)
        for k in range(answered):
            filler.evaluation(k, arm, step, is_correct=arm != "base")
    whole, half = rows(filler.store, "checkpoint_curve")
    assert [(r["step"], r["n"], r["missing"], r["points"]) for r in (whole, half)] == [
        (10, 4, 0, 100),
        (20, 1, 3, None),
    ]
    for view in ("pass_at_1_by_level", "pass_at_1_by_subject"):
        assert [(r["step"], r["missing"]) for r in rows(filler.store, view)] == [(0, 0), (10, 0), (20, 3)], view
    assert {r["step"] for r in rows(filler.store, "gained_and_lost")} == {10}


def test_a_greedy_answer_that_is_repeated_counts_once_and_samples_count_each(filler: Filler) -> None:
    for k in range(4):
        filler.evaluation(k, "base", 0, is_correct=k == 0)
        filler.evaluation(k, "base", 0, is_correct=True, index=1)
        for index in range(3):
            filler.evaluation(k, "base", 0, is_correct=index == 0, index=index, heat=0.7)
    for view in ("pass_at_1", "pass_at_1_by_level", "pass_at_1_by_subject"):
        assert sorted((r["n"], r["correct"]) for r in rows(filler.store, view)) == [(4, 1), (12, 4)], view


def test_answers_to_two_prompts_are_two_rows_of_pass_at_1(filler: Filler) -> None:
    for k in range(4):
        filler.evaluation(k, "base", 0, is_correct=k == 0, template="solve.1")
        filler.evaluation(k, "base", 0, is_correct=k < 3, template="alpaca.1")
    for view in ("pass_at_1", "pass_at_1_by_level", "pass_at_1_by_subject"):
        assert [(r["template"], r["n"], r["correct"], r["effective_n"]) for r in rows(filler.store, view)] == [
            ("alpaca.1", 4, 3, 4), ("solve.1", 4, 1, 4),
        ], view  # fmt: skip


def test_problems_are_gained_and_lost_at_the_last_step_against_base_and_cot(filler: Filler) -> None:
    right = {("base", 0): {0}, ("cot", 5): {0, 1, 2}, ("cot", 10): {1}, ("lema", 5): set(), ("lema", 10): {1, 2}}
    for (arm, step), solved in right.items():
        if arm != "base":
            filler.checkpoint(arm, step)
        for k in range(4):
            filler.evaluation(k, arm, step, is_correct=k in solved)
    found = {(r["arm"], r["against"], r["change"], r["question"]) for r in rows(filler.store, "gained_and_lost")}
    assert found == {
        ("cot", "base", "gained", "t1"), ("cot", "base", "lost", "t0"),
        ("lema", "base", "gained", "t1"), ("lema", "base", "gained", "t2"), ("lema", "base", "lost", "t0"),
        ("lema", "cot", "gained", "t2"),
    }  # fmt: skip
    (never,) = rows(filler.store, "never_solved")
    assert (never["question"], never["checkpoints"], never["is_base_correct"], never["most_given"]) == (
        "t3",
        4,
        False,
        "2",
    )


def test_an_arm_that_was_trained_again_hides_no_other_arm_and_the_last_one_counts(filler: Filler) -> None:
    for k in range(4):
        filler.evaluation(k, "base", 0, is_correct=False)
    for arm, again, solved in (("cot", 0, {0}), ("lema", 0, {0, 1}), ("lema", 1, {1, 2})):
        filler.checkpoint(arm, 10, again=again)
        for k in range(4):
            filler.evaluation(k, arm, 10, is_correct=k in solved, again=again)
    found = [(r["arm"], r["against"], r["change"], r["question"]) for r in rows(filler.store, "gained_and_lost")]
    assert sorted(found) == [
        ("cot", "base", "gained", "t0"),
        ("lema", "base", "gained", "t1"), ("lema", "base", "gained", "t2"),
        ("lema", "cot", "gained", "t1"), ("lema", "cot", "gained", "t2"), ("lema", "cot", "lost", "t0"),
    ]  # fmt: skip


def test_of_runs_of_other_lengths_those_count_that_two_arms_have(filler: Filler) -> None:
    for k in range(4):
        filler.evaluation(k, "base", 0, is_correct=False)
    for arm, step, solved in (("cot", 12, {0}), ("lema", 12, {1}), ("lema", 7, {2}), ("cot", 20, {3})):
        filler.checkpoint(arm, step)
        for k in range(4):
            filler.evaluation(k, arm, step, is_correct=k in solved)
    found = [
        (r["arm"], r["step"], r["against"], r["change"], r["question"]) for r in rows(filler.store, "gained_and_lost")
    ]
    assert sorted(found) == [
        ("cot", 12, "base", "gained", "t0"),
        ("lema", 12, "base", "gained", "t1"),
        ("lema", 12, "cot", "gained", "t1"), ("lema", 12, "cot", "lost", "t0"),
    ]  # fmt: skip


def of_cosine(steps: int, **more: Any) -> str:
    return json.dumps({"schedule": "cosine", "max_steps": steps} | more)


def changes(filler: Filler) -> list[tuple[Any, ...]]:
    found = rows(filler.store, "gained_and_lost")
    return sorted((r["arm"], r["seed"], r["step"], r["against"], r["change"], r["question"]) for r in found)


def test_a_run_is_compared_at_its_end_with_the_cot_of_its_settings(filler: Filler) -> None:
    runs = [
        ("cot", 12, of_cosine(12), {0}), ("lema", 12, of_cosine(12), {1}),
        ("cot", 12, of_cosine(20), {0, 1, 2, 3}),  # on its way to 20 steps: no twin
        ("cot", 12, of_cosine(12, learning_rate=0.1), {0, 1, 2, 3}),
    ]  # fmt: skip
    for again, (arm, step, settings, solved) in enumerate(runs):
        filler.checkpoint(arm, step, again=again, settings=settings)
        for k in range(4):
            filler.evaluation(k, arm, step, is_correct=k in solved, again=again)
    assert changes(filler) == [("lema", 1, 12, "cot", "gained", "t1"), ("lema", 1, 12, "cot", "lost", "t0")]


def test_of_an_arm_on_several_data_those_of_most_seeds_are_compared(filler: Filler) -> None:
    for seed in (1, 2):
        for arm, again, solved in (("cot", 0, {0}), ("lema", 0, {1})):
            filler.checkpoint(arm, 10, seed, again)
            for k in range(4):
                filler.evaluation(k, arm, 10, is_correct=k in solved, seed=seed, again=again)
    filler.checkpoint("lema", 10, 1, again=1, on="another's")
    for k in range(4):
        filler.evaluation(k, "lema", 10, is_correct=k == 2, again=1)
    assert [change for change in changes(filler) if change[4] == "gained"] == [
        ("lema", seed, 10, "cot", "gained", "t1") for seed in (1, 2)
    ]


def test_samples_are_neither_gained_nor_lost(filler: Filler) -> None:
    filler.checkpoint("lema", 10)
    for heat, solved in ((0.0, {0}), (0.7, {1})):
        for k in range(4):
            filler.evaluation(k, "base", 0, is_correct=False, heat=heat)
            filler.evaluation(k, "lema", 10, is_correct=k in solved, heat=heat)
    assert changes(filler) == [("lema", 1, 10, "base", "gained", "t0")]


@pytest.mark.parametrize(
    "other",
    [
        {}, {"seed": 7}, {"max_steps": 9, "save_steps": 3, "save_at": (5,)}, {"seeds": 3, "first_seed": 4, "keep": 1},
        {"per_device_batch_size": 2, "processes": 2, "packing": True, "gradient_checkpointing": False},
        {"match": "tokens", "attention": "eager", "accelerate_config": "x", "tensorboard": True},
        {"learning_rate": 1e-3}, {"schedule": "cosine"}, {"lora_r": 8}, {"truncate": True},
        {"compute_dtype": "float32"},
        {"method": "full", "quantization": "none"}, {"global_batch_size": 12}, {"group_by_length": False},
    ],
    ids=str,
)  # fmt: skip
def test_sql_and_python_have_one_notion_of_what_makes_another_design(filler: Filler, other: dict[str, Any]) -> None:
    one, two = TrainingSettings(), TrainingSettings(**other)
    older = {name: value for name, value in asdict(one).items() if name not in ("method", "truncate", "save_at")}
    with filler.store.connect() as connection:
        (is_same, is_same_as_older) = connection.execute(
            "select design_of($one) = design_of($two), design_of($older) = design_of($two)",
            {"one": json.dumps(asdict(one)), "two": json.dumps(asdict(two)), "older": json.dumps(older)},
        ).fetchall()[0]
    assert is_same is is_same_as_older is (one.design == two.design)


def test_what_a_column_is_stands_in_one_line() -> None:
    """`--describe` reads no further."""
    for file in (ROOT / "db" / "views").glob("*.sql"):
        assert "\n--     " not in file.read_text(encoding="utf-8"), file.name


def test_text_that_is_there_twice_is_found(filler: Filler) -> None:
    for k, text in enumerate(["the same", "the same", "another", "the same"]):
        filler.rationale(k, "m" if k < 3 else "other", text=text)
    (found,) = rows(filler.store, "duplicates")
    assert (found["record"], found["author"], found["copies"], found["is_one_problem"]) == ("sample", "m", 2, False)


@pytest.fixture
def line(filler: Filler) -> dict[str, str]:
    """One record of each kind, each made from the one before; and others beside them."""
    ids = {
        "problem": TRAIN[0].id,
        "rationale": filler.rationale(0, "m"),
        "evaluation": filler.evaluation(0, "lema", 7, is_correct=True),
    }
    filler.rationale(1, "m")
    ids["correction"] = filler.correction(0, "m", "c", kept=True)
    filler.correction(1, "m", "c", kept=True)
    ids["checkpoint"] = filler.checkpoint("lema", 7)
    filler.checkpoint("cot", 7)
    examples = [Example("correction", "p", f"o{k}", key("correction", k, "m", "c"), TRAIN[k].id) for k in (0, 1)]
    sets = [
        TrainingSet(
            key("set", arm), arm, "d", 1, 0, n, '{"tokens": {"output": 12}}', tuple(e.id for e in examples[-n:])
        )
        for arm, n in (("lema", 2), ("cot", 1))
    ]
    filler.store.merge()
    for one in sets:
        filler.store.add_training_set(one, [example for example in examples if example.id in one.example_ids])
    return ids | {"example": examples[0].id, "training_set": sets[0].id}


ORDER = ("problem", "rationale", "correction", "example", "training_set", "checkpoint", "evaluation")


@pytest.mark.parametrize(
    ("asked", "shown"),
    [("problem", ORDER[:6]), ("rationale", ORDER[:6]), ("correction", ORDER[:6]), ("example", ORDER[:6]),
     ("training_set", ORDER[4:6]), ("checkpoint", ORDER[4:6])],
)  # fmt: skip
def test_a_lineage_goes_up_and_down_from_any_record(
    store: Writer, line: dict[str, str], asked: str, shown: tuple[str, ...]
) -> None:
    store.merge()
    columns, found = run_query(store, "lineage", {"id": line[asked][:13]})
    records = [dict(zip(columns, row, strict=True)) for row in found]
    assert [(r["record"], r["id"]) for r in records] == [(name, line[name]) for name in shown]
    assert [r["record"] for r in records if r["is_asked"]] == [asked]
    assert all(r["made_from"] == line[before] for before, r in zip(shown, records[1:], strict=False))


def test_a_test_answer_leads_to_its_checkpoint_and_training_set(store: Writer, line: dict[str, str]) -> None:
    store.merge()
    columns, found = run_query(store, "lineage", {"id": line["evaluation"]})
    records = {row[columns.index("record")]: row[columns.index("id")] for row in found}
    wanted = ("training_set", "checkpoint", "evaluation")
    assert records == {"problem": TEST[0].id} | {name: line[name] for name in wanted}


@pytest.mark.parametrize("prefix", ["zz", "%", "'; drop table problem; --", "", "-" * 40, "f" * 300])
def test_a_prefix_that_is_none_finds_nothing(store: Writer, line: dict[str, str], prefix: str) -> None:
    store.merge()
    assert run_query(store, "lineage", {"id": prefix})[1] == []


def test_tokens_of_an_arm_come_from_its_manifest_and_its_longest_run(store: Writer, line: dict[str, str]) -> None:
    cot, lema = rows(store, "tokens_by_arm")
    assert (cot["arm"], cot["examples"], lema["arm"], lema["examples"]) == ("cot", 1, "lema", 2)
    assert (lema["output_tokens"], lema["samples_trained"], lema["epochs"], lema["prompt_tokens"]) == (12, 28, 14, None)


def test_a_parameter_that_is_missing_or_unknown_is_one_line(store: Writer) -> None:
    with pytest.raises(StoreError, match=r"lineage needs --param id=\.\.\.: how the record's id begins"):
        run_query(store, "lineage", {})
    with pytest.raises(StoreError, match="lineage has no parameter 'ids', its parameters: id"):
        run_query(store, "lineage", {"ids": "ab"})
    with pytest.raises(StoreError, match="cost has no parameter 'sql', it has none"):
        run_query(store, "cost", {"sql": "ab"})
    assert run_query(store, "select $sql as sql", {"sql": "ab"}) == (["sql"], [("ab",)])


PLAIN = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True, config={"autoinstall_known_extensions": "false",
                                                                  "autoload_known_extensions": "false"})
for view in sys.argv[2:]:
    columns = [c[0] for c in connection.execute(f"from {view}").description]
    print(view, len(connection.execute(f"from {view}").fetchall()), *columns)
assert not any(name.startswith("lema") for name in sys.modules)
"""


def views() -> list[str]:
    return [name for name, query in named_queries().items() if query.sql == f"from {name}"]


def test_every_view_works_in_plain_duckdb_from_the_file_alone(db: Path) -> None:
    with Writer(db) as store:
        filler = Filler(store)
        filler.rationale(0, "m")
        filler.correction(0, "m", "c", kept=True)
    done = subprocess.run(
        [sys.executable, "-I", "-c", PLAIN, str(db), *views()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = {name: (int(count), columns) for name, count, *columns in map(str.split, done.stdout.splitlines())}
    assert {name: columns for name, (_, columns) in seen.items()} == {
        n: list(named_queries()[n].columns) for n in views()
    }
    assert seen["self_correction_rate"][0] == seen["mistake_rate"][0] == 1


@pytest.mark.parametrize("is_compacted", [False, True])
def test_every_view_works_in_a_duckdb_shell_of_1_x(db: Path, is_compacted: bool) -> None:
    shell = Path(sys.executable).with_name("duckdb")
    if not shell.exists():
        pytest.skip("duckdb-cli of the [dev] extra is not installed")
    with Writer(db) as store:
        Filler(store).rationale(0, "m")
        if is_compacted:
            store.compact()
    asked = [part for view in views() for part in ("-c", f"from {view}")]
    done = subprocess.run([shell, "-readonly", "-csv", *asked, db], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "m,d,Level 1,1,0,0,1,1.0" in done.stdout
