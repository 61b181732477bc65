"""Ans(.): what is read off a text, and what counts as the reference. Hand-checked outputs: data/answer_pairs.tsv."""

import json
import os
import random
import time
from fractions import Fraction
from pathlib import Path

import pytest
from commands import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from lema_local.answers.authors import is_correct_authors
from lema_local.answers.exact import extract_answer, is_correct
from lema_local.answers.formulas import boxed
from lema_local.answers.grading import Grader
from lema_local.records.types import AnswerKind

PAIRS = DATA / "answer_pairs.tsv"
PUBLIC = os.environ.get("LEMA_TEST_DATA")
needs_data = pytest.mark.skipif(not PUBLIC, reason="LEMA_TEST_DATA names no folder of data sets")


def test_every_hand_checked_output_is_graded_as_the_table_says() -> None:
    rows = [line.split("\t") for line in PAIRS.read_text(encoding="utf-8").splitlines()[2:] if line]
    assert len(rows) >= 500
    with Grader(workers=1) as grader:
        surprises = []
        for kind, verdict, reference, text in rows:
            assert verdict in {"right", "wrong"}
            answer = extract_answer(text.replace("⏎", "\n"), kind)  # type: ignore[arg-type]
            graded = grader.grade(answer, reference, kind)  # type: ignore[arg-type]
            if graded.is_correct != (verdict == "right"):
                surprises.append(f"{kind} {reference!r} {text!r} -> {answer!r} {graded}")
    assert surprises == []


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 20 - 8 - 7 = 5.", "5"),
        ("The answer is $1,000.", "1000"),
        ("The answer is 18 dollars.", "18"),
        ("The answer is **18**.", "18"),
        ("#### 18", "18"),
        (r"\boxed{18}", "18"),
        ("The answer is -3.", "-3"),
        ("The answer is 1/4.", "1/4"),
        ("The answer is 0.25.", "0.25"),
        ("The answer is 25%.", "25%"),
        ("The answer is 3 1/2.", "3 1/2"),
        ("The answer is 10{,}000.", "10000"),
        ("She has 18 apples.", None),
        ("", None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_number_is_read_as_a_person_would_write_it_down(text: str, answer: str | None) -> None:
    assert extract_answer(text, "number") == answer


@pytest.mark.parametrize("kind", ["number", "latex", "choice"])
@pytest.mark.parametrize("reference", ["0", "", "None", "A", r"\emptyset"])
def test_a_missing_answer_is_never_correct(kind: AnswerKind, reference: str) -> None:
    assert not is_correct(None, reference, kind)
    assert not is_correct("", reference, kind)


def test_anywhere_reads_the_last_number_only_where_there_is_no_marker() -> None:
    text = "She sells 9 eggs and so makes $18 a day."
    assert extract_answer(text, "number") is None
    assert extract_answer(text, "number", anywhere=True) == "18"
    assert extract_answer("The answer is 7. That took 3 steps.", "number", anywhere=True) == "7"
    assert extract_answer("so $x = 3$ and $y = \\frac{1}{2}$.", "latex", anywhere=True) == "y = \\frac{1}{2}"
    assert extract_answer("I would pick (C) here.", "choice", anywhere=True) == "C"


@pytest.mark.parametrize(
    ("text", "reference", "kind", "right"),
    [
        ("The answer is $45 for 3 shirts.", "45", "number", True),
        ("#### 45 for 3 shirts", "45", "number", True),
        ("The answer is 525 miles for 3 days.", "525", "number", True),
        ("The answer is 12 into 3 boxes.", "12", "number", True),
        ("The answer is 5 or 10.", "5", "number", False),
        ("The answer is 5 apples and 10 pears.", "5", "number", False),
        ("The answer is 5 to 10.", "5", "number", False),
        ("The answer is (C).", "C", "choice", True),
        ("The answer is (C), as (D) is no number.", "C", "choice", True),
        ("The answer is C or D.", "C", "choice", False),
        ("The answer is (C), (D).", "C", "choice", False),
        ("The answer is C, D", "C", "choice", False),
        ("The answer is C/D.", "C", "choice", False),
        ("The answer is (C) (D).", "C", "choice", False),
    ],
    ids=str,
)  # fmt: skip
def test_two_answers_are_none_and_one_with_what_it_is_for_is_one(
    text: str, reference: str, kind: AnswerKind, right: bool
) -> None:
    assert is_correct(extract_answer(text, kind), reference, kind) is right


def test_a_question_that_the_model_makes_up_is_not_read() -> None:
    own = "Step 1: 2 + 2 = 4. The answer is 4."
    for runaway in ("\n\nQuestion: next\nThe answer is 9.", "\nQ: next\nA: 9", " Question: next. The answer is 9."):
        assert extract_answer(own + runaway, "number") == "4"
    assert extract_answer("Question: what is 2 + 2?\nThe answer is 4.", "number") == "4"


def _spellings(value: Fraction, rng: random.Random) -> list[str]:
    top, bottom = value.numerator, value.denominator
    times = rng.randint(2, 9)
    texts = [f"{top}/{bottom}", f"{top * times}/{bottom * times}", rf"\frac{{{top}}}{{{bottom}}}"]
    texts.append(f"{'-' if top < 0 else ''}\\dfrac{{{abs(top)}}}{{{bottom}}}")
    if bottom in {1, 2, 4, 5, 8, 10, 20}:
        decimal = f"{top / bottom:.3f}" if abs(top) < 10**6 else f"{top // bottom}"
        if Fraction(decimal) == value:
            texts += [decimal, f"${decimal}", f"{decimal} units", f"{decimal}0" if "." in decimal else decimal]
            texts.append(f"{int(value * 100)}%" if (value * 100).denominator == 1 else decimal)
    if bottom == 1:
        texts += [f"{top:,}", f"{top:,}".replace(",", "{,}"), f"{top}.0", f"**{top}**"]
    if bottom > 1 and abs(top) > bottom:
        whole, rest = divmod(abs(top), bottom)
        texts.append(f"{'-' if top < 0 else ''}{whole} {rest}/{bottom}")
    return texts


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    top=st.integers(-(10**7), 10**7),
    bottom=st.sampled_from([1, 1, 2, 3, 4, 5, 7, 8, 10, 12]),
    off=st.sampled_from([Fraction(1), Fraction(-1), Fraction(1, 3), Fraction(-2, 7), Fraction(1, 100)]),
    rng=st.randoms(use_true_random=False),
)
def test_equal_values_grade_equal_and_different_ones_different(
    top: int, bottom: int, off: Fraction, rng: random.Random
) -> None:
    value = Fraction(top, bottom)
    for reference in _spellings(value, rng)[:2]:
        for text in _spellings(value, rng):
            answer = extract_answer(f"The answer is {text}.", "number")
            assert is_correct(answer, reference, "number"), (text, answer, reference)
        for text in _spellings(value + off, rng):
            if "%" in text:
                continue  # 50% is also 50
            answer = extract_answer(f"The answer is {text}.", "number")
            assert not is_correct(answer, reference, "number"), (text, answer, reference)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(top=st.integers(-999, 999), bottom=st.integers(1, 99), off=st.sampled_from([1, -1, 10]))
def test_equal_latex_fractions_grade_equal_and_different_ones_different(top: int, bottom: int, off: int) -> None:
    sign, size = ("-" if top < 0 else ""), abs(top)
    reference = f"{sign}\\frac{{{size}}}{{{bottom}}}"
    for text in (
        f"{sign}\\dfrac{{{size}}}{{{bottom}}}",
        f"{top}/{bottom}",
        f"x = \\frac{{{top}}}{{{bottom}}}",
        f"\\frac{{{3 * top}}}{{{3 * bottom}}}",
        f"{sign} \\tfrac {{ {size} }} {{ {bottom} }} \\text{{ cm}}",
    ):
        assert is_correct(extract_answer(f"So \\boxed{{{text}}}.", "latex"), reference, "latex"), text
        assert not is_correct(text, f"\\frac{{{top + off}}}{{{bottom}}}", "latex"), text


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=200), st.sampled_from(["number", "latex", "choice"]))
def test_no_text_makes_the_grader_raise(text: str, kind: AnswerKind) -> None:
    for framed in (text, f"The answer is {text}", f"\\boxed{{{text}}}", f"#### {text}"):
        answer = extract_answer(framed, kind, anywhere=True)
        is_correct(answer, text, kind)
        is_correct_authors(framed, text, kind)


def test_no_rounding_makes_two_numbers_equal() -> None:
    assert not is_correct("0.1000000000000000055511151231257827", "0.1", "number")
    assert not is_correct("9007199254740993", "9007199254740992", "number")
    assert not is_correct("0.333333333333333333", "1/3", "number")
    assert is_correct("1/3", "2/6", "number")


HOSTILE = {
    "a megabyte of braces": "{" * 1_000_000,
    "nested fractions": "\\frac{" * 10_000 + "1" + "}{2}" * 10_000,
    "a sum without end": "\\sum_{n=1}^{\\infty" * 500,
    "NUL": "\x00" * 10_000,
    "lone surrogates": "\ud800\udfff" * 5_000,
    "right-to-left marks": "\u202e18\u202c" * 5_000,
    "many digits": "9" * 1_000_000,
    "many commas": "1," * 500_000,
    "many equals": "1=" * 500_000,
    "many boxes": "\\boxed{" * 100_000,
    "many markers": "The answer is " * 70_000,
    "many spaces": " " * 1_000_000,
    "many dollars": "$" * 1_000_000,
    "many stars": "*" * 1_000_000,
    "many answers": "answer to " * 100_000,
    "many brackets": "(" * 100_000,
    "a large exponent": "1e999999999",
    "many line breaks": "\n" * 1_000_000,
    "many signs": "-" * 100_000,
    "many slashes": "1/" * 100_000,
    "backslashes": "\\" * 1_000_000,
    "spaced digits": "1 " * 500_000,
    "answer words": "answer " * 100_000,
    "many questions": "x" + "\nQ1:" * 60_000,
}


@pytest.mark.parametrize("kind", ["number", "latex", "choice"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_answered_at_once(text: str, kind: AnswerKind) -> None:
    start = time.perf_counter()
    for framed in (text, f"The answer is {text}.", f"\\boxed{{{text}}}", f"The answer is {text} = 18", f"#### {text}"):
        answer = extract_answer(framed, kind, anywhere=True)
        assert not is_correct(answer, "123456", kind)
        is_correct(text, "x^2 + 1", kind)
        is_correct_authors(framed, "123456", kind)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("text", "reference", "ours", "theirs"),
    [
        ("The answer is 5 and 10.", "510", False, True),
        ("The answer is **18**.", "18", True, False),
        ("#### 18", "18", True, False),
        ("I do not know.", "0", False, True),
        ("The answer is 20 - 8 - 7 = 5.", "5", True, True),
        ("The answer is $1,000.", "1000", True, True),
        ("The answer is 1/4.", "0.25", True, True),
        ("The answer is: 18", "18", True, True),
        ("The answer is 2**9999.", "0", False, True),
        ("The answer is 50% of 20.", "0", False, True),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_the_two_graders_differ_where_the_authors_rules_are_weak(
    text: str, reference: str, ours: bool, theirs: bool
) -> None:
    assert is_correct(extract_answer(text, "number"), reference, "number") is ours
    assert is_correct_authors(text, reference, "number") is theirs


@pytest.mark.parametrize(
    ("text", "reference", "theirs"),
    [
        (r"so \boxed{\dfrac12}", r"\frac{1}{2}", True),
        (r"The answer is $\frac{1}{2}$.", "1/2", True),
        ("The answer is 0.5.", "1/2", True),
        ("The answer is 0.25.", "1/4", False),
        ("The answer is 2+x.", "x+2", False),
        (r"\boxed{x=4}", "4", True),
        (r"\boxed{575\text{ students}}", "575", True),
        ("nothing", "", False),
        (r"\boxed{30^\circ}", "30", True),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_the_authors_compare_latex_as_text(text: str, reference: str, theirs: bool) -> None:
    assert is_correct_authors(text, reference, "latex") is theirs


def _rows(*parts: str) -> list[dict[str, str]]:
    with Path(str(PUBLIC), *parts).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@needs_data
def test_every_gsm8k_solution_is_right_against_its_own_reference() -> None:
    rows = _rows("gsm8k", "train.jsonl") + _rows("gsm8k", "test.jsonl")
    assert len(rows) == 8_792
    for row in rows:
        reference = row["answer"].rsplit("####", 1)[1].strip()
        assert is_correct(extract_answer(row["answer"], "number"), reference, "number"), row["answer"]


@needs_data
def test_every_math_solution_is_right_against_its_own_reference() -> None:
    rows = _rows("math", "test.jsonl")
    assert len(rows) == 5_000
    for row in rows:
        reference = boxed(row["solution"])
        assert reference is not None
        assert is_correct(extract_answer(row["solution"], "latex"), reference, "latex"), row["solution"]
