"""Runs of other lengths, and on other corrections, beside those that a report shows."""

import json
from typing import Any

import pytest
from experiments import rows

from lema_local.report.claims import ORACLE, Claim
from lema_local.report.corrector_claims import HELPS, corrector_claims
from lema_local.report.evidence import ArmData, Evidence, OtherComparison
from lema_local.report.other_runs import ends, other_comparisons
from lema_local.report.paper import paper
from lema_local.report.results import checkpoint_results
from lema_local.report.runs import Data
from lema_local.report.tables import others_table

SEEDS = (1, 2, 3)
DATA = {
    "lema": ArmData(582, 256, 256, correctors=("oracle",)),
    "weaker": ArmData(390, 64, 0, correctors=("qwen-1.5b",)),
    "larger": ArmData(526, 200, 0, correctors=("qwen-7b",)),
}
SHARED = {("cot", "cot"): 300, ("lema", "lema"): 300, ("cot", "lema"): 300}


class Runs:
    """Runs of an arm, one a seed, as recorded, and what they solve."""

    def __init__(
        self, arm: str, steps: int, tokens: int, correct: int, *, on: str = "", saved: tuple[int, ...] = (), **more: Any
    ) -> None:
        only = more.pop("only", SEEDS)
        settings = {"schedule": "cosine", "max_steps": steps} | more
        self.trained, self.answers, self.data = [], [], on or arm
        for seed in only:
            for step in (*saved, steps):
                id_ = f"{arm} {on} {seed} {step} of {steps}"
                self.trained.append(
                    {
                        "id": id_, "run_id": f"{arm} {on} {seed} {steps}", "base_model": "m", "dataset": "gsm8k",
                        "arm": arm, "seed": seed, "step": step, "tokens_seen": tokens * step // steps + seed,
                        "training_set_id": on or arm, "settings": json.dumps(settings), "is_evaluated": True,
                    }
                )  # fmt: skip
                solved = correct * step // steps + seed
                self.answers += [row | {"checkpoint_id": id_} for row in rows(arm, step, solved, seed=seed)]

    @property
    def ids(self) -> set[str]:
        return {row["id"] for row in self.trained}


COT, LEMA = Runs("cot", 120, 98_000, 60), Runs("lema", 120, 158_000, 80)
CUT, TRAINED_ON = Runs("lema", 74, 97_600, 50), Runs("cot", 194, 158_500, 70)


def compared(
    *runs: Runs, shown: tuple[Runs, ...] = (), shared: dict[tuple[str, str], int] = SHARED
) -> list[OtherComparison]:
    return other_comparisons(
        [row for each in runs for row in each.trained],
        checkpoint_results(row for each in runs for row in each.answers),
        {id_: DATA[each.data] for each in runs for id_ in each.ids if each.data in DATA},
        Data(cot={frozenset(pair): count for pair, count in shared.items()}),
        set().union(*(each.ids for each in shown)),
        margin=0.03,
    )


def helping(found: list[OtherComparison]) -> list[Claim]:
    claims = corrector_claims(Evidence(others=tuple(found)), paper())
    return [claim for claim in claims if claim.topic == HELPS]


def said(found: list[OtherComparison]) -> list[tuple[Any, ...]]:
    return [
        (d.arm, d.against, d.steps[0], other.matched_by, round(200 * d.compared.difference))
        for other in found
        for d in (other.difference,)
    ]


def test_arms_of_as_many_tokens_are_compared_both_ways_and_those_of_equal_steps_stay_where_they_are() -> None:
    found = compared(COT, LEMA, CUT, TRAINED_ON, shown=(COT, LEMA))
    assert said(found) == [("lema", "cot", (74, 120), "tokens", -10), ("lema", "cot", (120, 194), "tokens", 10)]
    assert found[0].tokens == (97_602, 98_002)
    assert found[0].difference.compared.seeds == SEEDS
    assert found[0].checkpoints == CUT.ids | COT.ids


def test_without_others_at_equal_steps_these_are_said_too() -> None:
    assert said(compared(COT, LEMA)) == [("lema", "cot", (120, 120), "steps", 20)]


@pytest.mark.parametrize(
    "shared",
    [
        {},
        {("cot", "cot"): 300, ("lema", "lema"): 300, ("cot", "lema"): 299},
        {("cot", "cot"): 300, ("cot", "lema"): 300},
        {("cot", "cot"): 626, ("lema", "lema"): 300, ("cot", "lema"): 300},
    ],
    ids=["none known", "one is another", "one has none", "the other has more"],
)
def test_runs_whose_cot_examples_are_others_are_not_compared(shared: dict[tuple[str, str], int]) -> None:
    assert compared(COT, CUT, shared=shared) == []


def test_fewer_cot_examples_are_compared_where_all_are_among_the_others() -> None:
    controlled = Runs("lema-controlled", 120, 150_000, 70)
    shared = {("cot", "cot"): 300, ("lema-controlled", "lema-controlled"): 44, ("cot", "lema-controlled"): 44}
    assert said(compared(COT, controlled, shared=shared)) == [("lema-controlled", "cot", (120, 120), "steps", 10)]


def test_an_arm_on_other_corrections_is_compared_with_cot_and_with_itself() -> None:
    weaker = Runs("lema", 120, 120_000, 64, on="weaker")
    shared = SHARED | {("weaker", "weaker"): 300, ("cot", "weaker"): 300, ("lema", "weaker"): 300}
    found = compared(COT, LEMA, weaker, shown=(COT, LEMA), shared=shared)
    assert said(found) == [
        ("lema", "cot", (120, 120), "steps", 4),
        ("lema (64 by qwen-1.5b)", "lema (256 by oracle)", (120, 120), "steps", -16),
    ]
    assert LEMA.ids <= found[1].checkpoints


def test_corrections_are_not_compared_where_one_arm_has_other_cot_examples_too() -> None:
    weaker = Runs("lema", 120, 120_000, 64, on="weaker")
    shared = SHARED | {("weaker", "weaker"): 626, ("cot", "weaker"): 300, ("lema", "weaker"): 300}
    assert compared(COT, LEMA, weaker, shown=(COT, LEMA), shared=shared) == []


@pytest.mark.parametrize(
    ("correct", "verdict"), [(40, "reproduced"), (80, "open"), (120, "contradicted")], ids=["less", "as much", "more"]
)
def test_whether_a_larger_correctors_corrections_help_more_is_said_by_the_interval(correct: int, verdict: str) -> None:
    weaker = Runs("lema", 120, 120_000, correct, on="weaker")
    larger = Runs("lema", 120, 158_000, 80, on="larger")
    shared = {(one, other): 300 for one in ("weaker", "larger") for other in ("weaker", "larger")}
    for runs in ((weaker, larger), (larger, weaker)):
        (claim,) = helping(compared(*runs, shared=shared))
        assert (claim.verdict, claim.n) == (verdict, 200)
        assert claim.where == "qwen-7b against qwen-1.5b, m, GSM8K"
        assert claim.ours == f"{(80 - correct) / 2:+.1f} (200 corrections against 64)"


def test_the_oracle_as_the_larger_corrector_decides_nothing_and_without_a_second_one_it_says_what_to_run() -> None:
    weaker = Runs("lema", 120, 120_000, 40, on="weaker")
    shared = SHARED | {("weaker", "weaker"): 300, ("lema", "weaker"): 300}
    (claim,) = helping(compared(LEMA, weaker, shared=shared))
    assert (claim.verdict, claim.ours) == ("not tested", "+20.0 (256 corrections against 64)")
    assert ORACLE in claim.because
    (claim,) = helping([])
    assert (claim.verdict, claim.n) == ("not tested", None)
    assert "CORRECTOR_MODEL" in claim.because


def test_a_run_counts_at_its_end_alone_where_the_learning_rate_falls() -> None:
    passing = Runs("cot", 194, 158_500, 70, saved=(120,))
    assert said(compared(passing, LEMA)) == [("lema", "cot", (120, 194), "tokens", 10)]
    assert set(ends(passing.trained)) == {id_ for id_ in passing.ids if "194 of 194" in id_}


def test_of_runs_at_a_constant_learning_rate_the_furthest_pair_is_compared() -> None:
    cot = Runs("cot", 120, 98_000, 60, saved=(40, 80), schedule="constant")
    lema = Runs("lema", 120, 98_000, 80, saved=(40, 80), schedule="constant")
    assert said(compared(cot, lema)) == [("lema", "cot", (120, 120), "steps", 20)]


@pytest.mark.parametrize(
    "other",
    [
        Runs("lema", 74, 101_000, 50),
        Runs("lema", 74, 97_600, 50, learning_rate=0.1),
        Runs("lema", 74, 97_600, 50, only=(8, 9)),
        Runs("cot", 74, 97_600, 50, on="lema"),
    ],
    ids=["other tokens", "other settings", "other seeds", "cot itself"],
)
def test_runs_that_differ_in_more_are_not_compared(other: Runs) -> None:
    assert compared(COT, other) == []


def test_settings_that_are_others_than_those_shown_are_said() -> None:
    others = [Runs(arm, 120, 98_000, 60, learning_rate=0.1, on=f"{arm} again") for arm in ("cot", "lema")]
    shared = SHARED | {
        (one, other): 300 for one in ("cot again", "lema again") for other in ("cot again", "lema again")
    }
    found = compared(COT, LEMA, *others, shown=(COT, LEMA), shared=shared)
    assert [other.unlike for other in found] == [("learning_rate 0.1",)]
    assert others_table(found).rows[0][3] == "learning_rate 0.1"


def test_one_seed_speaks_of_itself_alone() -> None:
    (found,) = compared(Runs("cot", 120, 98_000, 60, only=(1,)), Runs("lema", 74, 97_600, 100, only=(1,)))
    assert found.difference.in_words == "with one seed lema is above cot"


def test_the_table_says_whose_corrections_how_long_and_how_sure() -> None:
    (row,) = others_table(compared(COT, CUT)).rows
    assert row[:9] == (
        "m, GSM8K", "lema - cot", "tokens", "–", "256 by oracle", "74 - 120", "97,602 - 98,002", "3", "-5.0"
    )  # fmt: skip
    assert row[-1] == "over 3 seeds lema is below cot"
