r"""One row of a data set to one Problem, by a field mapping. Pure.

A row of the original MATH folder

    {"problem": "...", "level": "Level 3", "type": "Algebra", "solution": "... $\\boxed{2}$."}

becomes

    Problem(question="...", answer="2", kind="latex", solution="...", level="Level 3", subject="Algebra", ...)

Rows come from files that anyone may have written: patterns are linear, and what cannot be used says why.
"""

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from lema_local.answers.numerals import GROUPED
from lema_local.errors import did_you_mean
from lema_local.problems.boxes import boxed_reference, last_boxed
from lema_local.problems.datasets import Style
from lema_local.records.types import Problem

LETTERS = "ABCDE"  # what answers/exact.py reads as an option

# a comma groups digits, or "5,10" would be 510
_NUMBER = re.compile(rf"[-+]?(?:(?:{GROUPED}|\d+)(?:\.\d+)?|\.\d+)(?:\s?/\s?\d+)?%?")
_SCIENTIFIC = re.compile(r"[-+]?\d{1,40}(?:\.\d{1,40})?[eE][-+]?\d{1,2}")  # 1e-7
_MINUS_FRACTION = re.compile(r"-\((\d+/\d+)\)")
_WITH_UNIT = re.compile(r"([-+]?[\d.,/%]+)\s*\([^()]*\)")  # ASDiv: "9 (apples)"
_POINT_ZERO = re.compile(r"(-?\d+)\.0+")
_LETTER = re.compile(r"\(?([A-E])\)?\.?", re.IGNORECASE)
_PLACE = re.compile(r"[0-9]{1,2}")
_LEVEL = re.compile(r"(?:level\s{0,3})?(\d{1,2}|\?)", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ABSENT = object()


class UnusableRowError(Exception):
    """Why a row cannot be used, in words for its BadRow."""


def problem_from_row(row: Any, styles: Sequence[Style], *, dataset: str, split: str) -> Problem:
    """The row as a problem, by the first style whose fields it fills, else has. Raises UnusableRowError."""
    if not isinstance(row, dict):
        raise UnusableRowError("not a JSON object")
    style = _style(row, styles)
    fields = style.fields
    question = _text(row, fields.question)
    solution = _text(row, fields.solution, is_optional=True) or None
    answer = _text(row, fields.answer)
    if fields.answer_form == "hashes" and (answer.startswith("####") or "\n####" in answer):
        # format from openai/grade-school-math
        solution, answer = solution or answer, answer.rpartition("####")[2].strip()
    elif fields.answer_form == "boxed":
        answer = boxed_reference(question, answer) or ""
    elif fields.answer_form == "unit" and (bare := _WITH_UNIT.fullmatch(answer)):
        answer = bare[1]
    if not question:
        raise UnusableRowError(f"no question{_missing(row, fields.question)}")
    if not answer:
        raise UnusableRowError(f"no final answer{_missing(row, fields.answer)}")
    if style.kind == "number":
        answer = _number(answer, fractions=style.fractions)
    elif style.kind == "latex" and solution and answer == last_boxed(solution):  # a field made of the last box
        answer = boxed_reference(question, solution) or answer
    choices = _choices(row, fields.choices) if style.kind != "number" else None
    if choices is not None:
        options = _options(choices)
        if fields.answer_form == "index":
            right = _place(answer, len(options))
        else:
            is_integer = not isinstance(_get(row, fields.answer), str) and "." not in answer  # 1.0 is "1" by now
            right = _right_option(answer, options, is_integer=is_integer)
        question, answer = _with_options(question, options), LETTERS[right]
    elif fields.choices and style.kind == "choice":
        raise UnusableRowError(f"no options{_missing(row, fields.choices)}")
    elif fields.answer_form == "index":
        raise UnusableRowError('answer_form = "index" is for options: give choices in [data.fields], kind = "choice"')
    elif style.kind == "choice":
        answer = _letter(answer)
    level = _level(_text(row, fields.level, is_optional=True))
    subject = _text(row, fields.subject, is_optional=True) or None
    if _SURROGATE.search(f"{question}{answer}{solution}{level}{subject}"):
        raise UnusableRowError("half a character (a lone surrogate) in its text")
    return Problem(dataset, split, question, answer, style.kind, solution=solution, level=level, subject=subject)


def _style(row: dict[str, Any], styles: Sequence[Style]) -> Style:
    """The first style whose question, answer and options the row fills: Parquet has the fields of all rows in each."""
    there = [style for style in styles if has(row, style.fields.question) and has(row, style.fields.answer)]
    filled = [s for s in there if _has_text(row, s.fields.question) and _has_text(row, s.fields.answer)]
    fit = (s for s in filled if s.fields.choices is None or _is_filled(_choices(row, s.fields.choices)))
    return next(fit, there[0] if there else styles[-1])


def has(row: dict[str, Any], expression: str | None) -> bool:
    """Whether a row has the fields of an expression such as "Body + Question", "problem | question" or "a.b"."""
    return expression is not None and bool(_alternatives(row, expression))


def _alternatives(row: dict[str, Any], expression: str) -> list[tuple[str, list[Any]]]:
    """The alternatives of an expression that a row has, each with the values that it joins."""
    found = [(name, [_look(row, part) for part in name.split(" + ")]) for name in expression.split(" | ")]
    return [(name, values) for name, values in found if _ABSENT not in values]


def _has_text(row: dict[str, Any], expression: str) -> bool:
    return any(_hold_text(values) for _, values in _alternatives(row, expression))


def _get(row: dict[str, Any], expression: str) -> Any:
    """The value of an expression, _ABSENT where the row lacks a field of it. A join is text."""
    return _find(row, expression)[1]


def _find(row: dict[str, Any], expression: str) -> tuple[str, Any]:
    """The first alternative that holds text or a number, else the first that is there; and its value."""
    there = _alternatives(row, expression)
    if not there:
        return "", _ABSENT
    name, values = next((one for one in there if _hold_text(one[1])), there[0])
    return name, _joined(name, values)


def _joined(name: str, values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else _join([_as_text(value, name) for value in values])


def _hold_text(values: list[Any]) -> bool:
    """Whether joined fields do: the last, the question itself, does, and none of the others is null."""
    return _is_text(values[-1]) and not any(value is None or _is_nan(value) for value in values)


def _is_text(value: Any) -> bool:
    """Whether it is what text can be made of: no null, NaN, white space, list or struct."""
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and not isinstance(value, list | dict) and not _is_nan(value)


def _choices(row: dict[str, Any], expression: str | None) -> Any:
    """The first alternative that is a filled list or struct, else what else is there for options; None for nothing."""
    found = [_joined(name, values) for name, values in _alternatives(row, expression)] if expression else []
    return next(filter(_is_filled, found), None) or next(filter(_is_text, found), None)


def _is_filled(value: Any) -> bool:
    """A list with items, or a struct that is not one of nulls, as Parquet may have where there is none."""
    return any(value.values()) if isinstance(value, dict) else isinstance(value, list) and bool(value)


def _look(row: dict[str, Any], name: str) -> Any:
    name = name.strip()
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def _missing(row: dict[str, Any], expression: str) -> str:
    """ " (no field ...)" for a field that a row lacks, with the nearest that it has."""
    if has(row, expression):
        return ""
    first = next(n.strip() for n in expression.split(" | ")[0].split(" + ") if _look(row, n) is _ABSENT)
    names = ", ".join(str(name)[:30] for name in list(row)[:8])
    return f" (it has no field {first!r}{did_you_mean(first, map(str, list(row)[:50]))}; its fields: {names})"


def _text(row: dict[str, Any], expression: str | None, *, is_optional: bool = False) -> str:
    """A field as text; NaN, as table tools write what is missing, is nothing in a field that may be missing."""
    name, value = _find(row, expression) if expression else ("", _ABSENT)
    return "" if value is _ABSENT or (is_optional and _is_nan(value)) else _as_text(value, name)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | Decimal) and math.isnan(value)


def _as_text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise UnusableRowError(f"{name} is {type(value).__name__}, not text")
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            raise UnusableRowError(f"{name} is {str(value).lower()}")
        return _digits(Decimal(str(value)))
    try:
        return str(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        raise UnusableRowError(f"{name} is a number of thousands of digits") from None


def _digits(value: Decimal) -> str:
    """All digits, without an exponent and without zeros that say nothing: 0.0000001 for 1e-7, 12.5 for 12.50."""
    text = f"{value:f}" if value else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _join(texts: list[str]) -> str:
    """Texts as sentences: SVAMP leaves the full stop off some bodies. Nothing without the last, the question itself."""
    closed = [text if text[-1] in ".!?,:;" else f"{text}." for text in texts[:-1] if text]
    return " ".join([*closed, texts[-1]]) if texts[-1] else ""


def _number(answer: str, *, fractions: bool) -> str:
    """The answer as plain digits: no commas, no currency sign; UnusableRowError if it is no number."""
    bare = answer.removeprefix("$").removeprefix("€").removeprefix("£").strip()
    bare = _MINUS_FRACTION.sub(r"-\1", bare)
    if _SCIENTIFIC.fullmatch(bare):
        return _digits(Decimal(bare))
    if not _NUMBER.fullmatch(bare):
        raise UnusableRowError(f"its answer is not a number: {answer[:40]!r}")
    if "/" in bare and not fractions:
        raise UnusableRowError(f"its answer is a fraction, which this data set's published count leaves out: {bare!r}")
    plain = bare.replace(",", "").replace(" ", "").removeprefix("+")
    whole = _POINT_ZERO.fullmatch(plain)
    return whole[1] if whole else plain


def _level(text: str) -> str | None:
    """A bare 3 is "Level 3", as MATH has it; its "Level ?" is no level. Other words stay."""
    match = _LEVEL.fullmatch(text)
    if match is None:
        return text or None
    return None if match[1] == "?" else f"Level {match[1]}"


def _options(value: Any) -> list[tuple[str, str]]:
    """(label, text) of each option: {"label": [...], "text": [...]}, [{"label": ..., "text": ...}] or plain texts."""
    if isinstance(value, dict) and isinstance(value.get("label"), list) and isinstance(value.get("text"), list):
        if len(value["label"]) != len(value["text"]):
            raise UnusableRowError("its options have other labels than texts")
        pairs = list(zip(value["label"], value["text"], strict=True))
    elif isinstance(value, list) and all(isinstance(item, dict) and {"label", "text"} <= item.keys() for item in value):
        pairs = [(item["label"], item["text"]) for item in value]
    elif isinstance(value, list):
        pairs = [(chr(ord("A") + i), text) for i, text in enumerate(value[:26])]
    else:
        raise UnusableRowError(f"its options are {type(value).__name__}, not a list")
    if not 2 <= len(pairs) <= len(LETTERS):
        raise UnusableRowError(f"it has {len(pairs)} options: 2 to {len(LETTERS)} (A to E) can be graded")
    return [(_as_text(label, "label"), _as_text(text, "option")) for label, text in pairs]


def _place(answer: str, count: int) -> int:
    """An answer that is the place of an option."""
    if not _PLACE.fullmatch(answer) or int(answer) >= count:
        raise UnusableRowError(f"its answer {answer[:40]!r} is no place of its {count} options, 0 to {count - 1}")
    return int(answer)


def _right_option(answer: str, options: list[tuple[str, str]], *, is_integer: bool) -> int:
    """The place of the option that an answer names by its label, else by its text."""
    right = [i for i, (label, _) in enumerate(options) if label == answer]
    if not right and is_integer:  # a text such as "1" may be another option than the one at that place
        raise UnusableRowError(
            f"its answer {answer[:40]} is a number and no label of an option: give "
            'answer_form = "index" in [data.fields] if it counts from 0, else the option as text'
        )
    right = right or [i for i, (_, text) in enumerate(options) if text == answer]
    if len(right) != 1:
        raise UnusableRowError(f"its answer {answer[:40]!r} is none of its options, or several")
    return right[0]


def _with_options(question: str, options: list[tuple[str, str]]) -> str:
    """The question with its options, lettered A to E whatever their labels."""
    lines = [f"({LETTERS[i]}) {' '.join(text.split())}" for i, (_, text) in enumerate(options)]
    return "\n".join([question, *lines])


def _letter(answer: str) -> str:
    """The letter of an option that stands in the question: B for "(B)", "b" and "B."."""
    letter = _LETTER.fullmatch(answer)
    if letter is None:
        raise UnusableRowError(f"its answer {answer[:40]!r} is no letter A to {LETTERS[-1]}, and it has no options")
    return letter[1].upper()
