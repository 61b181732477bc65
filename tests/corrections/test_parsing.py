"""Corrections: replies in many dresses are read, each rejection has its reason, hostile text costs no time."""

import json
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest
from commands import DATA

from lema_local.answers.exact import extract_answer, is_correct
from lema_local.corrections.checks import stray
from lema_local.corrections.parsing import (
    REJECTIONS,
    ParsedCorrection,
    correction_output,
    parse_correction,
    rejection_of,
)
from lema_local.corrections.reply_text import has_special_token
from lema_local.corrections.structured import CORRECTION_SCHEMA, llama_cpp_format, openai_format
from lema_local.records.types import AnswerKind

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
        "not wrong " * 1_900,
        "solution is all " * 1_200,
        "step 1 except step 2 but " * 790,
        "Step 1: no mistake\n" * 1_000,
    ],
    ids=[
        "steps",
        "headings",
        "lines",
        "stars",
        "spaces",
        "marks",
        "braces",
        "odd characters",
        "negations",
        "praise",
        "exceptions",
        "verdicts",
    ],
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


def test_a_solution_done_anew_keeps_no_steps_though_a_later_one_was_named() -> None:
    anew = ParsedCorrection(2, "e", "Step 1: a\nStep 2: b")
    assert "..." not in correction_output(anew)
    assert parse_correction(correction_output(anew), ["x", "c"]) == anew


def test_the_training_text_reads_back_as_the_same_correction() -> None:
    assert parse_correction(correction_output(WHOLE)) == WHOLE


@pytest.mark.parametrize("part", range(3))
def test_a_correction_without_a_part_is_no_training_text(part: int) -> None:
    parts: list[Any] = [2, "e", "s"]
    parts[part] = None
    with pytest.raises(ValueError, match="all three parts"):
        correction_output(ParsedCorrection(*parts))


MISTAKEN = [
    "Nadia picks 3 * 14 = 42 apples.",
    "She gives away 9 apples and keeps 42 + 9 = 51.",
    "So 51 * 2 = 102 halves. The answer is 102.",
]
SPLICED = "Step 2: She keeps 42 - 9 = 33.\nStep 3: So 33 * 2 = 66 halves. The answer is 66."
READ = ParsedCorrection(2, "Given away means taken off.", SPLICED)
_HEAD = "Step 2.\nExplanation: Given away means taken off.\n"
_STEPS = "Step 2: She keeps 42 - 9 = 33.\nStep 3: So 33 * 2 = 66 halves. The answer is 66."

REPLIES = {
    "reasoning first": f"<think>Step 1 is fine. Step 3 too?</think>\n{_HEAD}Correct Solution:\n...\n{_STEPS}",
    "reasoning without its first tag": f"Step 1 looks fine.</think>{_HEAD}Correct Solution:\n...\n{_STEPS}",
    "an own solution first": (
        "3 * 14 = 42, 42 - 9 = 33, 33 * 2 = 66. So 66, not 102.\n"
        f"Incorrect Step: {_HEAD}Correct Solution:\n...\n{_STEPS}"
    ),
    "question and solution said again": (
        "Question: How many apples does Nadia keep?\nOriginal Solution:\n"
        f"{chr(10).join(f'Step {k}: {s}' for k, s in enumerate(MISTAKEN, 1))}\n"
        f"Incorrect Step: {_HEAD}Correct Solution:\n{_STEPS}"
    ),
    "bold, a list and a heading": (
        "### Incorrect Step\n- **Step 2**\n\n### Explanation\nGiven away means taken off.\n\n"
        "### Correct Solution\n- **Step 2:** She keeps 42 - 9 = 33.\n- **Step 3:** So 33 * 2 = 66 halves.\n\n"
        "**The answer is 66.**"
    ),
    "numbered headings": (
        f"1. **Incorrect Step:** Step 2\n2. **Explanation:** Given away means taken off.\n"
        f"3. **Correct Solution:**\n{_STEPS}"
    ),
    "a table of steps": (
        f"{_HEAD}Correct Solution:\n| Step | Calculation |\n|---|---|\n"
        "| 2 | She keeps 42 - 9 = 33. |\n| 3 | So 33 * 2 = 66 halves. The answer is 66. |"
    ),
    "a table of parts": (
        "| Incorrect Step | Explanation | Correct Solution |\n|:--|:--|:--|\n| Step 2 | Given away means taken off. | "
        "Step 2: She keeps 42 - 9 = 33.<br>Step 3: So 33 * 2 = 66 halves. The answer is 66. |"
    ),
    "two steps named": f"Step 2, 3{_HEAD[6:]}Correct Solution:\n...\n{_STEPS}",
    "two steps named in words": f"Steps 2 and 3 are incorrect{_HEAD[6:]}Correct Solution:\n...\n{_STEPS}",
    "a sentence that names it": f"The first mistake is in **Step 2**.{_HEAD[7:]}Correct Solution:\n{_STEPS}",
    "the step's words for its number": (
        f"Incorrect Step: She gives away 9 apples and keeps 42 + 9 = 51{_HEAD[6:]}Correct Solution:\n...\n{_STEPS}"
    ),
    "no heading for the solution": f"{_HEAD}...\n{_STEPS}",
    "no heading for the solution and no dots": f"{_HEAD}\n{_STEPS}",
    "no heading for the explanation": f"Step 2.\nGiven away means taken off.\nCorrect Solution:\n...\n{_STEPS}",
    "only the order of things": f"Step 2.\nGiven away means taken off.\n...\n{_STEPS}",
    "counted from 1 again": (
        f"{_HEAD}Correct Solution:\nStep 1: She keeps 42 - 9 = 33.\nStep 2: So 33 * 2 = 66 halves. The answer is 66."
    ),
    "the kept step said again": f"{_HEAD}Correct Solution:\nStep 1: Nadia picks 3 * 14 = 42 apples.\n{_STEPS}",
    "the kept step said again, numbered on": (
        f"{_HEAD}Correct Solution:\n...\nStep 2: Nadia picks 3 * 14 = 42 apples.\n"
        "Step 3: She keeps 42 - 9 = 33.\nStep 4: So 33 * 2 = 66 halves. The answer is 66."
    ),
    "no labels": (
        f"{_HEAD}Correct Solution:\n...\nShe keeps 42 - 9 = 33.\nSo 33 * 2 = 66 halves. The answer is 66."
    ),
    "numbers for labels": (
        f"{_HEAD}Correct Solution:\n2. She keeps 42 - 9 = 33.\n3. So 33 * 2 = 66 halves. The answer is 66."
    ),
    "all steps on one line": f"{_HEAD}Correct Solution: {_STEPS}".replace("\nStep 3", " Step 3"),
    "chatter around": (
        f"Sure! Let us see.\n\n{_HEAD}Correct Solution:\nHere is the corrected solution:\n{_STEPS}\n\nI hope it helps!"
    ),
    "the model's own tokens": f"<|im_start|>{_HEAD}Correct Solution:\n...\n{_STEPS}<|im_end|>\n<|im_start|>user\nMore.",
    "JSON": (
        '{"incorrect_step": 2, "explanation": "Given away means taken off.", "correct_solution": '
        '["She keeps 42 - 9 = 33.", "So 33 * 2 = 66 halves. The answer is 66."]}'
    ),
    "JSON in a fence, with words for keys": (
        'Here it is:\n```json\n{"Incorrect Step": "Step 2", "Explanation": "Given away means taken off.", '
        '"Correct Solution": "Step 2: She keeps 42 - 9 = 33.\\nStep 3: So 33 * 2 = 66 halves. The answer is 66."}\n```'
    ),
    "JSON with steps as objects": (
        '{"incorrect_step": "2", "explanation": "Given away means taken off.", "correct_solution": '
        '[{"step": 2, "text": "She keeps 42 - 9 = 33."}, '
        '{"step": 3, "text": "So 33 * 2 = 66 halves. The answer is 66."}]}'
    ),
    "a second, other correction": (
        f"{_HEAD}Correct Solution:\n...\n{_STEPS}\n\nIncorrect Step: Step 3.\nExplanation: Halves are not asked for.\n"
        "Correct Solution:\n...\nStep 3: The answer is 51."
    ),
    "a first that is not whole": (
        f"Step 1.\nExplanation: The sum is right.\n{_HEAD}Correct Solution:\n...\n{_STEPS}"
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", REPLIES.values(), ids=REPLIES.keys())
def test_a_correction_reads_as_one_solution_with_the_kept_steps(text: str) -> None:
    assert parse_correction(text, MISTAKEN) == READ


def test_of_two_whole_corrections_the_first_counts_though_the_second_is_right() -> None:
    wrong = PLAIN.replace("42 - 9 = 33. The answer is 33", "42 - 9 = 34. The answer is 34")
    parsed = parse_correction(f"{wrong}\nIncorrect Step:{PLAIN}")
    assert parsed.correct_solution == "Step 2: 42 - 9 = 34. The answer is 34."


def test_a_solution_from_the_start_is_left_as_it_was_written() -> None:
    """It works out again what the kept steps have: counting it on would say everything twice."""
    whole = "Step 1: The baskets hold 14 * 3 = 42.\nStep 2: She keeps 42 - 9 = 33. The answer is 33."
    parsed = parse_correction(f" Step 3.\nExplanation: e e\nCorrect Solution:\n{whole}", MISTAKEN)
    assert parsed.correct_solution == whole


@pytest.mark.parametrize(
    "whole",
    [
        "Step 1: Nadia picks 3 * 14 = 42 apples.\nStep 2: She keeps 42 - 9 = 33. The answer is 33.",
        "Step 1: Of 14 apples 14 - 9 = 5 are left.\nStep 2: And 5 + 28 = 33. The answer is 33.",
        "Step 1: Nothing is added.\nStep 2: The answer is 33.",
        r"Step 1: Nadia picks $3 \times 14 = 42$ apples." "\nStep 2: She keeps 42 - 9 = 33. The answer is 33.",
    ],
    ids=["a kept sum put right", "from other amounts", "no sum", "in LaTeX"],
)
def test_a_solution_done_anew_is_not_counted_onto_a_kept_step_that_is_wrong(whole: str) -> None:
    """It names step 2, where step 1 is wrong, and does all of it again: after step 1 it would say so twice."""
    wrong = ["Nadia picks 3 * 14 = 44 apples.", "She keeps 44 - 9 = 35. The answer is 35."]
    parsed = parse_correction(f" Step 2.\nExplanation: e e\nCorrect Solution:\n{whole}", wrong)
    assert parsed.correct_solution == whole


def test_a_solution_in_latex_is_counted_on_as_one_in_plain_signs_is() -> None:
    kept = [r"Nadia picks $3 \times 14 = 42$ apples.", *MISTAKEN[1:]]
    new = r"Step 1: She keeps $42 - 9 = 33$. The answer is $33$."
    parsed = parse_correction(f" Step 2.\nExplanation: e e\nCorrect Solution:\n{new}", kept)
    assert parsed.correct_solution == new.replace("Step 1", "Step 2")


def test_steps_that_are_numbered_as_in_the_mistake_keep_their_numbers() -> None:
    """The first step is said again, step 2 is written anew though step 3 was named, and step 3 stands where it did."""
    steps = [*MISTAKEN[:1], "Step 2: She keeps 42 - 9 = 33.", "Step 3: So 33 * 2 = 66 halves. The answer is 66."]
    text = f" Step 3.\nExplanation: e e\nCorrect Solution:\nStep 1: {chr(10).join(steps)}"
    assert parse_correction(text, MISTAKEN).correct_solution == _STEPS


def test_a_line_under_a_step_that_speaks_of_the_answer_without_giving_it_is_kept() -> None:
    last = "Step 3: To get the final answer, double the apples:\n33 * 2 = 66\nThe answer is 66.\nI hope it helps!"
    parsed = parse_correction(f"{_HEAD}Correct Solution:\n...\nStep 2: She keeps 42 - 9 = 33.\n{last}", MISTAKEN)
    assert parsed.correct_solution == (
        "Step 2: She keeps 42 - 9 = 33.\nStep 3: To get the final answer, double the apples: 33 * 2 = 66 "
        "The answer is 66."
    )


@pytest.mark.parametrize(
    "said",
    [
        "So 66 is the answer.",
        "The answer to the question is 66.",
        "The answer (in apples) is 66.",
        "The answer, then, is 66.",
        "The answer should be 66.",
        "Answer: 66.",
    ],
)
def test_what_is_said_after_the_answer_is_no_part_of_the_last_step(said: str) -> None:
    text = f"{_HEAD}Correct Solution:\n...\nStep 2: She keeps 42 - 9 = 33.\nStep 3: So {said}\nI hope it helps!"
    assert parse_correction(text, MISTAKEN).correct_solution == f"Step 2: She keeps 42 - 9 = 33.\nStep 3: So {said}"


@pytest.mark.parametrize(
    "said",
    [
        "The incorrect step adds the apples given away instead of subtracting them.",
        "It adds the 9 apples.\nThe wrong step leads to 51 instead of 33.",
    ],
)
def test_a_sentence_about_the_wrong_step_is_part_of_the_explanation(said: str) -> None:
    text = f"Incorrect Step: Step 2.\nExplanation:\n{said}\nCorrect Solution:\n...\n{_STEPS}"
    assert parse_correction(text, MISTAKEN) == replace(READ, explanation=said.replace("\n", " "))


@pytest.mark.parametrize(
    "heading", ["Incorrect Step:", "The first wrong step is Step 3", "**Wrong step** 3", "Wrong Step"]
)
def test_a_heading_under_an_explanation_begins_another_correction(heading: str) -> None:
    text = f" Step 2.\nExplanation: Taken off.\n{heading}\nStep 3\nExplanation: So it is.\nCorrect Solution:\n{_STEPS}"
    assert parse_correction(text, MISTAKEN).incorrect_step == 3


@pytest.mark.parametrize(
    ("kept", "wrong", "step"),
    [
        (
            "Adding the two equations gives $3x + 2y = 12$.",
            "Subtracting the two equations gives $3x + 2y = 6$.",
            "Adding the two equations gives $3x - 2y = 12$.",
        ),
        (
            "The number of students in class A who play football is 12.",
            "The number of students in class B who play football is 9.",
            "The number of students in class B who play football is 15.",
        ),
    ],
    ids=["another sign", "another number"],
)
def test_a_step_that_is_much_like_a_kept_one_is_no_repetition_of_it(kept: str, wrong: str, step: str) -> None:
    new = f"Step 2: {step}\nStep 3: So it is 6. The answer is 6."
    text = f" Step 2.\nExplanation: e e\nCorrect Solution:\n...\n{new}"
    assert parse_correction(text, [kept, wrong, "The answer is 5."]).correct_solution == new
    again = f" Step 2.\nExplanation: e e\nCorrect Solution:\nStep 1: {kept}\n{new}"
    assert parse_correction(again, [kept, wrong, "The answer is 5."]).correct_solution == new


def test_a_gap_between_kept_and_new_steps_stays_visible() -> None:
    parsed = parse_correction(" Step 2.\nExplanation: e\nCorrect Solution:\n...\nStep 3: The answer is 9.", MISTAKEN)
    assert parsed.correct_solution == "Step 3: The answer is 9."


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<think>Step 2. Explanation: hm. Correct Solution: Step 2: The answer is 33.", "cut off"),
        (PLAIN + "<think>or is it", "cut off"),
        ("word " * 5_000, "too long"),
    ],
    ids=["reasoning that never ends", "reasoning after it", "too long"],
)
def test_what_is_not_read_says_why(text: str, why: str) -> None:
    parsed = parse_correction(text)
    assert (parsed.incorrect_step, parsed.explanation, parsed.correct_solution) == (None, None, None)
    assert rejection_of(parsed, original_steps=3, finish_reason="stop", answer="33", is_correct=True) == why


def test_long_reasoning_before_a_short_answer_is_no_obstacle() -> None:
    assert parse_correction(f"<think>{'Hm, step 7? ' * 20_000}</think>{PLAIN}") == WHOLE


def test_the_words_of_the_wrong_step_are_no_explanation() -> None:
    said = f"Step 2: {MISTAKEN[1]}\nCorrect Solution:\n...\n{_STEPS}"
    assert parse_correction(said, MISTAKEN).explanation is None


def test_words_of_no_step_or_of_two_name_none() -> None:
    for words in ("The calculation of the apples is incorrect", "Nadia"):
        assert (
            parse_correction(
                f"Incorrect Step: {words}.\n{_HEAD[8:]}Correct Solution:\n{_STEPS}", MISTAKEN
            ).incorrect_step
            is None
        )
    same = ["So she has 4 + 4 = 8 of them.", "So she has 4 + 4 = 8 of them."]
    assert (
        parse_correction("Incorrect Step: So she has 4 + 4 = 8 of them.\nExplanation: e", same).incorrect_step is None
    )


@dataclass(frozen=True)
class Mistake:
    """What a labelled reply is about."""

    question: str
    reference: str
    kind: AnswerKind
    steps: list[str]


def labelled() -> list[Any]:
    """The replies of tests/data/correction_replies.json, labelled by hand: whether each is to be kept, which step it
    calls wrong, and for some why it is not kept. `is_missed`: a correction in words that nobody would list."""
    data = json.loads((DATA / "correction_replies.json").read_text(encoding="utf-8"))
    of = {name: Mistake(**fields) for name, fields in data["mistakes"].items()}
    rows = data["replies"]
    return [pytest.param(of[row["of"]], row, id=f"{k}: {row['style']}") for k, row in enumerate(rows)]


@pytest.mark.parametrize(("mistake", "row"), labelled())
def test_only_a_reply_that_says_what_is_wrong_is_a_correction(mistake: Mistake, row: dict[str, Any]) -> None:
    parsed = parse_correction(row["reply"], mistake.steps)
    answer = extract_answer(parsed.correct_solution, mistake.kind) if parsed.correct_solution else None
    why = rejection_of(
        parsed,
        original_steps=len(mistake.steps),
        finish_reason="stop",
        answer=answer,
        is_correct=is_correct(answer, mistake.reference, mistake.kind),
        stray=stray(parsed, question=mistake.question, mistaken=mistake.steps),
    )
    if row["keep"] and not row.get("is_missed"):
        assert (why, parsed.incorrect_step) == (None, row["step"])
        assert parse_correction(correction_output(parsed), mistake.steps) == parsed  # as the student learns it
    else:
        assert why == row.get("why", why)
        assert why is not None


def test_the_labelled_replies_are_many_and_of_many_styles() -> None:
    rows = [parameters.values[1] for parameters in labelled()]
    assert len(rows) > 140
    assert len({row["style"] for row in rows}) > 10
    assert 0.4 < sum(row["keep"] for row in rows) / len(rows) < 0.6
    assert sum(row.get("is_missed", False) for row in rows) == 1


@pytest.mark.parametrize(
    ("text", "explanation"),
    [
        ("Sure! I looked at it. Step 2 is wrong: 42 - 9 = 33.", "Step 2 is wrong: 42 - 9 = 33."),
        ("Step 1: Correct.\nStep 2: Incorrect. The apples go away.", "Incorrect. The apples go away."),
        ("Incorrect Step: Step 2, for the apples are given away.", "for the apples are given away."),
        ("Incorrect Step: Step 2.\nExplanation:\nStep 2: It adds instead.", "Step 2: It adds instead."),
    ],
)
def test_an_explanation_begins_where_the_step_is_called_wrong(text: str, explanation: str) -> None:
    parsed = parse_correction(f"{text}\nCorrect Solution:\n{_STEPS}", MISTAKEN)
    assert (parsed.incorrect_step, parsed.explanation) == (2, explanation)


@pytest.mark.parametrize(
    "text",
    [
        "<|im_end|>", "<|reserved_special_token_12|>", "</s>", "<end_of_turn>", "[INST]", "<|endoftext|>", "<eos>",
        "<pad>", "<file_sep>", "<｜end▁of▁sentence｜>", "[TOOL_CALLS]", "<fim_prefix>", "<EOS_TOKEN>",
    ],
)  # fmt: skip
def test_a_special_token_of_a_tokenizer_is_known_by_its_spelling(text: str) -> None:
    assert has_special_token(f"She keeps 33{text} apples.")
    assert not has_special_token("So 3 < x <= |y| > 2, [0, 1], <b>bold</b>, $|x|<|y|$ and f[i] << 2 <<2+1=3>>.")


def test_what_jsons_escapes_hide_is_not_in_a_correction() -> None:
    reply = {"incorrect_step": 2, "explanation": "Given\u200b away.", "correct_solution": ["42 - 9\u202e = 33."]}
    parsed = parse_correction(json.dumps(reply), MISTAKEN)
    assert (parsed.explanation, parsed.correct_solution) == ("Given away.", "Step 2: 42 - 9 = 33.")


def test_every_rejection_that_there_is_can_happen() -> None:
    reasons = {
        rejection_of(parsed, original_steps=3, finish_reason=end, answer=answer, is_correct=answer == "33", stray=stray)
        for parsed in (
            WHOLE, ParsedCorrection(None, "e", "s"), ParsedCorrection(9, "e", "s"), ParsedCorrection(1, None, "s"),
            ParsedCorrection(1, "e", None), ParsedCorrection(None, None, None, unread="too long"),
            ParsedCorrection(1, "e", "s", calls_correct=True),
        )
        for end in ("stop", "length")
        for answer in ("33", "34", None)
        for stray in (None, "other problem", "other language")
    }  # fmt: skip
    assert reasons == {None, *REJECTIONS}


def test_the_schema_takes_what_the_parser_reads() -> None:
    asked = openai_format()["json_schema"]
    assert asked["strict"] is True
    assert llama_cpp_format()["schema"] == asked["schema"] == CORRECTION_SCHEMA
    assert set(CORRECTION_SCHEMA["required"]) == set(CORRECTION_SCHEMA["properties"])
    why = "Given away means taken off."
    reply = {"incorrect_step": 2, "explanation": why, "correct_solution": ["42 - 9 = 33. The answer is 33."]}
    assert parse_correction(json.dumps(reply), MISTAKEN) == WHOLE


@pytest.mark.parametrize("escaped", [True, False])
def test_latex_in_json_is_read_as_it_is_meant_however_it_is_escaped(escaped: bool) -> None:
    why = r"Not $\frac{84}{2} + 9 \neq 51$, \beta and \underline{it}."
    steps = [r"She keeps $33 \times 2 \cdot 1 = 66$.", r"The answer is $\text{\sqrt{66^2}}$."]
    reply = json.dumps({"incorrect_step": 2, "explanation": why, "correct_solution": steps})
    parsed = parse_correction(reply if escaped else reply.replace(r"\\", "\\"), MISTAKEN)
    assert (parsed.explanation, parsed.correct_solution) == (why, f"Step 2: {steps[0]}\nStep 3: {steps[1]}")


def test_an_end_of_line_a_tab_a_quote_and_a_letter_by_its_number_stay_in_json() -> None:
    solution = "Step 2: She keeps\t42 - 9 = 33.\nnow 33 * 2 = 66 is \u00e9.\nThe answer is 66."
    reply = {"incorrect_step": 2, "explanation": 'Given away\nso "taken" off.', "correct_solution": solution}
    parsed = parse_correction(json.dumps(reply), MISTAKEN)
    assert parsed.explanation == 'Given away so "taken" off.'
    assert parsed.correct_solution == "Step 2: She keeps 42 - 9 = 33. now 33 * 2 = 66 is \u00e9. The answer is 66."


@pytest.mark.parametrize(
    "text",
    [
        '{"incorrect_step": {"a": 1}, "explanation": [1], "correct_solution": 7}',
        '{"incorrect_step": true, "explanation": null, "correct_solution": [null, 3, [1]]}',
        '{"incorrect_step": 1e999, "explanation": "", "correct_solution": []}',
        '{"correct_solution": {"a": {"b": "c"}}}',
        "[" * 10_000,
        '{"a":' * 3_000,
        '{"incorrect_step": ' + "9" * 15_000 + "}",
    ],
    ids=["objects", "nulls", "infinity", "nested", "brackets", "braces", "digits"],
)  # fmt: skip
def test_json_of_the_wrong_shape_is_no_correction(text: str) -> None:
    parsed = parse_correction(text, MISTAKEN)
    assert None in (parsed.incorrect_step, parsed.explanation, parsed.correct_solution)


@pytest.mark.parametrize("text", REPLIES.values(), ids=REPLIES.keys())
def test_what_a_student_learns_to_write_reads_back_as_what_was_graded(text: str) -> None:
    parsed = parse_correction(text, MISTAKEN)
    assert parse_correction(correction_output(parsed)) == parsed
