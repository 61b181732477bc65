"""Training texts: the paper's inputs and outputs, corrected solutions as one, outputs without a part."""

import pytest

from lema_local.corrections.parsing import ParsedCorrection, parse_correction
from lema_local.examples.texts import (
    Part,
    corrected_steps,
    correction_example,
    cot_example,
    sampled_output,
    without_part,
)

PARSED = ParsedCorrection(2, "why", "Step 2: b. The answer is 2.")


def test_a_cot_example_is_the_papers_input_and_output() -> None:
    one = cot_example("q0", "a0. The answer is 0.", source_id="s", problem_id="p")
    assert one.prompt == "Please solve the following math problem.\nQuestion: q0\nAnswer: Let's think step by step.\n"


def test_a_correction_example_is_the_papers_input_and_output() -> None:
    two = correction_example("q0", ["a", "b"], PARSED, source_id="s", problem_id="p")
    assert two.prompt.endswith("\nQuestion: q0\nOriginal Solution:\n{\nStep 1: a\nStep 2: b\n}\nIncorrect Step:")
    assert two.output == " Step 2.\nExplanation: why\nCorrect Solution:\n{\n...\nStep 2: b. The answer is 2.\n}"
    assert parse_correction(two.output) == PARSED  # what is learnt reads back


def test_an_example_is_known_by_its_texts_alone() -> None:
    one, other = (cot_example("q", "a", source_id=source, problem_id="p") for source in ("s", "t"))
    assert one.id == other.id != cot_example("q", "b", source_id="s", problem_id="p").id


LONG = r"\left(-\infty, -\frac{1}{2}\right) \cup \left(\frac{3}{2}, \infty\right) \cup \{7\}"


@pytest.mark.parametrize(
    ("steps", "output"),
    [
        (["1 + 1 = 2", "The answer is 2."], "1 + 1 = 2. The answer is 2."),
        (["1 + 1 = 2. The answer is 2."], "1 + 1 = 2. The answer is 2."),
        (["1 + 1 = 2", "So 2"], "1 + 1 = 2. So 2. The answer is 2."),
        (["$1 + 1 = 2.$", "The answer is $2.$"], "$1 + 1 = 2.$ The answer is $2.$"),
        (["1 + 1 = 2", "The answer is 2.0 hours."], "1 + 1 = 2. The answer is 2.0 hours."),
        (["1 + 1 = 2", f"The answer is ${LONG}$."], f"1 + 1 = 2. The answer is ${LONG}$."),
        (["1 + 1 = 2", f"The answer is \\({LONG}\\)."], f"1 + 1 = 2. The answer is \\({LONG}\\)."),
        (["1 + 1 = 2", "The answer is $2!$."], "1 + 1 = 2. The answer is $2!$."),
        (["The answer is $1$.", "No, $1 + 1 = 2$"], "The answer is $1$. No, $1 + 1 = 2$. The answer is 2."),
    ],
    ids=[
        "said",
        "said in the step",
        "not said",
        "said in a formula",
        "said with a decimal and a unit",
        "said in a long formula",
        "in LaTeX's brackets",
        "with a sign",
        "said wrongly before",
    ],
)
def test_a_sampled_rationale_ends_in_the_papers_sentence(steps: list[str], output: str) -> None:
    assert sampled_output(steps, "2") == output


@pytest.mark.parametrize(
    ("step", "solution", "whole"),
    [
        (2, "Step 2: B.\nStep 3: C.", ["a", "B.", "C."]),
        (1, "Step 1: A.\nStep 2: B.", ["A.", "B."]),
        (3, "Step 1: A.\nStep 2: B.", ["A.", "B."]),
        (3, "**Step 3:** C.", ["a", "b", "C."]),
        (2, "Step 3: C.", []),
        (2, "Then it is C.", []),
        (2, "Step 2:", []),
    ],
    ids=["goes on", "from the first step", "solved anew", "markdown", "skips a step", "no steps", "an empty step"],
)
def test_kept_steps_and_a_correction_read_as_one_solution_or_not_at_all(
    step: int, solution: str, whole: list[str]
) -> None:
    assert corrected_steps(["a", "b", "c"], ParsedCorrection(step, "why", solution)) == whole


@pytest.mark.parametrize(
    ("part", "output"),
    [
        ("step", "\nExplanation: why\nCorrect Solution:\n{\n...\nStep 2: b. The answer is 2.\n}"),
        ("explanation", " Step 2.\nCorrect Solution:\n{\n...\nStep 2: b. The answer is 2.\n}"),
        ("solution", " Step 2.\nExplanation: why"),
    ],
)
def test_an_ablated_output_lacks_one_part(part: Part, output: str) -> None:
    whole = correction_example("q", ["a", "b"], PARSED, source_id="s", problem_id="p").output
    assert without_part(whole, part) == output


def test_text_that_is_no_correction_has_no_parts() -> None:
    with pytest.raises(ValueError, match="not the output of a correction"):
        without_part("1 + 1 = 2. The answer is 2.", "step")
