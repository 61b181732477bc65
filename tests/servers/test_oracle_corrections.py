"""The oracle's corrections: the first wrong step, why it is wrong, and a solution that goes on from the kept steps.

The modules are imported by name at run time, because type checkers do not follow the package alias.
"""

import importlib
import random
import re
import time
from fractions import Fraction
from typing import Any

import pytest

from lema_local.answers.numerals import same_number
from lema_local.corrections.rationales import number_steps

corrections: Any = importlib.import_module("lema_local.servers.oracle_corrections")
arithmetic: Any = importlib.import_module("lema_local.corrections.arithmetic")

QUESTION = (
    "Lena writes to 14 friends but drops 9 of them. Each of the others gets 3 letters a week of 10 pages, and a page "
    "takes 12 minutes. How many hours does she write a week?"
)
SOLUTION = (
    "Lena writes to 14-9=<<14-9=5>>5 friends\nThey get 5*3=<<5*3=15>>15 letters a week\n"
    "That is 15*10=150 pages\nThey take 150*12=1800 minutes\nSo she writes 1800/60=30 hours a week\n#### 30"
)
RIGHT = [
    "Lena writes to 14 - 9 = 5 friends.",
    "They get 5 * 3 = 15 letters a week.",
    "That is 15 * 10 = 150 pages.",
    "They take 150 * 12 = 1800 minutes.",
    "So she writes 1800 / 60 = 30 hours a week.",
]


def correct(*steps: str) -> str:
    return str(corrections.correct(QUESTION, SOLUTION, "30", number_steps(list(steps))))


def parts(reply: str) -> tuple[int, str, list[str]]:
    """(wrong step, explanation, new steps) of a reply in LeMa's form."""
    match = re.fullmatch(r" Step (\d+)\.\nExplanation: ([^\n]+)\nCorrect Solution:\n(\.\.\.\n)?(.+)", reply, re.DOTALL)
    assert match, reply
    assert bool(match[3]) == (int(match[1]) > 1)
    return int(match[1]), match[2], match[4].split("\n")


def test_a_reference_in_latex_is_read_as_one_in_plain_signs() -> None:
    question = "Ann buys 3 pounds of nuts and eats 6 ounces. How many ounces are left?"
    mistake = number_steps(["3 * 16 = 48 ounces.", "48 + 6 = 54 are left. The answer is 54."])
    plain, latex = (
        parts(corrections.correct(question, solution, "42", mistake))
        for solution in ("3*16=48\n48-6=42\n#### 42", r"She has $3 \times 16 = 48$ ounces. So $48 - 6 = 42$ are left.")
    )
    assert latex[:2] == plain[:2]
    assert latex[0] == 2
    assert latex[2] == ["Step 2: So $48 - 6 = 42$ are left. The answer is 42."]


def test_a_false_sum_is_the_wrong_step_and_the_solution_goes_on_from_there() -> None:
    reply = correct(RIGHT[0], RIGHT[1], "That is 15 * 10 = 160 pages.", "160 * 12 = 1920 minutes. The answer is 1920.")
    assert reply == (
        " Step 3.\nExplanation: Step 3 computes 15 * 10 = 160, but 15 * 10 is 150.\nCorrect Solution:\n...\n"
        "Step 3: That is 15 * 10 = 150 pages.\nStep 4: They take 150 * 12 = 1800 minutes.\n"
        "Step 5: So she writes 1800 / 60 = 30 hours a week. The answer is 30."
    )


@pytest.mark.parametrize(
    ("steps", "wrong", "said", "first"),
    [
        pytest.param(["14 + 9 = 23 friends.", "The answer is 23."], 1, "combined as 14 - 9", RIGHT[0], id="operation"),
        pytest.param([RIGHT[0], "5 * 4 = 20 letters. The answer is 20."], 2, "uses 4", RIGHT[1], id="number"),
        pytest.param([RIGHT[0], RIGHT[1] + " The answer is 15."], 2, "too early", RIGHT[1], id="early"),
        pytest.param([*RIGHT[:4], RIGHT[4] + " The answer is 31."], 5, "concludes with 31", RIGHT[4], id="conclusion"),
        pytest.param([RIGHT[0], "She writes 77 letters. The answer is 77."], 2, "77", RIGHT[1], id="statement"),
        pytest.param(["Each gets 1 letter.", "The answer is 1."], 1, "states 1,", RIGHT[0], id="from nowhere"),
        pytest.param(["1 hour has 60 minutes.", "So 14 + 9 = 23."], 2, "14 - 9", RIGHT[0], id="conversion"),
        pytest.param([RIGHT[0], "That is 150 * 12 = 1800 minutes."], 2, "uses 150", RIGHT[1], id="not derived"),
        pytest.param(RIGHT[:3], 3, "before the question is answered", RIGHT[2], id="unfinished"),
    ],
)
def test_the_first_wrong_step_is_found_and_explained(steps: list[str], wrong: int, said: str, first: str) -> None:
    step, explanation, new = parts(correct(*steps))
    assert (step, new[0]) == (wrong, f"Step {wrong}: {first}" + (" The answer is 30." if first == RIGHT[4] else ""))
    assert said in explanation
    assert "30" not in explanation  # what is wrong, not what the answer is
    assert new[-1].endswith("The answer is 30.")


def test_another_way_to_the_same_value_is_kept_and_not_derived_again() -> None:
    step, _, new = parts(
        correct(RIGHT[0], "3 * 10 = 30 pages each.", "5 * 30 = 150 pages.", "150 * 12 = 1700 minutes.")
    )
    assert step == 4
    assert new == [f"Step 4: {RIGHT[3]}", f"Step 5: {RIGHT[4]} The answer is 30."]


def test_equal_results_need_a_derivation_each() -> None:
    solution = "Tea costs 2*4=8\nCake costs 5+3=8\nTogether 8+8=16\n#### 16"
    mistake = "Step 1: Tea costs 2 * 4 = 8.\nStep 2: Together 8 + 9 = 17. The answer is 17."
    question = "2 teas at 4 each and a cake of 5 plus 3: how much?"
    step, _, new = parts(corrections.correct(question, solution, "16", mistake))
    assert (step, new[0]) == (2, "Step 2: Cake costs 5 + 3 = 8.")


@pytest.mark.parametrize("text", ["", "The answer is 12.", "Step: 3 * 4 = 12", "step one: 4", "{\n\n}"])
def test_a_rationale_without_readable_steps_is_refused(text: str) -> None:
    assert corrections.correct(QUESTION, SOLUTION, "30", text) == corrections.NO_STEPS


def test_a_right_solution_has_no_wrong_step() -> None:
    assert corrections.correct(QUESTION, SOLUTION, "30", corrections.solve(SOLUTION, "30")) == corrections.NO_MISTAKE


@pytest.mark.parametrize(
    ("text", "sums"),
    [
        ("240 nuts / 4 nuts/minute = 60 minutes", [("240 / 4", 60, True)]),
        ("$290,000 x 6/100 = $17,400.", [("$290,000 * 6/100", 17400, True)]),
        ("20% of the 50 kids = 10 kids", [("20% * 50", 10, True)]),
        ("3 * 4 = 12 + 5 = 17", [("3 * 4", 12, True), ("12 + 5", 17, True)]),
        ("6 / 12 = 50.0%", [("6 / 12", 50, True)]),
        ("10 / 3 = 3.33 each", [("10 / 3", Fraction("3.33"), True)]),
        ("2(11)=22 and 12 ÷ 2/3 = 18", [("2 * (11)", 22, True), ("12 / 2/3", 18, True)]),
        ("50 cents * 4 = 2 dollars", [("50 * 4", 2, True)]),
        ("a 40-item quiz has 3 + 4 = 8", [("3 + 4", 8, False)]),
        ("20 - 8 - 7 = 6", [("20 - 8 - 7", 6, False)]),
        ("2x + 40 = 94, 70 + T = 136 + T = 219, 8 x 1 1/2 = 12, 6:30 + 48 = 7", []),
        ("1 / 0 = 5", []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sums_are_read_from_prose(text: str, sums: list[tuple[str, int, bool]]) -> None:
    assert [(c.expression, c.result, c.is_true) for c in arithmetic.claims(text)] == sums


def test_reference_steps_are_clean_sentences() -> None:
    solution = (
        "Let's solve this step by step:\n\n1. Start:\n   • He has 3 * 0.5=1 cup\n"
        "   • 24.749999999999996 - 5 = 19.75\n#### 1"
    )
    assert corrections.reference_steps(solution, "1") == [
        "He has 3 * 0.5 = 1 (rounded down) cup",
        "24.75 - 5 = 19.75",
    ]


def test_every_gsm_symbolic_template_is_solved_and_corrected() -> None:
    pytest.importorskip("reasoning_gym")
    generators = importlib.import_module("reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic")
    data: Any = generators.GSMSymbolicDataset(generators.GSMSymbolicDatasetConfig(size=1, seed=0))
    rng = random.Random(3)
    for task in generators.tasks_ok:
        row = data.generators[task](random.Random(task), 1.0)
        problem = row["question"], row["metadata"]["answer_cot"], row["answer"]
        steps = corrections.reference_steps(*problem[1:])
        assert steps, task
        assert not re.search(r"<<|####|\*\*|^[-•]|\d\.\d{7}", "\n".join(steps), re.MULTILINE), task
        assert corrections.correct(*problem, corrections.solve(*problem[1:])) == corrections.NO_MISTAKE, task
        k = rng.randrange(len(steps)) + 1
        wrong = [*steps[: k - 1], f"{steps[k - 1]}, and 3 * 4 = 13", *steps[k:]]
        step, explanation, new = parts(corrections.correct(*problem, number_steps(wrong)))
        assert (step, "3 * 4 is 12" in explanation) == (k, True), task
        stated = re.search(r"The answer is (.+)\.$", new[-1])
        assert stated is not None, task
        assert same_number(stated[1], row["answer"]), task


def test_hostile_rationales_are_answered_quickly() -> None:
    rng = random.Random(1)
    pieces = [
        "Step 1:",
        "Step 2:",
        "3",
        "*",
        "/",
        "0",
        "=",
        "(",
        ")",
        "9" * 50,
        "%",
        "x",
        "of",
        "half",
        "-",
        ".",
        "\n",
        "$",
    ]
    texts = ["Step 1: " + "".join(rng.choices(pieces, k=200)) for _ in range(200)]
    texts += ["Step 1: " + p * 20_000 for p in ("(", "9*", "1/", "= ", "3 = ", "-", "9*9*", "answer is ")]
    started = time.perf_counter()
    for text in texts:
        assert "\n" in correct(text) or correct(text).startswith("Cannot correct")
    assert time.perf_counter() - started < 20
