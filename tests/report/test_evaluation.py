"""One report a set: seeds, repeats, samples, levels, models made elsewhere, and the rows that scripts read."""

from typing import Any

import pytest

from lema_local.records.types import Problem
from lema_local.report.evaluation import by_group, group_rows, json_rows, set_reports, with_missing

FIXED = {
    "model", "dataset", "split", "arm", "seed", "step", "checkpoint_id", "base", "n", "correct", "pass_at_1", "low",
    "high",
}  # fmt: skip


def rows(arm: str, step: int, right: str, **more: Any) -> list[dict[str, Any]]:
    """One row a problem; `right` has a 1 for each problem that is solved."""
    seed = more.pop("seed", None if arm == "base" else 1)
    fields = {
        "model": "m",
        "dataset": "d",
        "split": "test",
        "base": "b",
        "seed": seed,
        "arm": arm,
        "step": step,
        "checkpoint_id": None if arm == "base" else f"{arm}-{seed}-{step}",
        "sample_index": 0,
        "temperature": 0.0,
        "level": None,
        "subject": None,
        "is_cut": False,
    }
    return [
        fields | {"problem_id": f"p{k}", "answer": bit, "is_correct": bit == "1"} | more for k, bit in enumerate(right)
    ]


def only(found: list[Any]) -> Any:
    (one,) = found
    return one


def test_each_set_has_a_report_of_its_own_and_dev_has_none() -> None:
    table = [
        *rows("base", 0, "01"),
        *rows("base", 0, "11", dataset="svamp"),
        *rows("base", 0, "1111", split="dev"),
    ]
    found = set_reports(table, margin=0.03)
    assert [(r.dataset, r.split, r.checkpoints[0].correct) for r in found] == [("d", "test", 1), ("svamp", "test", 2)]


def test_a_base_that_was_asked_more_problems_leaves_the_arms_that_answered_theirs_whole() -> None:
    theirs = [*rows("cot", 1, "110000"), *rows("lema", 1, "111000")]
    report = only(set_reports([*rows("base", 0, "100000111111"), *theirs], margin=0.03))
    assert [(d.arm, d.against, d.paired.n) for d in report.differences] == [
        ("cot", "base", 6), ("lema", "base", 6), ("lema", "cot", 6),
    ]  # fmt: skip
    assert (report.asked, report.not_yet_whole) == (6, "")
    assert [r.arm for r in report.whole] == ["base", "cot", "lema"]
    # one checkpoint alone that answered less may be on its way
    alone = only(set_reports([*rows("base", 0, "100000111111"), *rows("cot", 1, "110000")], margin=0.03))
    assert (alone.differences, alone.not_yet_whole) == ((), "Not yet whole: cot step 1 (6 of 12).")


def test_a_reply_without_an_answer_and_a_problem_without_a_reply_are_not_solved() -> None:
    table = [*rows("base", 0, "1111"), *rows("cot", 1, "11")]
    table[3] |= {"answer": None, "is_correct": False, "is_cut": True}
    asked = [Problem("d", "test", f"q{k}", "1", level=f"Level {k}") for k in range(5)]
    for row in table:
        row |= {"problem_id": asked[int(row["problem_id"][1:])].id, "level": "Level 0"}
    (report,) = set_reports(with_missing(table, [*asked, Problem("other", "test", "q", "1")]), margin=0.03)
    found = [(r.arm, r.correct, r.n, r.pass_at_1, r.no_answer, r.missing, r.cut_off) for r in report.checkpoints]
    assert found == [("base", 3, 5, 0.6, 1, 1, 1), ("cot", 2, 5, 0.4, 0, 3, 0)]
    assert report.not_yet_whole == "Not yet whole: m (4 of 5), cot step 1 (2 of 5)."
    assert [d.paired.n for d in report.differences] == []  # cot has fewer replies than others: it is not judged
    assert report.never_solved == 2
    rows_by_level = group_rows(report, with_missing(table, asked), "level")
    assert [(r["level"], r["n"], r["missing"]) for r in rows_by_level if r["arm"] == "base"] == [
        ("Level 0", 4, 0),
        ("Level 4", 1, 1),
    ]


DEV = [
    *rows("cot", 1, "0001", split="dev"),
    *rows("cot", 2, "0111", split="dev"),
    *rows("cot", 3, "0110", split="dev"),
    *rows("lema", 1, "1100", split="dev"),
    *rows("lema", 2, "0011", split="dev"),
    *rows("lema", 3, "0001", split="dev"),
]
TEST = [
    *rows("base", 0, "000000"),
    *rows("cot", 1, "111111"),
    *rows("cot", 2, "110000"),
    *rows("cot", 3, "111000"),
    *rows("lema", 1, "111100"),
    *rows("lema", 2, "111111"),
    *rows("lema", 3, "000001"),
]


def test_the_dev_split_chooses_the_checkpoint_and_the_test_split_reports_it() -> None:
    report = only(set_reports([*DEV, *TEST], margin=0.03))
    cot, lema = report.arms
    assert (cot.chosen_on_dev.step, cot.dev_pass_at_1, cot.chosen_on_dev.correct) == (2, 0.75, 2)
    assert (lema.chosen_on_dev.step, lema.dev_pass_at_1) == (1, 0.5)  # of equals, the earliest
    assert [(d.arm, d.against, d.step, d.against_step) for d in report.differences] == [
        ("cot", "base", 2, 0),
        ("lema", "base", 1, 0),
        ("lema", "cot", 1, 2),
    ]
    assert [r.step for r in report.reported] == [0, 2, 1]


def test_without_a_dev_split_nothing_is_chosen_on_it() -> None:
    report = only(set_reports([*TEST], margin=0.03))
    assert [arm.chosen_on_dev for arm in report.arms] == [None, None]
    assert [(d.step, d.against_step) for d in report.differences] == [(3, 0), (3, 0), (3, 3)]


def test_a_dev_split_that_not_every_checkpoint_has_answered_chooses_nothing() -> None:
    report = only(set_reports([*DEV[4:], *TEST], margin=0.03))
    assert [arm.chosen_on_dev is None for arm in report.arms] == [True, False]


def test_the_choice_of_dev_serves_every_other_set_too() -> None:
    elsewhere = [row | {"dataset": "svamp"} for row in TEST]
    svamp = set_reports([*DEV, *TEST, *elsewhere], margin=0.03)[1]
    assert [arm.chosen_on_dev.step for arm in svamp.arms] == [2, 1]


SEEDS = [
    *rows("base", 0, "0" * 20),
    *rows("cot", 4, "1" * 6 + "0" * 14, seed=1),
    *rows("cot", 4, "1" * 8 + "0" * 12, seed=2),
    *rows("lema", 4, "1" * 12 + "0" * 8, seed=1),
    *rows("lema", 2, "0" * 20, seed=2),
    *rows("lema", 4, "1" * 16 + "0" * 4, seed=2),
]


def test_several_seeds_have_a_spread_and_a_comparison_over_all_of_them() -> None:
    report = only(set_reports(SEEDS, margin=0.03))
    cot, lema = report.seeds
    assert (lema.arm, lema.spread.n, lema.spread.least, lema.spread.most) == ("lema", 2, 0.6, 0.8)
    assert cot.spread.mean == pytest.approx(0.35)
    compared = {(d.arm, d.against): d for d in report.seed_differences}
    assert compared["lema", "cot"].compared.by_seed == pytest.approx((0.3, 0.4))
    assert compared["lema", "cot"].in_words == "over 2 seeds lema is above cot"
    assert [(d.arm, d.against, d.seed) for d in report.differences] == [
        ("cot", "base", 1), ("cot", "base", 2), ("lema", "base", 1), ("lema", "base", 2), ("lema", "cot", 1),
        ("lema", "cot", 2),
    ]  # fmt: skip


LONGER = [
    row
    for seed in (1, 2)
    for row in (
        *rows("cot", 4, "1100000000", seed=seed),
        *rows("cot", 6, "1111111111", seed=seed),
        *rows("lema", 4, "1111100000", seed=seed),
    )
]


@pytest.mark.parametrize(("same_step", "steps", "points"), [(True, (4, 4), 0.3), (False, (4, 6), -0.5)])
def test_over_seeds_the_checkpoints_are_compared_that_each_seed_compares(
    same_step: bool, steps: tuple[int, int], points: float
) -> None:
    report = only(set_reports(LONGER, margin=0.03, same_step=same_step))
    assert [(d.step, d.against_step, d.paired.difference) for d in report.differences] == [(*steps, points)] * 2
    over_seeds = only(report.seed_differences)
    assert (over_seeds.steps, over_seeds.compared.by_seed) == ((steps, steps), pytest.approx((points, points)))


def test_a_seed_whose_training_is_not_at_its_end_is_not_counted_among_the_others() -> None:
    whole = [row for seed in range(1, 6) for row in rows("cot", 4, "1000" * 5, seed=seed)]
    whole += [row for seed in range(1, 6) for row in rows("cot", 2, "0000" * 5, seed=seed)]
    whole += [row for seed in range(1, 5) for row in rows("lema", 4, "1110" * 5, seed=seed)]
    report = only(set_reports([*whole, *rows("lema", 2, "0000" * 5, seed=5)], margin=0.03))
    compared = only(report.seed_differences)
    assert (compared.steps, compared.compared.seeds, compared.left_out) == (((4, 4),) * 4, (1, 2, 3, 4), (5,))
    assert compared.in_words == "over 4 seeds lema is above cot; not at these steps yet: seed 5"
    assert {each.arm: (each.spread.n, each.spread.mean) for each in report.seeds} == {
        "cot": (5, 0.25),
        "lema": (4, 0.75),
    }
    dev = [row | {"split": "dev"} for row in whole] + rows("lema", 2, "0000" * 5, seed=5, split="dev")
    chosen = only(set_reports([*whole, *rows("lema", 2, "0000" * 5, seed=5), *dev], margin=0.03))
    assert only(chosen.seed_differences).compared.seeds == (1, 2, 3, 4, 5)  # each where its dev split chose


@pytest.mark.parametrize(
    ("problems", "words"),
    [(20, "no difference can be told between lema and cot"), (100, "lema and cot are level within 3 points")],
)
def test_arms_are_called_level_over_seeds_where_enough_problems_say_so(problems: int, words: str) -> None:
    solved = "10" * (problems // 2)
    table = [row for seed in range(3) for arm in ("cot", "lema") for row in rows(arm, 4, solved, seed=seed)]
    assert only(only(set_reports(table, margin=0.03)).seed_differences).in_words == f"over 3 seeds {words}"


INTERRUPTED = [
    *rows("base", 0, "100"),
    *rows("cot", 2, "1000"),
    *rows("lema", 2, "1110"),
    *rows("lema", 4, "11"),
]


def test_a_checkpoint_whose_evaluation_was_interrupted_is_named_and_is_neither_best_nor_last() -> None:
    report = only(set_reports(INTERRUPTED, margin=0.03))
    _, lema = report.arms
    assert (lema.best, lema.last.step) == ((0.75,), 2)
    assert [(r.arm, r.step) for r in report.whole] == [("cot", 2), ("lema", 2)]
    assert report.not_yet_whole == "Not yet whole: m (3 of 4), lema step 4 (2 of 4)."
    assert [(d.arm, d.against, d.step, d.paired.n) for d in report.differences] == [
        ("cot", "base", 2, 3), ("lema", "base", 2, 3), ("lema", "cot", 2, 4)
    ]  # fmt: skip
    assert len(report.checkpoints) == 4
    assert only(set_reports(TEST, margin=0.03)).not_yet_whole == ""
    further = only(set_reports([*INTERRUPTED, *rows("lema", 2, "1", seed=2)], margin=0.03))
    assert further.not_yet_whole.endswith("lema step 4 of seed 1 (2 of 4), lema step 2 of seed 2 (1 of 4).")


def test_a_dev_split_of_which_a_checkpoint_has_answered_a_part_chooses_nothing() -> None:
    part = [row for row in DEV if (row["arm"], row["step"], row["problem_id"]) != ("lema", 3, "p0")]
    report = only(set_reports([*part, *TEST], margin=0.03))
    assert [arm.chosen_on_dev is None for arm in report.arms] == [False, True]


def test_one_seed_has_no_spread() -> None:
    report = only(set_reports(TEST, margin=0.03))
    assert (report.seeds, report.seed_differences) == ((), ())


def test_repeats_do_not_change_the_table_and_are_counted_beside_it() -> None:
    table = [
        *rows("base", 0, "0011"),
        *rows("base", 0, "0101", sample_index=1),
        *rows("base", 0, "0012", sample_index=2),
    ]
    report = only(set_reports(table, margin=0.03))
    assert (report.checkpoints[0].n, report.checkpoints[0].correct) == (4, 2)
    assert (report.repeats[0].repeats, report.repeats[0].changed, report.repeats[0].flipped) == (3, 3, 3)
    assert report.samples == (None,)


def sampled(arm: str, *indexes: str) -> list[dict[str, Any]]:
    return [row for k, right in enumerate(indexes) for row in rows(arm, 0, right, sample_index=k, temperature=0.7)]


def test_samples_do_not_change_the_table_and_give_pass_at_k() -> None:
    table = [*rows("base", 0, "0000"), *sampled("base", "1100", "1000", "1020", "1000")]
    report = only(set_reports(table, margin=0.03, ks=(1, 2, 4, 64)))
    assert (report.checkpoints[0].n, report.checkpoints[0].correct) == (4, 0)
    found = report.samples[0]
    assert (found.samples, found.problems, list(found.pass_at)) == (4, 4, [1, 2, 4])
    assert [found.pass_at[k].value for k in (1, 2, 4)] == pytest.approx([5 / 16, (1 + 0.5) / 4, 0.5])
    assert found.majority_at[4].value == pytest.approx(1 / 4)
    assert report.repeats == (None,)


def test_a_problem_that_lacks_samples_is_left_out_of_pass_at_k() -> None:
    table = [row for row in sampled("base", "11", "01") if (row["problem_id"], row["sample_index"]) != ("p1", 1)]
    report = only(set_reports([*rows("base", 0, "00"), *table], margin=0.03, ks=(2,)))
    assert (report.samples[0].problems, report.samples[0].pass_at[2].value) == (1, 1.0)


def test_levels_come_in_the_order_of_their_numbers() -> None:
    table = [
        row | {"level": f"Level {level}"}
        for row, level in zip([*rows("base", 0, "0110"), *rows("lema", 1, "1111")], [10, 2, 2, 1] * 2, strict=True)
    ]
    report = only(set_reports(table, margin=0.03))
    found = [(group, r.arm, r.correct, r.n) for group, r in by_group(report, table, "level")]
    assert found == [
        ("Level 1", "base", 0, 1), ("Level 1", "lema", 1, 1),
        ("Level 2", "base", 2, 2), ("Level 2", "lema", 2, 2),
        ("Level 10", "base", 0, 1), ("Level 10", "lema", 1, 1),
    ]  # fmt: skip
    assert {row["subject"] for row in group_rows(report, table, "subject")} == {"-"}


def test_models_made_elsewhere_are_compared_with_the_first() -> None:
    table = [
        row | {"model": model, "base": f"imported:{model}", "temperature": None}
        for model, right in (("gpt", "1" * 12), ("mine", "0" * 12))
        for row in rows("base", 0, right)
    ]
    report = only(set_reports(table, margin=0.03))
    assert [(r.model, r.correct) for r in report.checkpoints] == [("gpt", 12), ("mine", 0)]
    assert only(report.differences).in_words == "mine is below gpt"
    assert [len(row["comparisons"]) for row in json_rows(report)] == [0, 1]


def elsewhere(*indexes: tuple[int, str]) -> list[dict[str, Any]]:
    """Answers of one model that an import brought: (sample_index, right)."""
    return [
        row
        for index, right in indexes
        for row in rows("base", 0, right, sample_index=index, temperature=None, base="imported:m")
    ]


def test_of_answers_made_elsewhere_the_first_to_each_problem_stands_in_the_table_wherever_they_begin() -> None:
    table = elsewhere((1, "110"), (2, "000"), (3, "111"))[1:]  # the first problem begins at 2
    asked = [Problem("d", "test", f"q{k}", "1") for k in range(4)]
    for row in table:
        row["problem_id"] = asked[int(row["problem_id"][1:])].id
    (report,) = set_reports(with_missing(table, asked), margin=0.03)
    (result,) = report.checkpoints
    assert (result.correct, result.n, result.missing) == (1, 4, 1)
    assert (report.asked, report.problems, report.never_solved) == (4, 4, 3)
    assert [row["correct"] for row in group_rows(report, with_missing(table, asked), "level")] == [1]


def test_of_answers_made_elsewhere_as_many_count_as_each_problem_has() -> None:
    table = elsewhere((0, "100"), (1, "010"), (2, "111"))[:-1]  # the last problem has two
    found = only(set_reports(table, margin=0.03, ks=(1, 2, 4))).samples[0]
    assert (found.samples, found.problems) == (2, 3)
    assert {k: value.value for k, value in found.pass_at.items()} == pytest.approx({1: 1 / 3, 2: 2 / 3})


def test_a_set_of_which_there_are_samples_alone_has_no_row() -> None:
    report = only(set_reports(sampled("base", "10", "11"), margin=0.03))
    assert (report.checkpoints, report.asked, report.problems, report.not_yet_whole) == ((), 0, 0, "")
    assert json_rows(report) == []


def test_problems_that_nothing_solves_are_counted() -> None:
    report = only(set_reports([*rows("base", 0, "1000"), *rows("cot", 1, "0100")], margin=0.03))
    assert (report.problems, report.never_solved) == (4, 2)


def test_a_row_for_scripts_has_the_fixed_keys_and_what_is_said_beside_them() -> None:
    found = json_rows(only(set_reports([*DEV, *TEST], margin=0.03)))
    assert len(found) == 7
    assert all(row.keys() >= FIXED for row in found)
    lema = found[4]
    assert (lema["arm"], lema["step"], lema["is_chosen_on_dev"], lema["is_last"]) == ("lema", 1, True, False)
    assert (lema["dev_n"], lema["dev_correct"]) == (4, 2)
    assert [each["against"] for each in lema["comparisons"]] == ["base", "cot"]
    assert lema["comparisons"][0].keys() >= {"difference", "low", "high", "p_value", "p_holm", "detectable", "in_words"}
    assert lema["arm_mean_of_best"] == pytest.approx(11 / 18)
    assert found[0]["arm_best"] is None
    assert found[0]["comparisons"] == []


def test_nothing_evaluated_gives_no_report() -> None:
    assert set_reports([], margin=0.03) == []
