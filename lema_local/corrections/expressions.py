"""The values of an expression that is read from prose, as a list of numbers, operators and brackets. Pure, no eval."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from lema_local.answers.amounts import Number, distance, over

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")  # of the prose around it


@dataclass(frozen=True, slots=True)
class Atom:
    """A number, an operator or a bracket, with its offsets in the text; one that is not written has start == end."""

    kind: str  # num, op, (, )
    text: str
    start: int
    end: int
    value: Number = 0
    is_tight: bool = False  # the slash of 2/3, written without spaces


def evaluate(atoms: Sequence[Atom], *, percent: bool = True, tight: bool = True) -> Number | None:
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
                values.append(over(atom.value, 100) if percent and is_percentage(atom) else atom.value)
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


def is_percentage(atom: Atom) -> bool:
    return atom.text.endswith("%")


def values_of(atoms: Sequence[Atom], tight: tuple[bool, ...] = (True,), *, bare: bool = False) -> list[Number]:
    """The values that an expression may be read to have, the likeliest first: 5% as 0.05, with `bare` as 5 too, the 5%
    of 200 - 5% as those of the 200, and 12 / 2/3 in both ways.

    100% - 25% and 12/48 * 100% may be meant in percent whatever follows, and are read bare too; 25% of 80 is no 2000.
    """
    written = [atom for atom in atoms if atom.kind == "num" and atom.start != atom.end]
    percentages = [atom for atom in written if is_percentage(atom)]
    is_all = len(percentages) == len(written)
    bare = bare or is_all or all(atom.value == 100 for atom in percentages)
    percents = (True, False) if percentages and bare else (True,)
    ways = tight if any(atom.is_tight for atom in atoms) else tight[:1]
    readings = [evaluate(atoms, percent=percent, tight=way) for percent in percents for way in ways]
    if percentages and not is_all and len(atoms) > 2:
        readings.insert(0, _changed_by(atoms))
    return [value for value in readings if value is not None]


def _changed_by(atoms: Sequence[Atom]) -> Number | None:
    """200 - 5%: what is left of the 200 without five percent of it; None where no percentage is added last."""
    *before, op, last = atoms
    value = evaluate(before) if is_percentage(last) and op.text in ("+", "-") else None
    share = over(last.value, 100)
    return None if value is None else value * (1 + share if op.text == "+" else 1 - share)


def agrees(left: Number, right: Number, written: str) -> bool:
    """Equal, or the left side rounded (or cut) to the two or more decimals that are written, or to one when rounded."""
    decimals = len(written.rstrip("%").partition(".")[2])
    if not decimals:
        return left == right
    slack = Fraction(1, 2 * 10) if decimals == 1 else Fraction(1, 10**decimals)
    return distance(left, right) <= slack
