"""Which checkpoints a report shows where a database holds several designs."""

import json
from typing import Any

import pytest

from lema_local.report.shown import shown_checkpoints


def run(arm: str, steps: int, *, match: str = "steps", seed: int = 1, **more: Any) -> list[dict[str, Any]]:
    """The rows of a run's checkpoints, by default of one whose learning rate falls to zero."""
    fields = {"base_model": "m", "dataset": "d", "arm": arm, "seed": seed, "training_set_id": f"set of {arm}"}
    fields |= {name: more.pop(name) for name in list(more) if name in fields}
    settings = {"schedule": "cosine", "seed": seed, "max_steps": steps, "match": match} | more
    length = steps if settings["schedule"] != "constant" else ""
    name = f"{arm} {seed} {length} {more or ''} {fields['training_set_id']}"
    return [
        fields | {"id": f"{name} step {step}", "run_id": name, "settings": json.dumps(settings)} for step in (20, steps)
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
    assert ends(*STEPS, run("lema", 60, seed=2), run("lema", 60, learning_rate=0.1)) == {("lema", 1): 60}
    longer = [run(arm, 120, seed=seed) for seed in (1, 2) for arm in ("cot", "lema")]
    short = [run(arm, 60, seed=seed) for seed in (1, 2, 3) for arm in ("cot", "lema")]
    assert set(ends(*short, *longer)) == {("cot", 1), ("lema", 1), ("cot", 2), ("lema", 2)}
    # what fits a run to the memory, or was not a setting yet, makes no other design
    assert len(ends(run("cot", 60), run("lema", 60, per_device_batch_size=1, truncate=False))) == 2


def test_of_an_arm_the_data_that_it_was_trained_on_last_are_shown_and_students_stand_apart() -> None:
    older = [run("lema", 60, seed=seed, training_set_id="older") for seed in (1, 2, 3)]
    assert ends(run("cot", 60), *older, run("lema", 60)) == {("cot", 1): 60, ("lema", 1): 60}
    other = [run(arm, 80, dataset="other", learning_rate=0.1, seed=9) for arm in ("cot", "lema")]
    assert ends(*STEPS, *other) == {("cot", 1): 60, ("lema", 1): 60, ("cot", 9): 80, ("lema", 9): 80}


def test_the_data_of_a_corrector_that_was_asked_for_are_shown_where_an_arm_was_trained_on_them() -> None:
    oracle, other = run("lema", 60, training_set_id="oracle's"), run("lema", 60, training_set_id="another's")
    rows = [*run("cot", 60), *oracle, *other]
    for preferred, kept in (((), other), (["oracle's"], oracle), (["another's"], other), (["nobody's"], other)):
        assert {row["id"] for row in kept} <= shown_checkpoints(rows, preferred).keys()
        assert len(shown_checkpoints(rows, preferred)) == 4


@pytest.mark.parametrize("settings", ["{}", "none", "[1]", '{"max_steps": "x"}', '{"of a later version": 1}'])
def test_settings_that_cannot_be_read_hide_nothing(settings: str) -> None:
    rows = [row | {"settings": settings} for row in (*run("cot", 60), *run("lema", 60))]
    assert len(shown_checkpoints(rows)) == 4
    assert shown_checkpoints([]) == {}
