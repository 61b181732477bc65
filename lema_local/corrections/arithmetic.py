"""The sums that a line of prose does, with exact values: what steps are checked by.

`Then 240 nuts / 4 nuts/minute = 60 minutes` does 240 / 4 = 60. Units, currency, commas, percent, "half of", 2/3 and
2(11) are read; a line with variables, dangling operators or mixed numbers is left alone, because a sum read wrongly
would call a right step wrong. Pure, no eval; one pass over at most 2,000 characters.

    >>> [(c.expression, c.value, c.result, c.is_true) for c in claims("So 3 * $4 = $15, and 15 - 2 = 13.")]
    [('3 * $4', 12, 15, False), ('15 - 2', 13, 13, True)]
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from lema_local.answers.amounts import MAX_CHARACTERS, Number, amount, distance, over

_MAX_ATOMS = 60

_TOKEN = re.compile(
    r"(?P<num>[$€£¥]?(?:\d{1,3}(?:,\d{3}){1,4}(?!\d)|\d{1,15})(?:\.\d{1,20})?%?|[$€£¥]?\.\d{1,20}%?)"
    r"|(?P<hyphen>(?<=[^\W_])-(?=[^\W\d_]))"  # 40-item, third-grade: no minus
    r"|(?P<time>(?<=\d):\d\d\b)"
    r"|(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)|(?P<op>[+*/×÷−–·-])|(?P<eq>=)|(?P<paren>[()])|(?P<stop>[.,;:!?\n])|(?P<odd>\S)"
)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_PIECE_END = re.compile(r"[.,;:!?](?=\s)|\n")
# a piece with one plain sum and words around it, which most steps are: read at once
_AMOUNT = r"[$€£¥]?(?:(?:\d{1,3}(?:,\d{3}){1,4}|\d{1,15})(?:\.\d{1,20})?|\.\d{1,20})"
_PLAIN_WORD = r"(?:(?!(?:half|x|times|plus|minus|of|and)\b)[A-Za-z]{2,30}|[AaI])"
_OPERAND = rf"{_AMOUNT}(?: {_PLAIN_WORD}){{0,3}}(?:/[A-Za-z]{{2,30}})?"  # 4 nuts/minute
_PLAIN_SUM = re.compile(
    rf"\s?(?:(?:{_AMOUNT} {_PLAIN_WORD}|{_PLAIN_WORD}|of|and)[:,]? ){{0,40}}"
    rf"({_OPERAND}(?: [+*/x-] {_OPERAND}){{1,6}}) ?= ?({_AMOUNT})"
    r"(?: (?:[A-Za-z]{2,30}|[AaI])(?:/[A-Za-z]{2,30})?){0,40}[.,;:!?]?$"
)
_OPERATION = re.compile(rf"(?:^| ([+*/x-]) )({_AMOUNT})")
_LEAD = re.compile(rf"\s?(?:(?:{_PLAIN_WORD}|of|and) ){{1,40}}(?=[\d$])")  # says nothing: need not be tokenised
_MODULO = re.compile(r"\bp?mod\b")  # 7 * 3 = 1 (mod 5)
_OPS = {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"}
_OP_WORDS = {"x": "*", "X": "*", "times": "*", "plus": "+", "minus": "-"}
_FILLERS = {"about", "approximately", "only", "a", "total", "of", "the", "just"}
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


@dataclass(frozen=True, slots=True)
class Claim:
    """A sum that a step does: `24 / 2 = 12` (units and currency left out), with what its left side really is."""

    expression: str
    operands: tuple[Number, ...]
    value: Number
    result: Number
    is_true: bool
    end: int  # offset in the text just after the result
    key: tuple[tuple[Number, ...], Number] = (
        (),
        0,
    )  # what makes two sums the same, whatever the order they are said in

    def __post_init__(self) -> None:
        # once for all: claims are cached, and compared with each other many times
        object.__setattr__(self, "key", (tuple(sorted(self.operands)), self.result))


@dataclass(frozen=True, slots=True)
class _Atom:
    kind: str  # num, op, (, )
    text: str
    start: int
    end: int
    value: Number = 0
    is_tight: bool = False  # the slash of 2/3, written without spaces


def _evaluate(atoms: Sequence[_Atom], *, percent: bool, tight: bool) -> Number | None:
    """The value of a whole expression; percent: 5% is 0.05; tight: 12 / 2/3 is 12 / (2/3)."""
    values: list[Number] = []
    pending: list[str] = []
    rank = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2, "tight": 3}

    def reduce() -> None:
        op, right, left = pending.pop(), values.pop(), values.pop()
        values.append(
            left + right
            if op == "+"
            else left - right
            if op == "-"
            else left * right
            if op == "*"
            else over(left, right)
        )

    try:
        for atom in atoms:
            if atom.kind == "num":
                values.append(over(atom.value, 100) if percent and atom.text.endswith("%") else atom.value)
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


def _values(atoms: Sequence[_Atom], tight: tuple[bool, ...] = (True,)) -> list[Number]:
    """The values that an expression may be read to have: 5% as 0.05 and as 5, and 12 / 2/3 in both ways."""
    percents = (True, False) if any(atom.text.endswith("%") for atom in atoms) else (True,)
    ways = tight if any(atom.is_tight for atom in atoms) else tight[:1]
    readings = [_evaluate(atoms, percent=percent, tight=way) for percent in percents for way in ways]
    return [value for value in readings if value is not None]


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


def _sides(tokens: Sequence[re.Match[str]], *, is_end: bool) -> tuple[list[_Atom], list[_Atom]]:
    """(first, last) expression between two equal signs: what follows the left one, what precedes the right one
    (nothing, `is_end`, where there is no right one)."""
    first: list[_Atom] | None = None
    atoms: list[_Atom] = []
    is_ambiguous = False

    def cut(*, keep: bool = True) -> None:
        nonlocal first, atoms
        if first is None:
            first = _whole(atoms[:]) if keep else []
        atoms = []

    for i, token in enumerate(tokens):
        if is_end and first is not None:
            return first, []
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
            atoms.append(_Atom("num", text, token.start(), token.end(), amount(text)))
        elif kind == "op":
            if has_operand:
                near = after is not None and tokens[i - 1].end() == token.start() and after.start() == token.end()
                tight = text == "/" and near and atoms[-1].kind == "num"
                atoms.append(_Atom("op", _OPS.get(text, text), token.start(), token.end(), is_tight=tight))
            elif atoms or text != "-" or (i and tokens[i - 1].end() == token.start()):
                cut(keep=False)
                is_ambiguous = True
            elif after and after.start() == token.end() and (after.lastgroup == "num" or after[0] == "("):  # -5, -(5)
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
            cut(keep=kind != "time" and text not in "^_\\{}√")  # 2^3 is no 2
            is_ambiguous = kind in ("odd", "time")
    last = [] if is_ambiguous or (atoms and atoms[-1].kind in ("op", "(")) else _whole(atoms[:])
    return (_whole(atoms[:]) if first is None else first), last


def _agrees(left: Number, right: Number, written: str) -> bool:
    """Equal, or the left side rounded (or cut) to the two or more decimals that are written, or to one when rounded."""
    decimals = len(written.rstrip("%").partition(".")[2])
    if not decimals:
        return left == right
    slack = Fraction(1, 2 * 10) if decimals == 1 else Fraction(1, 10**decimals)
    return distance(left, right) <= slack


def _is_other_unit(left: Number, right: Number, text: str) -> bool:
    """Whether the sides differ only by a unit ("50 cents * 4 = 2 dollars") or by a rounding that the text announces."""
    if not left or not right:
        return False
    words = {word.lower() for word in _WORD.findall(text)}
    if words & _ROUNDING and distance(left, right) < 1:
        return True
    left, right = distance(left, 0), distance(right, 0)
    ratio = over(left, right) if left >= right else over(right, left)
    units = {word.rstrip("s") for word in words} & _UNITS
    return (len(units) > 1 and ratio in _RATIOS) or ("cent" in units and ratio == 100)


@lru_cache(maxsize=1 << 14)
def claims(text: str) -> tuple[Claim, ...]:
    """The sums that a text does, in order; a sum that cannot be read for certain is left out, never guessed."""
    if "=" not in text or _MODULO.search(text):
        return ()
    text = text[:MAX_CHARACTERS]
    found: list[Claim] = []
    start = 0
    for stop in (*(match.end() for match in _PIECE_END.finditer(text)), len(text)):
        if "=" in text[start:stop]:  # no sum goes over a stop: most of a text need not be looked at
            plain = _PLAIN_SUM.match(text[start:stop])
            claim = _plain_claim(plain, text, start) if plain else None
            found += [claim] if claim else _claims(text, start, stop)
        start = stop
    return tuple(found)


def _plain_claim(match: re.Match[str], text: str, start: int) -> Claim | None:
    """A sum of plain numbers; what _claims would read, at a fraction of its cost. None: it divides by zero."""
    (_, first), *rest = _OPERATION.findall(match[1])
    operands = [amount(first)]
    terms = [operands[0]]
    expression = first
    try:
        for sign, written in rest:
            op = "*" if sign == "x" else sign
            operands.append(amount(written))
            expression += f" {op} {written}"
            if op == "*":
                terms[-1] *= operands[-1]
            elif op == "/":
                terms[-1] = over(terms[-1], operands[-1])
            else:
                terms.append(operands[-1] if op == "+" else -operands[-1])
    except ZeroDivisionError:
        return None
    value, result = sum(terms), amount(match[2])
    is_true = _agrees(value, result, match[2]) or _is_other_unit(value, result, text)
    return Claim(expression, tuple(operands), value, result, is_true, start + match.end(2))


def _claims(text: str, start: int, stop: int) -> list[Claim]:
    """The sums of text[start:stop], a piece between stops."""
    segments: list[list[re.Match[str]]] = [[]]
    lead = _LEAD.match(text, start, stop)
    for token in _TOKEN.finditer(text, lead.end() if lead else start, stop):
        if token.lastgroup == "eq":
            segments.append([])
        else:
            segments[-1].append(token)
    sides = [_sides(segment, is_end=segment is segments[-1]) for segment in segments]
    found: list[Claim] = []
    for (_, left), (right, _) in pairwise(sides):
        if not right or not any(a.kind == "op" for a in left):
            continue
        values = _values(left, tight=(True, False))
        # what is asserted is the first number, or the fraction, after the sign: "= 2/3 miles", "= 12 + 5 = 17"
        stated = right[
            : 3 if len(right) > 2 and right[1].is_tight else 1 if right[0].text != "0" or len(right) < 3 else 3
        ]
        asserted = _values(stated) + (_values(right) if len(right) != len(stated) else [])
        if (
            not values
            or not asserted
            or (len(left) == 3 and left[1].is_tight and 0 < values[0] < 1 and _WORD.search(text))
        ):
            continue  # "1/2 a cup = 4 ounces" is no sum
        is_true = any(_agrees(v, r, stated[-1].text) for v in values for r in asserted)
        is_true = is_true or _is_other_unit(values[0], asserted[0], text)
        expression = "".join(
            a.text if a.kind != "op" or a.is_tight else f" {a.text} "
            for a in left
            if a.start != a.end or a.kind == "op"
        )
        result = asserted[1] if stated[-1].text.endswith("%") and len(asserted) > 1 else asserted[0]
        operands = tuple(a.value for a in left if a.kind == "num")
        found.append(Claim(" ".join(expression.split()), operands, values[0], result, is_true, stated[-1].end))
    return found
