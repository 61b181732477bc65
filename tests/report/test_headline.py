"""The answer first: what its sentence says for each outcome, what it rests on, and the picture beside it."""

import pytest
from commands import ROOT
from experiments import N, experiment, seeded, trained_over

from lema_local.records.store import Store
from lema_local.report.charts import ON_PAGE
from lema_local.report.evidence import ArmData, Experiment
from lema_local.report.forest import forest
from lema_local.report.gather import gather
from lema_local.report.headline import headline


def sentence(of: Experiment) -> str:
    answer = headline(of)
    assert answer is not None
    return answer.sentence


@pytest.mark.parametrize(
    ("lema", "begins"),
    [
        (120, "LeMa helped: lema solved 30.0 points more than cot (95% interval +"),
        (20, "LeMa harmed: lema solved 20.0 points fewer than cot (95% interval -"),
        (60, "The two are level within 3 points: lema solved 0.0 points more than cot"),
        (64, "No difference was shown: lema solved 2.0 points more than cot"),
    ],
)
def test_one_seed_is_judged_problem_by_problem(lema: int, begins: str) -> None:
    said = sentence(experiment(cot=60, lema=lema))
    assert said.startswith(begins)
    assert f"1 seed, {N} problems" in said
    assert ("--seeds 5" in said) == (not begins.startswith("LeMa"))


def test_seeds_are_judged_together_and_two_that_disagree_decide_nothing() -> None:
    assert sentence(trained_over(*[0, 40] * 5)).startswith("LeMa helped: lema solved 10.0 points more than cot")
    assert sentence(trained_over(0, 40)).startswith("No difference was shown: lema solved 10.0 points more than cot")


def test_two_seeds_that_disagree_are_not_called_level() -> None:
    assert sentence(trained_over(*[4, -4] * 5)).startswith("The two are level within 3 points")
    assert sentence(trained_over(4, -4)).startswith("No difference was shown")


def test_what_cannot_be_told_says_how_many_seeds_five_points_would_take() -> None:
    said = sentence(trained_over(-30, 40, 10))
    assert said.startswith("No difference was shown")
    assert "; 5 points would need " in said


def test_corrections_from_reference_solutions_are_named_in_the_answer_itself() -> None:
    derived = experiment(cot=60, lema=120, derived=50)
    assert sentence(derived).startswith("Training on corrections from reference solutions helped")
    by_model = Experiment("m", "b", derived.result, {"lema": ArmData(100, 50, 0, correctors=("qwen", "gpt-4"))})
    answer = headline(by_model)
    assert answer is not None
    assert "trained on 50 corrections by qwen, gpt-4, none of them written from reference" in answer.basis


def test_without_both_arms_there_is_no_answer() -> None:
    assert headline(experiment(cot=60)) is None
    assert headline(seeded("m", 1, 2)) is None  # cot and lema-controlled


def test_the_picture_has_a_line_for_each_seed_and_one_for_all() -> None:
    figure = forest(trained_over(*[20] * 3), ON_PAGE, name="answer-1")
    assert figure is not None
    assert [row[0] for row in figure.table] == ["arm", "lema, seed 1", "lema, seed 2", "lema, seed 3", "lema, 3 seeds"]
    assert [row[1] for row in figure.table[1:]] == ["+10.0"] * 4
    one = forest(experiment(cot=60, lema=80), ON_PAGE, name="answer-1")
    assert one is not None
    assert "says nothing of the next one" in one.caption
    assert forest(experiment(cot=60), ON_PAGE, name="answer-1") is None


def test_what_as_many_tokens_say_stands_beside_the_answer_of_the_study() -> None:
    evidence, _ = gather(Store(ROOT / "examples" / "study.duckdb"), seed=1, margin=0.04, correctors=["oracle"])
    (of_study,) = evidence.experiments
    answer = headline(of_study, evidence.others)
    assert answer is not None
    assert "lema solved 6.5 points more than cot (95% interval +2.2 to +10.8; 10 seeds" in answer.sentence
    assert answer.beside == (
        "For as many tokens (lema 74 steps, cot 120): 4.2 points fewer (-7.8 to -0.7; 10 seeds).",
        "For as many tokens (lema 120 steps, cot 196): 0.8 points more (-4.5 to +6.1; 10 seeds).",
    )
