"""Corrections: replies in many dresses are read, each rejection has its reason, hostile text costs no time."""

import time
from typing import Any

import pytest

from lema_local.corrections import ParsedCorrection, correction_output, parse_correction, rejection_of

PLAIN = (
    " Step 2.\nExplanation: Given away means taken off.\nCorrect Solution:\n...\nStep 2: 42 - 9 = 33. The answer is 33."
)
WHOLE = ParsedCorrection(2, "Given away means taken off.", "Step 2: 42 - 9 = 33. The answer is 33.")

DRESSES = {
    "the few-shot form": PLAIN,
    "the paper's braces": (
        " Step 2.\nExplanation: Given away means taken off.\nCorrect Solution:\n{\n...\n"
        "Step 2: 42 - 9 = 33. The answer is 33.\n}"
    ),
    "the heading repeated": f"Incorrect Step:{PLAIN}",
    "bold headings": PLAIN.replace("Explanation:", "**Explanation:**").replace(
        "Correct Solution:", "**Correct Solution**:"
    ),
    "markdown headings": PLAIN.replace("Explanation:", "### Explanation:").replace("Correct", "### Correct"),
    "corrected solution": PLAIN.replace("Correct Solution", "Corrected Solution"),
    "lower case": PLAIN.replace("Explanation", "explanation").replace("Correct Solution", "correct solution"),
    "a bare number": PLAIN.replace(" Step 2.", "2", 1),
    "a sentence": PLAIN.replace(" Step 2.", "The incorrect step is Step 2 of the solution.", 1),
    "a code fence": PLAIN.replace("...", "```text") + "\n```",
    "an ellipsis character": PLAIN.replace("...", "…"),
    "blank lines": PLAIN.replace("\n", "\n\n"),
    "Windows line ends": PLAIN.replace("\n", "\r\n"),
    "a next problem": f"{PLAIN}\n\nQuestion: What else?\nOriginal Solution:\nStep 1: nothing",
    "explanation over lines": PLAIN.replace("means taken", "means\n   taken"),
}


@pytest.mark.parametrize("text", DRESSES.values(), ids=DRESSES.keys())
def test_one_correction_in_many_dresses_reads_the_same(text: str) -> None:
    assert parse_correction(text) == WHOLE


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("", ParsedCorrection(None, None, None)),
        ("I see no mistake here.", ParsedCorrection(None, None, None)),
        ("Step 3.", ParsedCorrection(3, None, None)),
        ("Explanation: why", ParsedCorrection(None, "why", None)),
        (" Step 2.\nExplanation:\nCorrect Solution:\n...\n", ParsedCorrection(2, None, None)),
        (" Step 2.\nCorrect Solution:\nStep 2: 1", ParsedCorrection(2, None, "Step 2: 1")),
        ("Explanation: not Step 4\nCorrect Solution:\nStep 1", ParsedCorrection(None, "not Step 4", "Step 1")),
    ],
    ids=["empty", "prose", "step alone", "explanation alone", "empty parts", "no explanation", "step named too late"],
)  # fmt: skip
def test_a_part_that_is_not_there_is_none(text: str, parsed: ParsedCorrection) -> None:
    assert parse_correction(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "Step " * 100_000,
        "Explanation:" * 50_000,
        "\n" * 1_000_000,
        "*" * 1_000_000,
        " " * 500_000 + "Correct Solution",
        "Step 1" + "#" * 200_000 + "2\nExplanation" + "*" * 200_000,
        "...\n{\n}\n" * 50_000,
        "\x00\ud800\u202e" * 10_000,
    ],
    ids=["steps", "headings", "lines", "stars", "spaces", "marks", "braces", "odd characters"],
)
def test_hostile_replies_are_read_in_no_time(text: str) -> None:
    started = time.process_time()
    parse_correction(text)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("parsed", "finish_reason", "answer", "is_correct", "why"),
    [
        (WHOLE, "stop", "33", True, None),
        (WHOLE, None, "33", True, None),
        (WHOLE, "length", "33", True, "cut off"),
        (ParsedCorrection(None, "e", "s"), "stop", "33", True, "no incorrect step"),
        (ParsedCorrection(0, "e", "s"), "stop", "33", True, "no such step"),
        (ParsedCorrection(4, "e", "s"), "stop", "33", True, "no such step"),
        (ParsedCorrection(3, "e", "s"), "stop", "33", True, None),
        (ParsedCorrection(1, None, "s"), "stop", "33", True, "no explanation"),
        (ParsedCorrection(1, "e", None), "stop", None, False, "no correct solution"),
        (WHOLE, "stop", None, False, "no answer"),
        (WHOLE, "stop", "34", False, "wrong answer"),
        (ParsedCorrection(None, None, None), "length", None, False, "cut off"),
    ],
)
def test_a_rejection_names_its_first_reason(
    parsed: ParsedCorrection, finish_reason: str | None, answer: str | None, is_correct: bool, why: str | None
) -> None:
    found = rejection_of(parsed, original_steps=3, finish_reason=finish_reason, answer=answer, is_correct=is_correct)
    assert found == why


def test_the_training_text_is_the_papers_to_the_letter() -> None:
    assert correction_output(WHOLE) == (
        " Step 2.\nExplanation: Given away means taken off.\nCorrect Solution:\n{\n...\n"
        "Step 2: 42 - 9 = 33. The answer is 33.\n}"
    )


def test_the_line_for_kept_steps_is_left_out_at_step_1() -> None:
    first = correction_output(ParsedCorrection(1, "e", "Step 1: a\nStep 2: b"))
    assert first == " Step 1.\nExplanation: e\nCorrect Solution:\n{\nStep 1: a\nStep 2: b\n}"


def test_the_training_text_reads_back_as_the_same_correction() -> None:
    assert parse_correction(correction_output(WHOLE)) == WHOLE


@pytest.mark.parametrize("part", range(3))
def test_a_correction_without_a_part_is_no_training_text(part: int) -> None:
    parts: list[Any] = [2, "e", "s"]
    parts[part] = None
    with pytest.raises(ValueError, match="all three parts"):
        correction_output(ParsedCorrection(*parts))
