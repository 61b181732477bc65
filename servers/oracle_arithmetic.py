"""The sums that a line of prose does, with exact values: what the oracle checks steps by.

`Then 240 nuts / 4 nuts/minute = 60 minutes` does 240 / 4 = 60. Units, currency, commas, percent, "half of", 2/3 and
2(11) are read; a line with variables, dangling operators or mixed numbers is left alone, because a sum read wrongly
would call a right step wrong. Pure, no eval; one pass over at most 2,000 characters.

    >>> [(c.expression, show(c.value), show(c.result), c.is_true) for c in claims("So 3 * $4 = $15, and 15 - 2 = 13.")]
    [('3 * $4', '12', '15', False), ('15 - 2', '13', '13', True)]
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

MAX_CHARACTERS, _MAX_ATOMS = 2000, 60

_TOKEN = re.compile(
    r"(?P<num>[$€£¥]?(?:\d{1,3}(?:,\d{3}){1,4}(?!\d)|\d{1,15})(?:\.\d{1,20})?%?|[$€£¥]?\.\d{1,20}%?)"
    r"|(?P<hyphen>(?<=[^\W_])-(?=[^\W\d_]))"  # 40-item, third-grade: no minus
    r"|(?P<time>(?<=\d):\d\d\b)"
    r"|(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)|(?P<op>[+*/×÷−–·-])|(?P<eq>=)|(?P<paren>[()])|(?P<stop>[.,;:!?\n])|(?P<odd>\S)"
)
_OPS = {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"}
_OP_WORDS = {"x": "*", "X": "*", "times": "*", "plus": "+", "minus": "-"}
_FILLERS = {"about", "approximately", "only", "a", "total", "of", "the", "just"}
_COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER_WORDS = {word: Fraction(i) for i, word in enumerate(_COUNTS, 1)} | {
    word: Fraction(value)
    for word, value in (
        ("half", "1/2"), ("halves", "1/2"), ("third", "1/3"), ("quarter", "1/4"), ("twice", "2"), ("double", "2"),
        ("thrice", "3"), ("triple", "3"), ("dozen", "12"),
    )
}  # fmt: skip
# numbers that everyone may use without being told: 1 and 2, percent, the clock and the calendar
COMMON = frozenset(map(Fraction, (0, 1, 2, 7, 12, 24, 52, 60, 100, 365, 1000)))
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
_RATIOS = frozenset(Fraction(n) for n in (7, 12, 24, 60, 100, 1000, 3600))  # weeks, dozens, days, hours, cents, kilos


@dataclass(frozen=True, slots=True)
class Claim:
    """A sum that a step does: `24 / 2 = 12` (units and currency left out), with what its left side really is."""

    expression: str
    operands: tuple[Fraction, ...]
    value: Fraction
    result: Fraction
    is_true: bool
    end: int  # offset in the text just after the result

    @property
    def key(self) -> tuple[tuple[Fraction, ...], Fraction]:
        return tuple(sorted(self.operands)), self.result


@dataclass(frozen=True, slots=True)
class _Atom:
    kind: str  # num, op, (, )
    text: str
    start: int
    end: int
    value: Fraction = Fraction(0)
    is_tight: bool = False  # the slash of 2/3, written without spaces


def show(number: Fraction) -> str:
    """12, 0.25, or "about 3.33" where no short decimal is exact."""
    if number.denominator == 1:
        return str(number.numerator)
    text = f"{float(number):.4f}".rstrip("0")
    return text if Fraction(text) == number else f"about {float(number):.2f}"


def _number(text: str) -> Fraction:
    return Fraction(text.lstrip("$€£¥").rstrip("%").replace(",", ""))


def numbers(text: str) -> set[Fraction]:
    """Every number in a text: digits, a/b, and words such as half or twice; a percentage also as its share."""
    found: set[Fraction] = set()
    for match in _TOKEN.finditer(text):
        if match["num"]:
            value = _number(match["num"])
            found |= (
                {value, value / 100, 1 - value / 100, 100 - value, 1 + value / 100}
                if match["num"][-1] == "%"
                else {value}
            )
        elif match["word"] and match["word"].lower() in _NUMBER_WORDS:
            found.add(_NUMBER_WORDS[match["word"].lower()])
    for top, bottom in re.findall(r"(\d{1,9})/(\d{1,9})", text):
        if int(bottom):
            found |= {Fraction(int(top), int(bottom)), 1 - Fraction(int(top), int(bottom))}
    return found


def plain_numbers(text: str) -> list[Fraction]:
    """The numbers written in digits, in reading order."""
    return [_number(match["num"]) for match in _TOKEN.finditer(text[:MAX_CHARACTERS]) if match["num"]]


def _evaluate(atoms: Sequence[_Atom], *, percent: bool, tight: bool) -> Fraction | None:
    """The value of a whole expression; percent: 5% is 0.05; tight: 12 / 2/3 is 12 / (2/3)."""
    values: list[Fraction] = []
    pending: list[str] = []
    rank = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2, "tight": 3}

    def reduce() -> None:
        op, right, left = pending.pop(), values.pop(), values.pop()
        values.append(
            left + right if op == "+" else left - right if op == "-" else left * right if op == "*" else left / right
        )

    try:
        for atom in atoms:
            if atom.kind == "num":
                values.append(atom.value / 100 if percent and atom.text.endswith("%") else atom.value)
            elif atom.kind == "(":
                pending.append("(")
            elif atom.kind == ")":
                while pending[-1] != "(":
                    reduce()
                pending.pop()
            else:
                op = "tight" if tight and atom.is_tight else atom.text
                while pending and rank[pending[-1]] >= rank[op]:
                    reduce()
                pending.append(op)
        while pending:
            reduce()
    except (IndexError, ZeroDivisionError, KeyError):
        return None
    return values[0] if len(values) == 1 else None


def _is_share(atoms: Sequence[_Atom]) -> bool:
    """Whether "of" after this number multiplies: 20% of 50, 1/2 of 98, but not 3 of 5 children."""
    return atoms[-1].text[-1] == "%" or "/" in atoms[-1].text or (len(atoms) > 1 and atoms[-2].is_tight)


def _whole(atoms: list[_Atom]) -> list[_Atom]:
    """The longest end of the list that is a complete expression: after the last bracket left open, no operator last."""
    while atoms and atoms[-1].kind in ("op", "("):
        atoms.pop()
    depth = 0
    for i in range(len(atoms) - 1, -1, -1):
        depth += (atoms[i].kind == ")") - (atoms[i].kind == "(")
        if depth < 0:
            return atoms[i + 1 :]
    return atoms if depth == 0 and len(atoms) <= _MAX_ATOMS else []


def _sides(tokens: Sequence[re.Match[str]]) -> tuple[list[_Atom], list[_Atom]]:
    """(first, last) expression between two equal signs: what follows the left one, what precedes the right one."""
    first: list[_Atom] | None = None
    atoms: list[_Atom] = []
    is_ambiguous = False

    def cut(*, keep: bool = True) -> None:
        nonlocal first, atoms
        if first is None:
            first = _whole(atoms[:]) if keep else []
        atoms = []

    for i, token in enumerate(tokens):
        kind, text = token.lastgroup or "odd", token[0]
        after = tokens[i + 1] if i + 1 < len(tokens) else None
        has_operand = bool(atoms) and atoms[-1].kind in ("num", ")")
        word = text.lower()
        if kind == "word" and word == "half" and not has_operand:
            atoms.append(_Atom("num", "1/2", token.start(), token.end(), Fraction(1, 2)))
        elif kind == "word" and has_operand and text in _OP_WORDS and after and after.lastgroup in ("num", "paren"):
            atoms.append(_Atom("op", _OP_WORDS[text], token.start(), token.end()))
        elif (
            kind == "word"
            and word == "of"
            and has_operand
            and atoms[-1].end == tokens[i - 1].end()
            and _is_share(atoms)
        ):
            atoms.append(_Atom("op", "*", token.start(), token.end()))
        elif kind == "word" and atoms and not has_operand and atoms[-1].kind == "op":
            if atoms[-1].text == "/":
                atoms.pop()  # 20 minutes/batch, $5/ball: a unit
            elif word not in _FILLERS:
                is_ambiguous = not any(t[0] == "of" for t in tokens[max(0, i - 3) : i])
                cut(keep=tokens[i - 1][0] in ("-", "of", "the"))
        elif kind == "word" and len(text) == 1 and (text not in "aAI" or (i and tokens[i - 1].end() == token.start())):
            cut(keep=False)
            is_ambiguous = True  # a variable: 2x + 40, 136 + T
        elif kind == "word" and not atoms and first is None and word not in _FILLERS:
            first = []
        elif kind == "num":
            if has_operand:
                is_mixed = atoms[-1].end == tokens[i - 1].end() or (  # 3 1/2, 10 000, 1 and 1/4
                    tokens[i - 1][0] == "and" and after is not None and after[0] == "/"
                )
                is_ambiguous = is_ambiguous or is_mixed
                cut(keep=not is_mixed)
            atoms.append(_Atom("num", text, token.start(), token.end(), _number(text)))
        elif kind == "op":
            if has_operand:
                near = after is not None and tokens[i - 1].end() == token.start() and after.start() == token.end()
                tight = text == "/" and near and atoms[-1].kind == "num"
                atoms.append(_Atom("op", _OPS.get(text, text), token.start(), token.end(), is_tight=tight))
            elif atoms or text != "-" or (i and tokens[i - 1].end() == token.start()):
                cut(keep=False)
                is_ambiguous = True
            elif after and after.lastgroup == "num" and after.start() == token.end():  # a negative number
                atoms.append(_Atom("num", "0", token.start(), token.start()))
                atoms.append(_Atom("op", "-", token.start(), token.end()))
        elif text == "(":
            if has_operand and tokens[i - 1].end() == token.start():
                atoms.append(_Atom("op", "*", token.start(), token.start()))  # 2(11)
            elif has_operand:
                cut()
            atoms.append(_Atom("(", text, token.start(), token.end()))
        elif text == ")" and has_operand and sum((a.kind == "(") - (a.kind == ")") for a in atoms) > 0:
            atoms.append(_Atom(")", text, token.start(), token.end()))
        elif kind in ("stop", "paren", "odd", "time"):
            cut(keep=kind != "time")
            is_ambiguous = kind in ("odd", "time")
    last = [] if is_ambiguous or (atoms and atoms[-1].kind in ("op", "(")) else _whole(atoms[:])
    return (_whole(atoms[:]) if first is None else first), last


def _agrees(left: Fraction, right: Fraction, written: str) -> bool:
    """Equal, or the left side rounded (or cut) to the two or more decimals that are written, or to one when rounded."""
    decimals = len(written.rstrip("%").partition(".")[2])
    slack = Fraction(0) if not decimals else Fraction(1, 2 * 10) if decimals == 1 else Fraction(1, 10**decimals)
    return abs(left - right) <= slack


def _is_other_unit(left: Fraction, right: Fraction, words: set[str]) -> bool:
    """Whether the sides differ only by a unit ("50 cents * 4 = 2 dollars") or by a rounding that the text announces."""
    if not left or not right:
        return False
    if words & _ROUNDING and abs(left - right) < 1:
        return True
    ratio = max(abs(left / right), abs(right / left))
    units = {word.rstrip("s") for word in words} & _UNITS
    return (len(units) > 1 and ratio in _RATIOS) or ("cent" in units and ratio == 100)


@lru_cache(maxsize=4096)
def claims(text: str) -> tuple[Claim, ...]:
    """The sums that a text does, in order; a sum that cannot be read for certain is left out, never guessed."""
    tokens = list(_TOKEN.finditer(text[:MAX_CHARACTERS]))
    segments: list[list[re.Match[str]]] = [[]]
    for token in tokens:
        if token.lastgroup == "eq":
            segments.append([])
        else:
            segments[-1].append(token)
    sides = [_sides(segment) for segment in segments]
    words = {token[0].lower() for token in tokens if token.lastgroup == "word"}
    found: list[Claim] = []
    for (_, left), (right, _) in pairwise(sides):
        if not right or not any(a.kind == "op" for a in left):
            continue
        readings = [(_evaluate(left, percent=p, tight=t)) for p in (True, False) for t in (True, False)]
        values = [v for v in readings if v is not None]
        # what is asserted is the first number, or the fraction, after the sign: "= 2/3 miles", "= 12 + 5 = 17"
        stated = right[
            : 3 if len(right) > 2 and right[1].is_tight else 1 if right[0].text != "0" or len(right) < 3 else 3
        ]
        results = [_evaluate(side, percent=p, tight=True) for side in (stated, right) for p in (True, False)]
        asserted = [v for v in results if v is not None]
        if not values or not asserted or (len(left) == 3 and left[1].is_tight and 0 < values[0] < 1 and words):
            continue  # "1/2 a cup = 4 ounces" is no sum
        is_true = any(_agrees(v, r, stated[-1].text) for v in values for r in asserted)
        is_true = is_true or _is_other_unit(values[0], asserted[0], words)
        expression = "".join(
            a.text if a.kind != "op" or a.is_tight else f" {a.text} "
            for a in left
            if a.start != a.end or a.kind == "op"
        )
        result = asserted[1] if stated[-1].text.endswith("%") and len(asserted) > 1 else asserted[0]
        operands = tuple(a.value for a in left if a.kind == "num")
        found.append(Claim(" ".join(expression.split()), operands, values[0], result, is_true, stated[-1].end))
    return tuple(found)
