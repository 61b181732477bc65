"""Which checkpoints a report shows where a database holds several designs."""

import json
from typing import Any

import pytest

from lema_local.report.runs import Data
from lema_local.report.shown import shown_checkpoints


def run(arm: str, steps: int, *, match: str = "steps", seed: int = 1, **more: Any) -> list[dict[str, Any]]:
    """The rows of a run's checkpoints, by default of one whose learning rate falls to zero."""
    fields = {"base_model": "m", "dataset": "d", "arm": arm, "seed": seed, "training_set_id": f"set of {arm}"}
    fields |= {name: more.pop(name) for name in list(more) if name in fields}
    settings = {"schedule": "cosine", "seed": seed, "max_steps": steps, "match": match} | more
    length = steps if settings["schedule"] != "constant" else ""
    name = f"{arm} {seed} {length} {more or ''} {fields['training_set_id']}"
    return [
        fields | {"id": f"{name} step {step}", "run_id": name, "settings": json.dumps(settings), "is_evaluated": True}
        for step in (20, steps)
    ]


def ends(*runs: list[dict[str, Any]]) -> dict[tuple[str, int], int]:
    """Of each arm and seed that is shown, the last step."""
    rows = [row for each in runs for row in each]
    shown = shown_checkpoints(rows)
    return {(row["arm"], row["seed"]): int(row["id"].split()[-1]) for row in rows if row["id"] in shown}


STEPS = [run("cot", 60), run("lema", 60)]
CUT = run("lema", 38, match="tokens")  # to the tokens of cot
TRAINED_ON = run("cot", 95, match="tokens")  # to the tokens of lema


@pytest.mark.parametrize("later", [[CUT], [TRAINED_ON], [CUT, TRAINED_ON]], ids=["cut", "trained on", "both"])
def test_arms_of_equal_tokens_do_not_stand_for_those_of_equal_steps(later: list[list[dict[str, Any]]]) -> None:
    assert ends(*STEPS, *later) == {("cot", 1): 60, ("lema", 1): 60}
    assert set(shown_checkpoints([row for each in (*STEPS, *later) for row in each]).values()) == {True}


def test_equal_tokens_alone_are_compared_where_each_arm_ends() -> None:
    first = run("cot", 60, match="tokens")
    assert ends(first, CUT) == {("cot", 1): 60, ("lema", 1): 38}
    assert set(shown_checkpoints([*first, *CUT]).values()) == {False}
    assert ends(run("cot", 60), CUT) == {("cot", 1): 60, ("lema", 1): 38}  # cot is trained once for both
    assert set(shown_checkpoints([*run("cot", 60), *CUT]).values()) == {False}


def test_an_arm_trained_first_by_tokens_is_found_by_its_steps() -> None:
    assert ends(run("cot", 60, match="tokens"), CUT, run("lema", 60)) == {("cot", 1): 60, ("lema", 1): 60}


def test_a_longer_run_of_a_constant_learning_rate_is_the_same_run() -> None:
    cot, lema = run("cot", 60, schedule="constant"), run("lema", 60, schedule="constant")
    longer = run("cot", 95, match="tokens", schedule="constant")
    assert ends(cot, lema, longer) == {("cot", 1): 95, ("lema", 1): 60}
    assert set(shown_checkpoints([*cot, *lema, *longer]).values()) == {True}


def test_what_was_trained_with_other_settings_is_not_mixed_in() -> None:
    found = ends(*STEPS, run("lema", 60, seed=2), run("lema", 60, learning_rate=0.1))
    assert found == {("cot", 1): 60, ("lema", 1): 60, ("lema", 2): 60}
    assert ends(run("cot", 60), run("lema", 60, learning_rate=0.1)) == {("lema", 1): 60}  # there is nothing to compare
    # what fits a run to the memory, or was not a setting yet, makes no other design
    assert len(ends(run("cot", 60), run("lema", 60, per_device_batch_size=1, truncate=False))) == 2


def test_the_answer_is_the_one_of_most_seeds_and_of_as_many_the_newest() -> None:
    short = [run(arm, 60, seed=seed) for seed in (1, 2) for arm in ("cot", "lema")]
    longer = [run(arm, 120, seed=seed) for seed in (1, 2) for arm in ("cot", "lema")]
    assert set(ends(*short, *longer[:2]).values()) == {60}
    assert set(ends(*short, *longer[:3]).values()) == {60}  # lema of the second seed is to come
    assert set(ends(*short, *longer).values()) == {120}


def test_what_is_being_trained_and_what_is_not_yet_evaluated_takes_no_finished_ones_place() -> None:
    seeds = [run(arm, 60, seed=seed) for seed in (1, 2) for arm in ("cot", "lema")]
    again = run("lema", 60, seed=1, training_set_id="another's")
    unevaluated = [row | {"is_evaluated": False} for row in run("lema", 90, learning_rate=0.1)]
    rows = [row for each in (*seeds, again, unevaluated) for row in each]
    assert shown_checkpoints(rows).keys() == {row["id"] for each in seeds for row in each}


def test_lengths_that_nobody_matched_are_not_compared() -> None:
    assert ends(run("cot", 60), run("lema", 120)) == {("lema", 1): 120}


def test_of_an_arm_the_data_that_it_was_trained_on_last_are_shown_and_students_stand_apart() -> None:
    older = [run("lema", 60, seed=seed, training_set_id="older") for seed in (1, 2, 3)]
    assert ends(run("cot", 60), *older, run("lema", 60)) == {("cot", 1): 60, ("lema", 1): 60}
    other = [run(arm, 80, dataset="other", learning_rate=0.1, seed=9) for arm in ("cot", "lema")]
    assert ends(*STEPS, *other) == {("cot", 1): 60, ("lema", 1): 60, ("cot", 9): 80, ("lema", 9): 80}


def test_the_data_of_a_corrector_that_was_asked_for_are_shown_where_an_arm_was_trained_on_them() -> None:
    oracle, other = run("lema", 60, training_set_id="oracle's"), run("lema", 60, training_set_id="another's")
    rows = [*run("cot", 60), *oracle, *other]
    for preferred, kept in (((), other), (["oracle's"], oracle), (["another's"], other), (["nobody's"], other)):
        assert {row["id"] for row in kept} <= shown_checkpoints(rows, preferred=preferred).keys()
        assert len(shown_checkpoints(rows, preferred=preferred)) == 4


def counted(**sets: int) -> dict[frozenset[str], int]:
    """How many examples sets have, and two of them: a__b."""
    return {frozenset(name.split("__")): count for name, count in sets.items()}


def test_arms_on_other_corrections_than_the_answers_do_not_stand_beside_it() -> None:
    own = run("lema-controlled", 60, training_set_id="mine")
    others = [
        run("lema-controlled", 60, training_set_id="theirs"),
        run("cot-expanded", 60, training_set_id="solutions"),
        run("cot-expanded", 60, training_set_id="theirs too"),
    ]
    rows = [row for each in (run("cot", 60), own, *others, run("lema", 60, training_set_id="lema")) for row in each]
    data = Data(
        correctors={"lema": ("a", "b"), "mine": ("a",), "solutions": ("b",), "theirs": ("a",), "theirs too": ("c",)},
        corrections=counted(lema=64, mine=32, theirs=40, lema__mine=32, lema__theirs=30),
    )
    shown = {row["training_set_id"] for row in rows if row["id"] in shown_checkpoints(rows, data)}
    assert shown == {"set of cot", "lema", "mine", "solutions"}


def test_an_arm_is_compared_with_the_cot_of_its_own_examples() -> None:
    rows = [row for each in (*STEPS, run("cot", 60, training_set_id="more")) for row in each]
    cot = counted(**{"set of cot": 300, "set of lema": 300, "more": 626, "set of cot__set of lema": 300})
    cot |= counted(**{"set of cot__more": 300, "set of lema__more": 300})
    shown = shown_checkpoints(rows, Data(cot=cot))
    assert shown.keys() == {row["id"] for each in STEPS for row in each}


@pytest.mark.parametrize("settings", ["{}", "none", "[1]", '{"max_steps": "x"}', '{"of a later version": 1}'])
def test_settings_that_cannot_be_read_hide_nothing(settings: str) -> None:
    rows = [row | {"settings": settings} for row in (*run("cot", 60), *run("lema", 60))]
    assert len(shown_checkpoints(rows)) == 4
    assert shown_checkpoints([]) == {}
