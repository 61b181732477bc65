"""What else a sum may mean that is false by its bare numbers: units, magnitudes, percent in words, "twice 3".

`2 hours + 30 minutes = 150 minutes` is true, and `2 hours + 30 minutes = 140 minutes` false in every reading. Only a
reading that makes a sum true counts, so a plain false one stays false, whatever words stand around it. Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from lema_local.answers.amounts import Number, distance, over
from lema_local.answers.number_words import spelled
from lema_local.corrections.expressions import WORD, Atom, agrees, evaluate, is_percentage

_UNITS = frozenset(
    (
        "cent",
        "dollar",
        "minute",
        "hour",
        "second",
        "day",
        "week",
        "month",
        "year",
        "dozen",
        "meter",
        "kilometer",
        "gram",
    )
)
_ROUNDING = frozenset(
    ("remainder", "rounded", "rounds", "round", "rounding", "approximately", "about", "full", "whole")
)
_RATIOS: frozenset[Number] = frozenset((7, 12, 24, 60, 100, 1000, 3600))  # weeks, dozens, days, hours, cents, kilos
# how much of the first one in its row each unit is, without the s of a plural
_SIZES: dict[str, Number] = {"percent": Fraction(1, 100), "pair": 2, "dozen": 12, "score": 20, "hundred": 100}
_SIZES |= {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_MEASURES: tuple[Mapping[str, Number], ...] = (
    {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "hr": 3600, "day": 86_400, "week": 604_800},
    {"day": 1, "month": 30, "year": 365},
    {"week": 1, "month": 4, "year": 52},
    {"month": 1, "year": 12},
    {"cent": 1, "penny": 1, "pennie": 1, "nickel": 5, "dime": 10, "quarter": 25, "dollar": 100},
    {"inch": 1, "inche": 1, "foot": 12, "feet": 12, "ft": 12, "yard": 36, "mile": 63_360},
    {"mm": 1, "cm": 10, "centimeter": 10, "meter": 1000, "km": 10**6, "kilometer": 10**6},
    {"ounce": 1, "oz": 1, "pound": 16, "lb": 16, "ton": 32_000},
    {"ounce": 1, "oz": 1, "cup": 8, "pint": 16, "quart": 32, "gallon": 128},
    {"mg": 1, "milligram": 1, "gram": 1000, "kg": 10**6, "kilogram": 10**6},
    {"ml": 1, "milliliter": 1, "liter": 1000},
)
_TIMES = {"twice": "2", "double": "2", "triple": "3", "thrice": "3"}

_UNIT = re.compile(r"[ -]?([A-Za-z]{2,20})")
_MORE = re.compile(r",?(?: and)? \d{1,9}(?:\.\d{1,9})?[ -]?([A-Za-z]{2,20})")  # 1 hour AND 30 MINUTES
_MORE_BEFORE = re.compile(r"\d[ -]?([A-Za-z]{2,20}),?(?: and)? $")
_RATE = re.compile(r"(?:/ ?|\bper )([A-Za-z]{2,20})")  # 12 inches/foot
# right before a number: twice, half of the, a third of, two thirds of
_MULTIPLE = re.compile(
    r"\b((?:(?:an?|one|two|three|four)[ -])?(twice|double|triple|thrice|half|(?:third|quarter|fourth|fifth|tenth)s?)) "
    r"(?:of )?(?:the )?$",
    re.IGNORECASE,
)
_POWER = re.compile(r"[ -](?:squared|cubed|factorial|raised to|to the (?:\w{2,10} )?power)\b", re.IGNORECASE)
_FUNCTION = re.compile(
    r"\b(?:sqrt|cbrt|(?:root|square|cube|power|factorial|log|logarithm) of(?: the)?) ?$"
    r"|\b(?:root|abs|max|min|log|ln|exp|sin|cos|tan|floor|ceil|round|gcd|lcm|factorial) ?(?P<bracket>)$",
    re.IGNORECASE,
)
_AFTER_NUMBER = re.compile(r"[\d)] $")
_BEFORE = 60  # characters before a sum that may belong to it


def is_other_unit(left: Number, right: Number, text: str) -> bool:
    """Whether the sides differ only by a unit ("50 cents * 4 = 2 dollars") or by a rounding that the text announces."""
    if not left or not right:
        return False
    words = {word.lower() for word in WORD.findall(text)}
    if words & _ROUNDING and distance(left, right) < 1:
        return True
    left, right = distance(left, 0), distance(right, 0)
    ratio = over(left, right) if left >= right else over(right, left)
    units = {word.rstrip("s") for word in words} & _UNITS
    return (len(units) > 1 and ratio in _RATIOS) or ("cent" in units and ratio == 100)


def is_true_otherwise(text: str, left: Sequence[Atom], stated: Sequence[Atom], start: int) -> bool:
    """Whether a sum of the piece of text that begins at `start` is true in a reading of its words."""
    readings = (*_multiplied(text, left, start), *_converted(text, left, stated))
    result = evaluate(stated)
    return result is not None and any(
        value is not None and agrees(value, result, stated[-1].text) for value in readings
    )


def is_unreadable(text: str, left: Sequence[Atom], stated: Sequence[Atom], start: int) -> bool:
    """Whether a sum has a part that is not read: a function, a power, "1 hour 30 minutes", 50 + 10% + 3, a remark."""
    before = text[max(start, left[0].start - _BEFORE) : left[0].start]
    function = _FUNCTION.search(before)
    if function and (function["bracket"] is None or left[0].kind == "("):
        return True  # sqrt(9 + 16)
    if any(_POWER.match(text, atom.end) for atom in (*left, *stated) if atom.kind in ("num", ")")):
        return True  # 5 squared + 2
    first = next(atom for atom in left if atom.kind == "num")
    if (more := _MORE_BEFORE.search(before)) and _is_larger(more[1].lower(), _unit(text, first)):
        return True  # 1 hour 30 minutes + 15 minutes
    unit = _UNIT.match(text, stated[-1].end)
    if unit and (more := _MORE.match(text, unit.end())) and _is_larger(unit[1].lower(), more[1].lower()):
        return True
    between = zip(left, left[1:], left[2:], strict=False)
    if any(is_percentage(b) and a.text in ("+", "-") and c.text in ("+", "-") for a, b, c in between):
        return not all(is_percentage(atom) for atom in left if atom.kind == "num")
    # 12 (from 3 miles) + 1 (from 1/4 mile) = 13
    is_bracket = left[0].kind == "(" and _AFTER_NUMBER.search(before) is not None
    return is_bracket and WORD.search(text, left[0].start, left[-1].end) is not None


def _multiplied(text: str, left: Sequence[Atom], start: int) -> Iterator[Number | None]:
    """Half of 10 + 4: half of the first number, and of the whole."""
    words = _MULTIPLE.search(text, max(start, left[0].start - _BEFORE), left[0].start)
    if not words:
        return
    factor = _TIMES.get(words[2].lower()) or spelled(words[1])
    if factor:
        by = Fraction(factor)
        yield evaluate([replace(left[0], value=left[0].value * by), *left[1:]])
        whole = evaluate(left)
        yield None if whole is None else whole * by


def _converted(text: str, left: Sequence[Atom], stated: Sequence[Atom]) -> Iterator[Number | None]:
    """The left side in the unit of the result; a number without a unit may be of any that stands in the sum."""
    units = [_unit(text, atom) for atom in (*left, *stated)]
    if not any(units):
        return
    rates = {word.removesuffix("s") for word in _RATE.findall(text, left[0].start, stated[-1].end + _BEFORE)}
    for table in (_SIZES, *_MEASURES):
        present = {table[unit] for unit in units if unit in table}
        bases: set[Number] = present if len(present) > 1 else set()  # one unit alone changes nothing
        if table is _SIZES:  # but a number without one counts ones; 3 * 22 = 33 pairs is a slip, and no 66 of them
            bases = {1} if present and units[-1] != "pair" else set()
        # 5 feet * 12 inches/foot is converted already, and so is 5 feet * 12 inches
        if not bases or rates & table.keys() or _has_product_of(table, left, units):
            continue
        for base in bases:
            scales = [over(table.get(unit, base), base) for unit in units]
            value = evaluate([_scaled(left, i, scales[i]) for i in range(len(left))])
            yield None if value is None else over(value, scales[-1])


def _has_product_of(table: Mapping[str, Number], left: Sequence[Atom], units: Sequence[str]) -> bool:
    return any(left[i].text == "*" and units[i - 1] in table and units[i + 1] in table for i in range(1, len(left) - 1))


def _scaled(atoms: Sequence[Atom], at: int, scale: Number) -> Atom:
    atom = atoms[at]
    is_divisor = at > 0 and atoms[at - 1].is_tight  # 1/2 hour
    return replace(atom, value=over(atom.value, scale) if is_divisor else atom.value * scale)


def _unit(text: str, atom: Atom) -> str:
    """The unit of a number, in one of the forms of the tables; "" for what has none."""
    if atom.kind != "num" or atom.start == atom.end:
        return ""
    if atom.text[0] in "$€£":
        return "dollar"
    found = _UNIT.match(text, atom.end)
    return found[1].lower().removesuffix("s") if found else ""


def _is_larger(unit: str, than: str) -> bool:
    unit, than = unit.removesuffix("s"), than.removesuffix("s")
    return any(table[unit] > table[than] for table in _MEASURES if unit in table and than in table)
