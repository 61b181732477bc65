"""The sums that a line of prose does, with exact values: what steps are checked by.

`Then 240 nuts / 4 nuts/minute = 60 minutes` does 240 / 4 = 60. Units, currency, commas, percent, "half of", 2/3 and
2(11) are read; a line with variables, dangling operators or mixed numbers is left alone, because a sum read wrongly
would call a right step wrong; so is a false sum with a function or a power, and one that other_readings.py finds true
counts as true. Pure, no eval; it reads at most 2,000 characters.

    >>> [(c.expression, c.value, c.result, c.is_true) for c in claims("So 3 * $4 = $15, and 15 - 2 = 13.")]
    [('3 * $4', 12, 15, False), ('15 - 2', 13, 13, True)]
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from lema_local.answers.amounts import MAX_CHARACTERS, Number, amount, over
from lema_local.corrections.expressions import WORD, Atom, agrees, values_of
from lema_local.corrections.other_readings import is_other_unit, is_true_otherwise, is_unreadable

_MAX_ATOMS = 60

_TOKEN = re.compile(
    r"(?P<num>[$€£¥]?(?:\d{1,3}(?:,\d{3}){1,4}(?!\d)|\d{1,15})(?:\.\d{1,20})?%?|[$€£¥]?\.\d{1,20}%?)"
    r"|(?P<hyphen>(?<=[^\W_])-(?=[^\W\d_]))"  # 40-item, third-grade: no minus
    r"|(?P<time>(?<=\d):\d\d\b)"
    r"|(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)|(?P<op>[+*/×÷−–·-])|(?P<eq>=)|(?P<paren>[()])|(?P<stop>[.,;:!?\n])|(?P<odd>\S)"
)
_PIECE_END = re.compile(r"[.,;:!?](?=\s)|\n")
# a piece with one plain sum and words around it, which most steps are: read at once
_AMOUNT = r"[$€£¥]?(?:(?:\d{1,3}(?:,\d{3}){1,4}|\d{1,15})(?:\.\d{1,20})?|\.\d{1,20})"
_PLAIN_WORD = r"(?:(?!(?:[Hh]alf|x|times|plus|minus|of|and)\b)[A-Za-z]{2,30}|[AaI])"
_OPERAND = rf"{_AMOUNT}(?: {_PLAIN_WORD}){{0,3}}(?:/[A-Za-z]{{2,30}})?"  # 4 nuts/minute
_PLAIN_SUM = re.compile(
    rf"\s?(?:(?:{_AMOUNT} {_PLAIN_WORD}|{_PLAIN_WORD}|of|and)[:,]? ){{0,40}}"
    rf"({_OPERAND}(?: [+*/x-] {_OPERAND}){{1,6}}) ?= ?({_AMOUNT})"
    r"(?: (?:[A-Za-z]{2,30}|[AaI])(?:/[A-Za-z]{2,30})?){0,40}[.,;:!?]?$"
)
_OPERATION = re.compile(rf"(?:^| ([+*/x-]) )({_AMOUNT})")
_LEAD = re.compile(rf"\s?(?:(?:{_PLAIN_WORD}|of|and) ){{1,40}}(?=[\d$])")  # says nothing: need not be tokenised
_PERCENT = re.compile(r" ?percent\b", re.IGNORECASE)
_SPACED = re.compile(r"[\d)] \(")
_MODULO = re.compile(r"\bp?mod\b")  # 7 * 3 = 1 (mod 5)
_OPS = {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"}
_OP_WORDS = {"x": "*", "X": "*", "times": "*", "plus": "+", "minus": "-"}
_FILLERS = {"about", "approximately", "only", "a", "total", "of", "the", "just"}


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


def _is_share(atoms: Sequence[Atom]) -> bool:
    """Whether "of" after this number multiplies: 20% of 50, 1/2 of 98, but not 3 of 5 children."""
    return atoms[-1].text[-1] == "%" or "/" in atoms[-1].text or (len(atoms) > 1 and atoms[-2].is_tight)


def _whole(atoms: list[Atom]) -> list[Atom]:
    """The longest end of the list that is a complete expression: after the last bracket left open, no operator last."""
    while atoms and atoms[-1].kind in ("op", "("):
        atoms.pop()
    depth = 0
    for i in range(len(atoms) - 1, -1, -1):
        depth += (atoms[i].kind == ")") - (atoms[i].kind == "(")
        if depth < 0:
            return atoms[i + 1 :]
    return atoms if depth == 0 and len(atoms) <= _MAX_ATOMS else []


def _sides(tokens: Sequence[re.Match[str]], *, is_end: bool, spaced: bool) -> tuple[list[Atom], list[Atom]]:
    """(first, last) expression between two equal signs: what follows the left one, what precedes the right one
    (nothing, `is_end`, where there is no right one). `spaced`: 2 (3 + 4) is a product, not a remark on the 2."""
    first: list[Atom] | None = None
    atoms: list[Atom] = []
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
            atoms.append(Atom("num", "1/2", token.start(), token.end(), Fraction(1, 2)))
        elif kind == "word" and has_operand and text in _OP_WORDS and after and after.lastgroup in ("num", "paren"):
            atoms.append(Atom("op", _OP_WORDS[text], token.start(), token.end()))
        elif (
            kind == "word"
            and word == "of"
            and has_operand
            and atoms[-1].end == tokens[i - 1].end()
            and _is_share(atoms)
        ):
            atoms.append(Atom("op", "*", token.start(), token.end()))
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
            atoms.append(Atom("num", text, token.start(), token.end(), amount(text)))
        elif kind == "op":
            if has_operand:
                near = after is not None and tokens[i - 1].end() == token.start() and after.start() == token.end()
                tight = text == "/" and near and atoms[-1].kind == "num"
                atoms.append(Atom("op", _OPS.get(text, text), token.start(), token.end(), is_tight=tight))
            elif atoms or text != "-" or (i and tokens[i - 1].end() == token.start()):
                cut(keep=False)
                is_ambiguous = True
            elif after and after.start() == token.end() and (after.lastgroup == "num" or after[0] == "("):  # -5, -(5)
                atoms.append(Atom("num", "0", token.start(), token.start()))
                atoms.append(Atom("op", "-", token.start(), token.end()))
        elif text == "(":
            if has_operand and (
                tokens[i - 1].end() == token.start() or (spaced and atoms[-1].end == token.start() - 1)
            ):
                atoms.append(Atom("op", "*", token.start(), token.start()))  # 2(11)
            elif has_operand:
                cut()
            atoms.append(Atom("(", text, token.start(), token.end()))
        elif text == ")" and has_operand and sum((a.kind == "(") - (a.kind == ")") for a in atoms) > 0:
            atoms.append(Atom(")", text, token.start(), token.end()))
        elif kind in ("stop", "paren", "odd", "time"):
            cut(keep=kind != "time" and text not in "^_\\{}√")  # 2^3 is no 2
            is_ambiguous = kind in ("odd", "time")
    last = [] if is_ambiguous or (atoms and atoms[-1].kind in ("op", "(")) else _whole(atoms[:])
    return (_whole(atoms[:]) if first is None else first), last


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
            found += [claim] if claim and claim.is_true else _read(text, start, stop)
        start = stop
    return tuple(found)


def _plain_claim(match: re.Match[str], text: str, start: int) -> Claim | None:
    """A sum of plain numbers; what _claims would read, at a fraction of its cost. None: it divides by zero.

    Its words are not looked at: where it is false, _claims asks them for another reading.
    """
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
    is_true = agrees(value, result, match[2]) or is_other_unit(value, result, text)
    return Claim(expression, tuple(operands), value, result, is_true, start + match.end(2))


def _read(text: str, start: int, stop: int) -> list[Claim]:
    """The sums of text[start:stop]; with products such as 2 (3 + 4) where that, and only that, makes them true."""
    found = _claims(text, start, stop)
    if _SPACED.search(text, start, stop) and not all(claim.is_true for claim in found):
        again = _claims(text, start, stop, spaced=True)
        if again and all(claim.is_true for claim in again):
            return again
    return found


def _claims(text: str, start: int, stop: int, *, spaced: bool = False) -> list[Claim]:
    """The sums of text[start:stop], a piece between stops."""
    segments: list[list[re.Match[str]]] = [[]]
    lead = _LEAD.match(text, start, stop)
    for token in _TOKEN.finditer(text, lead.end() if lead else start, stop):
        if token.lastgroup == "eq":
            segments.append([])
        else:
            segments[-1].append(token)
    sides = [_sides(segment, is_end=segment is segments[-1], spaced=spaced) for segment in segments]
    found: list[Claim] = []
    for (_, left), (right, _) in pairwise(sides):
        if not right or not any(a.kind == "op" for a in left):
            continue
        # what is asserted is the first number, or the fraction, after the sign: "= 2/3 miles", "= 12 + 5 = 17"
        stated = right[
            : 3 if len(right) > 2 and right[1].is_tight else 1 if right[0].text != "0" or len(right) < 3 else 3
        ]
        is_percent = stated[-1].text.endswith("%") or _PERCENT.match(text, stated[-1].end) is not None
        values = values_of(left, tight=(True, False), bare=is_percent)
        asserted = values_of(stated) + (values_of(right) if len(right) != len(stated) else [])
        if (
            not values
            or not asserted
            or (len(left) == 3 and left[1].is_tight and 0 < values[0] < 1 and WORD.search(text))
        ):
            continue  # "1/2 a cup = 4 ounces" is no sum
        is_true = any(agrees(v, r, stated[-1].text) for v in values for r in asserted)
        is_true = is_true or is_other_unit(values[0], asserted[0], text)
        if not is_true and is_unreadable(text, left, stated, start):
            continue
        is_true = is_true or is_true_otherwise(text, left, stated, start)
        expression = "".join(
            a.text if a.kind != "op" or a.is_tight else f" {a.text} "
            for a in left
            if a.start != a.end or a.kind == "op"
        )
        result = asserted[1] if stated[-1].text.endswith("%") and len(asserted) > 1 else asserted[0]
        operands = tuple(a.value for a in left if a.kind == "num")
        found.append(Claim(" ".join(expression.split()), operands, values[0], result, is_true, stated[-1].end))
    return found
