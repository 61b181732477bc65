"""The paper's figures, and the verdict on each of its claims."""

from typing import Any

import pytest
from experiments import N, experiment, rows, seeded, trained_over

from lema_local.report.claims import (
    CONTROLLED,
    CURVES,
    ORACLE,
    SIZES,
    SPECIALISED,
    TABLE_1,
    TABLE_2,
    Claim,
    training_claims,
)
from lema_local.report.corrector_claims import GRADES, LEVELS, RATES, SAME, SELF, corrector_claims
from lema_local.report.evaluation import set_reports
from lema_local.report.evidence import Evidence, Experiment
from lema_local.report.paper import paper
from lema_local.report.tables import best_lines, differences_table, table_1, table_2
from lema_local.statistics.trends import difference_of_effects, fisher_exact, trend


def claims_of(*experiments: Experiment, topic: str, where: str = "") -> list[Claim]:
    found = training_claims(Evidence(experiments=experiments), paper())
    return [claim for claim in found if claim.topic == topic and where in claim.where]


def test_the_means_of_table_1_are_those_of_its_figures_but_for_the_known_misprint() -> None:
    wrong = [
        (row.model, row.dataset, arm)
        for row in paper().table_1
        for arm, best, mean in (("cot", row.cot, row.cot_mean), ("lema", row.lema, row.lema_mean))
        if abs(sum(best) / 3 - mean) > 0.0501
    ]
    assert wrong == [("llama-2-70b", "math", "cot")]
    assert [bool(row.note) for row in paper().table_1] == [
        row.model == "llama-2-70b" and row.dataset == "math" for row in paper().table_1
    ]


def test_the_tables_and_figures_of_the_paper_agree_with_each_other() -> None:
    best = {(row.model, row.dataset): max(row.lema) for row in paper().table_1}
    for rows_ in paper().table_2.values():
        for row in rows_:
            for dataset in ("gsm8k", "math"):
                if row.model and (row.model, dataset) in best:
                    assert row.on(dataset) == best[row.model, dataset], row
    for model, bars in paper().figure_3.items():
        assert bars["lema"] == best[model, "gsm8k"]


def test_without_data_every_claim_is_untested_and_says_what_to_run() -> None:
    claims = [*training_claims(Evidence(), paper()), *corrector_claims(Evidence(), paper())]
    assert {claim.verdict for claim in claims} == {"not tested"}
    assert all(claim.because and claim.paper and not claim.ours and claim.n is None for claim in claims)
    assert len([c for c in claims if c.topic == TABLE_1]) == 10
    assert len([c for c in claims if c.topic == TABLE_2]) == 14


@pytest.mark.parametrize(
    ("cot", "lema", "verdict", "words"),
    [
        (60, 100, "reproduced", "lema is above cot."),
        (100, 60, "contradicted", "lema is below cot."),
        (80, 82, "open", "lema and cot are level within 3 points."),
        (100, 104, "open", "no difference can be told"),
    ],
)
def test_lema_above_cot_is_judged_problem_by_problem(cot: int, lema: int, verdict: str, words: str) -> None:
    [claim] = claims_of(experiment(cot=cot, lema=lema), topic=TABLE_1, where="llama-2-13b, GSM8K")
    assert (claim.verdict, claim.n) == (verdict, N)
    assert words in claim.because
    assert claim.p_value is not None
    assert claim.paper == "62.8 to 65.3"
    assert claim.ours.endswith(f"({75 * lema / N:.1f})")


def test_what_rests_on_reference_derived_corrections_decides_nothing() -> None:
    claims = training_claims(
        Evidence(experiments=(experiment(derived=50, cot=60, lema=100, lema_controlled=100),)), paper()
    )
    tested = [claim for claim in claims if claim.n is not None]
    assert len(tested) >= 4
    assert {claim.verdict for claim in tested} == {"not tested"}
    assert all(ORACLE in claim.because for claim in tested)


def test_a_model_that_the_authors_did_not_run_gets_a_row_of_its_own() -> None:
    [claim] = claims_of(experiment("mine", cot=60, lema=100), topic=TABLE_1, where="mine")
    assert (claim.paper, claim.verdict) == ("not run by the authors", "reproduced")


def test_curves_are_judged_at_every_common_step() -> None:
    [claim] = claims_of(experiment(cot=60, lema=100), topic=CURVES)
    assert claim.verdict == "reproduced"
    assert claim.ours.startswith("above at 2 of 2")
    [claim] = claims_of(experiment(cot=60, lema=60), topic=CURVES)
    assert (claim.verdict, claim.ours[:15]) == ("open", "above at 0 of 2")


@pytest.mark.parametrize(("gains", "verdict"), [((20,), "reproduced"), ((2, 38), "open"), ((2, 38) * 5, "reproduced")])
def test_curves_of_two_seeds_that_disagree_are_open(gains: tuple[int, ...], verdict: str) -> None:
    [claim] = claims_of(trained_over(*gains), topic=CURVES)
    assert claim.verdict == verdict
    assert claim.ours == f"above at {2 * len(gains)} of {2 * len(gains)}, +10.0 on average"


def test_the_ends_of_several_seeds_are_no_curve() -> None:
    [claim] = claims_of(trained_over(*[20] * 2, steps=(100,)), topic=CURVES)
    assert (claim.ours, claim.verdict) == ("", "not tested")


def test_whether_two_arms_are_level_is_said_by_all_seeds_and_not_by_the_first() -> None:
    first_is_level = seeded("llama-2-7b", 0, *[40] * 5)
    [claim] = claims_of(first_is_level, topic=CONTROLLED, where="llama-2-7b")
    assert claim.verdict == "contradicted"
    assert claim.because.endswith("The whole interval lies beyond that.")
    [claim] = claims_of(seeded("llama-2-7b", 0, 0, 0, 0, 0, 20), topic=CONTROLLED, where="llama-2-7b")
    assert claim.verdict == "open"
    assert claim.because.endswith("The interval does not lie within 3 points: more problems.")
    [claim] = claims_of(seeded("llama-2-7b", *[0] * 6), topic=CONTROLLED, where="llama-2-7b")
    assert claim.verdict == "reproduced"
    assert claim.because.endswith("The whole interval lies within 3 points.")
    [claim] = claims_of(seeded("llama-2-7b", -4, 4), topic=CONTROLLED, where="llama-2-7b")
    assert claim.verdict == "open"


@pytest.mark.parametrize(
    ("others", "verdict"), [((0,), "reproduced"), ((-20, 20), "open"), ((-20, 20) * 5, "reproduced")]
)
def test_sizes_of_two_seeds_that_disagree_are_open(others: tuple[int, ...], verdict: str) -> None:
    small, large = (seeded(f"of-{gain}", *[gain + o for o in others], parameters=gain + 1) for gain in (0, 60))
    [claim] = claims_of(small, large, topic=SIZES)
    assert (claim.ours, claim.verdict) == ("+0.0 and +30.0", verdict)


def test_sizes_are_compared_by_the_mean_of_all_seeds() -> None:
    small, large = seeded("small", 0, 0, parameters=1), seeded("large", 60, -60, parameters=2)
    [claim] = claims_of(small, large, topic=SIZES)
    assert claim.ours == "+0.0 and +0.0"


def test_of_several_seeds_the_mean_is_shown_and_called_so() -> None:
    several = trained_over(*[20] * 5, steps=(100,))
    [claim] = claims_of(several, topic=TABLE_1, where="llama-2-13b, GSM8K")
    assert claim.ours == "51.5, mean of 5 seeds to 61.5, mean of 5 seeds"
    table = table_1(Evidence(experiments=(several,)), paper())
    assert [row[-2:] for row in table.rows if row[:2] == ("llama-2-13b", "GSM8K")] == [
        ("51.5, mean of 5 seeds", "61.5, mean of 5 seeds")
    ]
    alone = table_1(Evidence(experiments=(trained_over(20),)), paper())
    assert ("50.5 / 25.5 (38.0)", "60.5 / 35.5 (48.0)") in [row[-2:] for row in alone.rows]


def test_a_row_over_seeds_names_the_steps_that_it_compares() -> None:
    ends = rows("cot", 150, 200, seed=1) + rows("cot", 150, 200, seed=2)
    found = [row for seed in (1, 2) for arm, k in (("cot", 60), ("lema", 90)) for row in rows(arm, 100, k, seed=seed)]
    mixed = Experiment("m", "b", set_reports(found + ends, margin=0.03)[0], {})
    assert [row[:4] for row in differences_table(mixed).rows] == [
        ("lema - cot", "1", "100 - 100", "+15.0"),
        ("lema - cot", "2", "100 - 100", "+15.0"),
        ("lema - cot", "all", "100 - 100", "+15.0"),
    ]


def test_a_checkpoint_that_is_not_yet_whole_is_no_claims() -> None:
    part = rows("lema", 200, 200)[:3]
    found = rows("cot", 100, 60) + rows("lema", 100, 100) + rows("cot", 200, 70)[:3] + part
    interrupted = Experiment("llama-2-70b", "b", set_reports(found, margin=0.03)[0], {})
    [claim] = claims_of(interrupted, topic=TABLE_2, where="llama-2-70b, GSM8K")
    assert (claim.ours, claim.n) == ("50.0", N)
    [claim] = claims_of(interrupted, topic=TABLE_1, where="llama-2-70b, GSM8K")
    assert (claim.ours, claim.n) == ("30.0 (30.0) to 50.0 (50.0)", N)
    assert not [claim for claim in claims_of(interrupted, topic=CURVES) if claim.ours]
    table = table_2(Evidence(experiments=(interrupted,)), paper())
    assert [row[4] for row in table.rows if row[4] != "–"] == ["50.0 (43.1 to 56.9)"]
    assert best_lines(interrupted)[-1] == "Not yet whole: cot step 200 (3 of 200), lema step 200 (3 of 200)."


def test_a_claim_waits_until_the_base_model_has_answered_all_problems() -> None:
    found = rows("base", 0, 10)[:50] + rows("lema", 100, 60)
    model, dataset = paper().specialised[0].model, paper().specialised[0].dataset
    started = Experiment(model, "b", set_reports([row | {"dataset": dataset} for row in found], margin=0.03)[0], {})
    [claim] = [c for c in claims_of(started, topic=SPECIALISED, where=model) if c.ours]
    assert (claim.verdict, claim.because) == ("open", "Both answered 50 of 200 problems so far: lema eval")


def test_at_equal_size_the_claim_of_the_7b_model_is_that_the_two_are_level() -> None:
    level = experiment("llama-2-7b", cot=100, lema_controlled=100)
    [claim] = claims_of(level, topic=CONTROLLED, where="llama-2-7b")
    assert (claim.text, claim.verdict) == ("LeMa and CoT are level", "reproduced")
    [claim] = claims_of(experiment("llama-2-7b", cot=60, lema_controlled=100), topic=CONTROLLED, where="llama-2-7b")
    assert claim.verdict == "contradicted"
    [claim] = claims_of(experiment("llama-2-13b", cot=60, lema_controlled=100), topic=CONTROLLED, where="llama-2-13b")
    assert (claim.text, claim.verdict) == ("LeMa is above CoT", "reproduced")


def test_sizes_are_compared_where_two_students_ran_the_same_set() -> None:
    small = experiment("small", parameters=7, cot=60, lema_controlled=60)
    large = experiment("large", parameters=70, cot=60, lema_controlled=120)
    [claim] = claims_of(large, small, topic=SIZES)
    assert (claim.where, claim.ours, claim.verdict) == ("small and large, GSM8K", "+0.0 and +30.0", "reproduced")
    [claim] = claims_of(small, topic=SIZES)
    assert claim.verdict == "not tested"


def corrector_row(**more: Any) -> dict[str, Any]:
    return {
        "reasoner": "r", "corrector": "c", "dataset": "math", "is_self": False, "is_reference_derived": False,
        "mistakes": 100, "right_answer": 40, "corrected": 40, "right_effective_n": 100.0,
        "rate": 0.4, "effective_n": 100.0,
    } | more  # fmt: skip


def of_correctors(topic: str, **rows_: Any) -> list[Claim]:
    found = corrector_claims(Evidence(**{name: tuple(value) for name, value in rows_.items()}), paper())
    return [claim for claim in found if claim.topic == topic]


def test_self_correction_is_held_against_the_correction_of_others() -> None:
    own = corrector_row(reasoner="c", is_self=True, right_answer=8)
    [claim] = of_correctors(SELF, self_correction_rate=[own, corrector_row()])
    assert (claim.verdict, claim.ours) == ("reproduced", "8.0% of its own, 40.0% of others'")
    [claim] = of_correctors(SELF, self_correction_rate=[own])
    assert (claim.verdict, claim.n) == ("not tested", 100)
    [claim] = of_correctors(SELF, self_correction_rate=[own | {"is_reference_derived": True}])
    assert claim.n is None


@pytest.mark.parametrize(
    ("corrector", "other", "ahead", "verdict", "ours"),
    [
        ("small-135m-it", "big-1.5B", (2, 30), "reproduced", "32.0% against 4.0%"),
        ("big-1.5B", "small-135m-it", (30, 2), "reproduced", "32.0% against 4.0%"),
        ("big-1.5B", "small-135m-it", (2, 30), "contradicted", "4.0% against 32.0%"),
        ("gpt-4", "gpt-3.5-turbo", (5, 4), "open", "7.0% against 6.0%"),
        ("a-7b", "b-7b", (2, 30), "not tested", ""),
        ("a-7b", "mixtral-8x7b", (2, 30), "not tested", ""),
        ("a-7b", "somebody", (2, 30), "not tested", ""),
    ],
)
def test_of_the_same_mistakes_the_larger_of_two_correctors_is_to_put_more_right(
    corrector: str, other: str, ahead: tuple[int, int], verdict: str, ours: str
) -> None:
    row = corrector_row(corrector=corrector, other=other, both_kept=2)
    row |= {"only_corrector": ahead[0], "only_other": ahead[1], "corrector_ahead": ahead[0], "other_ahead": ahead[1]}
    [claim] = of_correctors(SAME, corrector_agreement=[row])
    assert (claim.verdict, claim.ours) == (verdict, ours)
    [claim] = of_correctors(SAME, corrector_agreement=[row | {"is_reference_derived": True}])
    assert (claim.verdict, claim.n) == ("not tested", None)


def test_a_cascade_compares_no_correctors() -> None:
    """What the second was given, the first had failed to correct."""
    row = corrector_row(corrector="a-1b", other="b-7b", both_kept=0)
    row |= {"only_corrector": 0, "only_other": 40, "corrector_ahead": 0, "other_ahead": 40}
    for corrected, verdict in ((0, "reproduced"), (60, "not tested")):
        rates = [corrector_row(corrector="a-1b", corrected=corrected), corrector_row(corrector="b-7b", corrected=40)]
        [claim] = of_correctors(SAME, corrector_agreement=[row], self_correction_rate=rates)
        assert claim.verdict == verdict


def test_gpt_4s_rate_is_reproduced_where_the_printed_one_lies_in_our_interval() -> None:
    row = corrector_row(reasoner="gpt-4", corrector="gpt-4", is_self=True, mistakes=1000, right_answer=85)
    row |= {"right_effective_n": 1000.0}
    claim = of_correctors(RATES, self_correction_rate=[row])[-1]
    assert (claim.verdict, claim.paper) == ("reproduced", "8.0% (217 of 2,696)")
    claim = of_correctors(RATES, self_correction_rate=[row | {"right_answer": 300}])[-1]
    assert claim.verdict == "contradicted"
    # of so many mistakes, at so few problems that they count as 100
    claim = of_correctors(RATES, self_correction_rate=[row | {"right_effective_n": 100.4}])[-1]
    assert (claim.verdict, "more of them would tell" in claim.because) == ("open", True)
    assert (claim.ours, claim.n) == ("8.5", 100)


def test_success_by_level_is_a_trend_and_data_without_levels_is_not_tested() -> None:
    levels = [
        corrector_row(level=f"Level {k}", rate=(90 - 15 * k) / 100, is_reference_derived=False) for k in range(1, 6)
    ]
    claim = of_correctors(LEVELS, correction_by_level=levels)[0]
    assert (claim.verdict, claim.ours) == ("reproduced", "75.0% at level 1, 15.0% at level 5")
    claim = of_correctors(LEVELS, correction_by_level=[row | {"level": "-"} for row in levels])[0]
    assert (claim.verdict, claim.n) == ("not tested", None)


def test_the_same_mistakes_asked_about_in_several_ways_are_no_more_mistakes() -> None:
    row = corrector_row(dataset="math", template="a.1")
    levels = [row | {"level": str(k), "rate": rate, "effective_n": 50} for k, rate in ((1, 0.4), (5, 0.3))]
    again = [each | {"template": f"b.{k}", "mistakes": 40} for k in range(4) for each in levels]
    claim = of_correctors(LEVELS, correction_by_level=[*again, *levels])[0]
    assert (claim.n, claim.verdict) == (100, "open")
    own, other = corrector_row(reasoner="c", is_self=True, right_answer=35), corrector_row()
    four = [each | {"settings": k} for k in range(4) for each in (own, other)]
    [claim] = of_correctors(SELF, self_correction_rate=[*four, other | {"settings": "others only", "mistakes": 900}])
    assert (claim.n, claim.verdict) == (100, "open")


def test_a_trend_that_cannot_be_told_is_open_and_levels_of_another_set_are_named() -> None:
    row = corrector_row(dataset="gsm-symbolic", is_reference_derived=False)
    found = (("3", 40, 120), ("4", 36, 104))
    levels = [row | {"level": level, "rate": kept / given, "effective_n": given} for level, kept, given in found]
    claim = of_correctors(LEVELS, correction_by_level=levels)[0]
    assert claim.verdict == "open"
    assert claim.because.startswith("gsm-symbolic has levels of its own, not MATH's.")
    assert claim.because.endswith("More mistakes would tell.")


def test_grades_decide_about_gpt_4_alone() -> None:
    grades = {
        "by_model": False,
        "reasoner": "r",
        "dataset": "gsm8k",
        "is_reference_derived": False,
        "corrections": 50,
        "excellent": 33,
        "good": 10,
        "poor": 7,
        "low": 0.522,
        "high": 0.776,
        "poor_effective_n": 50,
    }
    other = grades | {"corrector": "qwen2.5-1.5b-instruct", "excellent": 10, "poor": 30}
    found = of_correctors(GRADES, corrector_grades=[grades | {"corrector": "gpt-4"}, other])
    judged = of_correctors(GRADES, corrector_grades=[grades | {"corrector": "gpt-4", "by_model": True}])
    assert [claim.n for claim in judged] == [None, None]
    assert [(claim.ours, claim.verdict) for claim in found[:2]] == [
        ("33 / 10 / 7", "reproduced"),
        ("10 / 10 / 30", "not tested"),
    ]


def graded(corrector: str, poor: int, total: int, **more: Any) -> dict[str, Any]:
    return {
        "corrector": corrector, "reasoner": "r", "dataset": "gsm8k", "by_model": False, "is_reference_derived": False,
        "corrections": total, "excellent": total - poor, "good": 0, "poor": poor, "low": 0.0, "high": 1.0,
        "poor_effective_n": total,
    } | more  # fmt: skip


def weak_against_strong(*grades: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = of_correctors(GRADES, corrector_grades=grades)
    return [(claim.where, claim.ours, claim.verdict) for claim in found if claim.text.startswith("A weaker")]


def test_a_weak_corrector_is_held_against_a_strong_one_on_the_same_mistakes_over_all_templates() -> None:
    weak = [graded("gpt-3.5-turbo", poor, 20, template=name) for poor, name in ((9, "a.1"), (11, "a.2"))]
    other_set = [graded("gpt-3.5-turbo", 1, 20, dataset="math"), graded("gpt-4", 15, 20, dataset="math")]
    assert weak_against_strong(weak[0], graded("gpt-4", 4, 50), weak[1], *other_set) == [
        ("gpt-3.5-turbo against gpt-4 on r, GSM8K", "20 of 40 poor, against 4 of 50", "reproduced"),
        ("gpt-3.5-turbo against gpt-4 on r, MATH", "1 of 20 poor, against 15 of 20", "contradicted"),
    ]


def test_graded_corrections_of_few_problems_count_as_few() -> None:
    """20 of 40 poor, of five problems: no more than two or three of five."""
    weak, strong = graded("gpt-3.5-turbo", 20, 40, poor_effective_n=5.0), graded("gpt-4", 4, 50)
    [(_, ours, verdict)] = weak_against_strong(weak, strong)
    assert (ours, verdict) == ("20 of 40 poor, against 4 of 50", "open")


@pytest.mark.parametrize("other", [{"dataset": "math"}, {"reasoner": "another"}], ids=str)
def test_correctors_of_different_mistakes_are_not_compared(other: dict[str, str]) -> None:
    [(where, ours, verdict)] = weak_against_strong(graded("gpt-3.5-turbo", 10, 20), graded("gpt-4", 4, 50, **other))
    assert (where, ours, verdict) == ("GPT-3.5-Turbo against GPT-4, GSM8K", "", "not tested")


def test_the_trend_test_is_cochrans_and_armitages() -> None:
    # by hand: p = 60/120, mean score 2, sum of n (x - 2)^2 = 80, of (k - 20)(x - 2) = -20: the slope is -0.25
    found = trend([30, 20, 10], [40, 40, 40], [1, 2, 3])
    assert found is not None
    assert found.slope == pytest.approx(-0.25)
    assert found.p_value == pytest.approx(7.744216431e-06, rel=1e-6)  # z = -0.25 / sqrt(0.25 / 80) = -4.4721
    assert trend([0, 0], [10, 10], [1, 2]) is None
    assert trend([1], [10], [1]) is None


def test_fisher_and_the_difference_of_effects_agree_with_worked_examples() -> None:
    assert fisher_exact((1, 10), (11, 14)) == pytest.approx(
        0.0027594561852200836
    )  # the tea-tasting table of scipy's docs
    assert difference_of_effects((0.1, 0.0, 0.2), (0.4, 0.3, 0.5)) == pytest.approx(
        (0.3, 0.3 - 0.02**0.5, 0.3 + 0.02**0.5)
    )
