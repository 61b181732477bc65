"""Steps and training text: what is taken away, what is spaced, and what must stay as it was."""

import time
from dataclasses import replace

import pytest

from lema_local.corrections.rationales import gold_output, join_steps, number_steps, solution_steps, split_steps
from lema_local.records.types import Problem


def problem(solution: str | None, answer: str = "18") -> Problem:
    return Problem("d", "train", "How many?", answer, solution=solution)


def test_gsm8k_rationale_becomes_one_paragraph_that_ends_with_the_answer() -> None:
    solution = "Rosa bakes 6*12=<<6*12=72>>72 rolls.\nShe earns 72*2 = $<<72*2=144>>144 a day\n#### 144"
    assert gold_output(problem(solution, "144")) == (
        "Rosa bakes 6 * 12 = 72 rolls. She earns 72 * 2 = $144 a day. The answer is 144."
    )


def test_commas_leave_the_final_answer_only() -> None:
    assert gold_output(problem("He pays $1,000+$500=$1,500", "1,500")) == (
        "He pays $1,000 + $500 = $1,500. The answer is 1500."
    )


@pytest.mark.parametrize("solution", [None, "", "\n \n", "#### 18"], ids=["none", "empty", "blank", "answer-only"])
def test_problem_without_solution_has_no_output(solution: str | None) -> None:
    assert gold_output(problem(solution)) is None


@pytest.mark.parametrize(
    "solution",
    [
        "He has 9+9=18",
        "He has 9+9=18 left, ",
        "He has 9+9=18 left.\nThe answer is 18",
        'She asks "how many?"\nIt is 18!',
        "So it is choice B. The answer is therefore 18.",
        'It ends in a quote."',
        "He has 16.66...% of it..\nThat is 18...",
    ],
    ids=["plain", "comma", "says-it-itself", "quote", "initial", "quote-end", "dots"],
)
def test_output_of_an_output_is_itself(solution: str) -> None:
    output = gold_output(problem(solution))
    assert output is not None
    assert gold_output(problem(output)) == output
    assert output.endswith("The answer is 18.")
    assert output.count("he answer is") == 1
    assert "  " not in output


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("He has 48/2=24", "He has 48 / 2 = 24"),
        ("She has 5-3 =2", "She has 5 - 3 = 2"),
        ("It is 10-3 boxes = 7 boxes", "It is 10 - 3 boxes = 7 boxes"),
        ("(5+3)*2-1=15", "(5 + 3) * 2 - 1 = 15"),
        ("x-5=-3", "x - 5 = -3"),
        ("5*-3=-15", "5 * -3 = -15"),
        ("$20-$.50=$19.50", "$20 - $.50 = $19.50"),
        ("15%*$40=$6.0", "15% * $40 = $6"),
        ("6+5 apples", "6 + 5 apples"),
        ("2 pears+3 figs=5", "2 pears + 3 figs = 5"),
    ],
)
def test_arithmetic_gets_spaces_around_operators(text: str, step: str) -> None:
    assert solution_steps(text) == [step]


@pytest.mark.parametrize(
    "text",
    [
        "It was -5 degrees",
        "He works 24/7, so 2 + 3 = 5 days",
        "apples and/or pears",
        "It was 5/12/2020 or 2020-05-12",
        "a 3-hour, well-known, 10-15 minute show",
        "She ate 1/2 of it",
        "He pays $1,000.50 at $3/hour * 2 hours = $6",
        "an A+ grade, a B+.",
        "x <= 5 and y != 3",
    ],
)
def test_what_is_not_arithmetic_stays_as_it_is(text: str) -> None:
    assert solution_steps(text) == [text]


def test_markdown_list_becomes_plain_steps() -> None:
    text = "Let us go step by step:\n\n## Plan\n1. Start:\n   • Ann has 3 × 2 = 6 figs\n   - **Then** 6+1 = 7\n#### 7"
    assert solution_steps(text) == ["Ann has 3 × 2 = 6 figs", "Then 6 + 1 = 7"]


def test_line_that_opens_the_next_one_joins_it() -> None:
    assert solution_steps("Each week he earns:\n5*3 = 15") == ["Each week he earns: 5 * 3 = 15"]


def test_sentences_of_one_line_are_steps_and_abbreviations_do_not_end_one() -> None:
    text = "Mr. Day has 2.5 kg. Dr. J. Fox has 3! So they have 5.5 kg."
    assert solution_steps(text) == ["Mr. Day has 2.5 kg.", "Dr. J. Fox has 3!", "So they have 5.5 kg."]


def test_latex_keeps_its_spacing_and_loses_its_drawings() -> None:
    text = "[asy]\ndraw((0,0)--(1,1));\n[/asy]\nWe have\n\\[x^2-1=\n\\frac{1}{2}.\\]\nSo $x=\\boxed{2}$."
    latex = Problem("math", "train", "q", "2", kind="latex", solution=text)
    assert gold_output(latex) == r"We have \[x^2-1= \frac{1}{2}.\] So $x=\boxed{2}$. The answer is 2."


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (r"We have $x \le 5.$ Then $y = 3.$ Done.", [r"We have $x \le 5.$", "Then $y = 3.$", "Done."]),
        (r"So \[x = 5.\] Then \(y = 3.\) Done.", [r"So \[x = 5.\]", r"Then \(y = 3.\)", "Done."]),
        (r"So \[x = 5.\]Then $$y \le 3.$$Done.", [r"So \[x = 5.\]", r"Then $$y \le 3.$$", "Done."]),
        (r"There are $5!$ \quad Ways, $1, 2, \ldots, 0.3...$ And $x.y$.", None),
        (r"It is $x \le 5.5$ 3 times, $2,$ Or $.5$ Or \(a.\)b.", None),
    ],
)
def test_a_sentence_may_end_in_a_formula(text: str, steps: list[str] | None) -> None:
    assert solution_steps(text) == (steps or [text])


def test_a_stop_in_a_formula_is_a_stop() -> None:
    solution = r"We have $x \le 5.$ Then \[y = 3.\]So \(z = 2.\)"
    latex = Problem("math", "train", "q", "2", kind="latex", solution=solution)
    output = r"We have $x \le 5.$ Then \[y = 3.\] So \(z = 2.\) The answer is 2."
    assert gold_output(latex) == output
    assert gold_output(replace(latex, solution=output)) == output
    assert join_steps([r"There are $5!$", r"\[y = 3.\]", "$$z,$$", "It is $x$"]) == (
        r"There are $5!$. \[y = 3.\] $$z,$$ It is $x$."
    )


@pytest.mark.parametrize("formula", ["$x.$", r"\(x.\)", r"\[x.\]", "$$x.$$"])
def test_an_answer_that_is_said_after_a_formula_is_not_said_twice(formula: str) -> None:
    latex = Problem("math", "train", "q", "2", kind="latex", solution=rf"As \le, {formula} The answer is $2$.")
    assert gold_output(latex) == rf"As \le, {formula} The answer is 2."


@pytest.mark.parametrize(
    "text",
    [
        "Step 1: Add.\nStep 2: The answer is 5.",
        "Sure!\n\n**Step 1:** Add.\n\n**Step 2:** The answer is 5.",
        "### Step 1. Add.\n### Step 2. The answer is 5.",
        "- step 1) Add.\n- step 2) **The answer is 5.**",
        "Step 1: Add. Step 2: The answer is 5.",
        "Step 1:\nAdd.\nStep 2:\nThe answer\nis 5.",
        "Step 1: Add.\nStep 2: The answer is 5.\nStep 4: Or 6.",
        "Step 1: Add.\nStep 2: The answer is 5.\n\nQuestion: What next?\nStep 3: Go.",
        "Step 1: Add.\nStep 2: The answer is 5.\nStep 3:\n",
    ],
    ids=["plain", "bold", "heading", "bullet", "one-line", "below", "gap", "new-question", "empty-last"],
)
def test_steps_are_read_from_model_text(text: str) -> None:
    assert split_steps(text) == ["Add.", "The answer is 5."]


@pytest.mark.parametrize("text", ["", "The answer is 5.", "Step 2: Add.", "Step 1:", "Steps 1: x", "Step 1: ..."])
def test_text_without_readable_steps_gives_none(text: str) -> None:
    assert split_steps(text) == []


def test_numbered_steps_read_back() -> None:
    steps = ["Add 2 + 3 = 5.", "As in Step 1, add.", "The answer is 5."]
    assert number_steps(["Add\n2 + 3 = 5.", *steps[1:]]).splitlines()[0] == "Step 1: Add 2 + 3 = 5."
    assert split_steps(number_steps(steps)) == steps


def test_joined_steps_have_one_full_stop_each() -> None:
    assert join_steps(["Add", " 2 + 3 = 5. ", "", "So:", "Done!"]) == "Add. 2 + 3 = 5. So: Done!"


@pytest.mark.parametrize(
    "text",
    [
        "=" * 200_000,
        "1-" * 100_000,
        "a+" * 100_000,
        "a" + " " * 200_000 + "b",
        "**" * 100_000,
        "Step 1: " * 30_000,
        ". A" * 70_000,
        "he has:\n" * 30_000,
        r"\[x.\] " * 30_000,
        r"\le .$" + " " * 200_000,
        r"\le .$$" + " " * 200_000 + "a",
    ],
    ids=["equals", "minus", "plus", "spaces", "stars", "steps", "stops", "openings", "formulas", "formula", "display"],
)
def test_hostile_text_takes_linear_time(text: str) -> None:
    start = time.perf_counter()
    split_steps(text)
    solution_steps(text)
    gold_output(problem(text))
    assert time.perf_counter() - start < 5
