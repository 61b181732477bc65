"""The first step of a solution that goes wrong, found by reading its sums beside a reference solution.

Two readers need it: the oracle, which writes corrections, and the checks, which compare the step that a corrector
names with the step found here. Pure, no model; what cannot be read for certain is no fault.

    >>> first_fault("3 bags of 4 nuts; 2 are eaten", ["3 * 4 = 12 nuts", "12 - 2 = 10 nuts"], "10",
    ...             ["3 * 4 = 15 nuts.", "15 - 2 = 13. The answer is 13."]).step
    1
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from lema_local.answers.amounts import COMMON, Number, distance, numbers, plain_numbers
from lema_local.answers.numerals import same_number, value_of
from lema_local.corrections.arithmetic import Claim, claims
from lema_local.corrections.latex import plain_sums
from lema_local.corrections.rationales import solution_steps
from lema_local.corrections.splicing import sums_of

_ANSWER = re.compile(r"(?:the |final )*answer is\b:?([^\n]{0,200})", re.IGNORECASE)
_LONG_DECIMAL = re.compile(r"(?<![\d.])\d{1,12}\.\d{7,20}(?!\d)")
_FRACTION_DIVISOR = re.compile(r"÷\s{0,3}(\d{1,9})\s?/\s?(\d{1,9})")
_SHARE = re.compile(r"\d{1,9}/\d{1,9}|\b1st\b")
_CONVERSIONS: frozenset[Number] = frozenset((7, 12, 24, 52, 60, 365, 1000))
_POINT_ZERO = re.compile(r"(?<=\d)\.0(?!\d)")


# keys of its sums, their results, every number on its path, what amounts are combined into, what needs no derivation
_Facts = tuple[
    frozenset[tuple[tuple[Number, ...], Number]],
    frozenset[Number],
    frozenset[Number],
    dict[tuple[Number, ...], set[Number]],
    frozenset[Number],
]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in which step (counted from 1)."""

    step: int
    claim: Claim | None  # the sum at fault; None: the step states a number from nowhere, or concludes wrongly
    stated: Number | None = None
    is_conclusion: bool = False


def reference_steps(solution: str, answer: str) -> list[str]:
    """A reference solution as clean sentences, one step each; [] where there is none.

    On top of solution_steps: float noise goes (19.749999999999996 -> 19.75, 0.3333333333333333 -> 1/3), a sum that its
    author rounded to a whole number says so, and a closing sentence that only repeats the answer is left out.
    """
    steps = [_LONG_DECIMAL.sub(_short, step) for step in solution_steps(solution)]
    steps = [_with_rounding(_FRACTION_DIVISOR.sub(r"÷ (\1/\2)", _POINT_ZERO.sub("", step))) for step in steps]
    while len(steps) > 1 and (found := _ANSWER.match(steps[-1])) and same_number(found[1], answer):
        steps.pop()
    return steps


def first_fault(question: str, reference: Sequence[str], answer: str, steps: Sequence[str]) -> Fault | None:
    """The first step whose arithmetic is false, or that leaves the reference's path, or that concludes wrongly.

    A sum is on the path when its result is a number of the reference or of the question, or when a later true sum on
    the path uses it: another way to the same value is no mistake. None where nothing is wrong. Sums may be in LaTeX.
    """
    steps = [plain_sums(step) for step in steps]
    sums = [claims(step) for step in steps]
    known, results, path, combined, given = _facts(question, tuple(reference))
    flat = [(k, claim) for k, found in enumerate(sums, 1) for claim in found]
    wrong = next((i for i, (_, c) in enumerate(flat) if not c.is_true and c.key not in known), len(flat))
    underived = results - given
    on_path = [False] * wrong
    for i in reversed(range(wrong)):
        k, claim = flat[i]
        is_used = any(on_path[j] and claim.result in flat[j][1].operands for j in range(i + 1, wrong))
        # the same amounts combined into something else than the reference makes of them: 14 + 9 for 14 - 9
        is_twin = claim.result not in combined.get(claim.key[0], {claim.result})
        unknown = set(claim.operands) - given
        if unknown:
            unknown -= derived_before(steps[: k - 1], sums[k - 1], claim)
        is_strange = bool(unknown & results) or (bool(unknown) and claim.result not in results)
        is_same = claim.key in known and not unknown & underived
        on_path[i] = is_same or ((claim.result in path or is_used) and not is_twin and not is_strange)
    bad = next((i for i in range(wrong) if not on_path[i]), wrong)
    fault = Fault(step=flat[bad][0], claim=flat[bad][1]) if bad < len(flat) else None
    derived = set(path | (COMMON - {1}))
    for k, step in enumerate(steps, 1):
        if fault is not None and k >= fault.step:
            return fault
        derived |= {n for claim in sums[k - 1] for n in (claim.result, *claim.operands)}
        conclusion = _ANSWER.search(step)
        if conclusion is None and not sums[k - 1]:
            strange = [n for n in _stated(step) if n not in derived]
            if strange:
                return Fault(step=k, claim=None, stated=strange[0])
        if conclusion is not None and not _is_answer(conclusion[1], answer):
            value = value_of(conclusion[1])
            return Fault(step=k, claim=None, stated=value[0] if value else None, is_conclusion=True)
    if not any(_ANSWER.search(step) for step in steps):
        return Fault(step=len(steps), claim=None, is_conclusion=True)
    return None


@lru_cache(maxsize=1 << 13)
def _facts(question: str, reference: tuple[str, ...]) -> _Facts:
    """What a reference solution says, for all the mistakes over one problem."""
    reference = tuple(plain_sums(step) for step in reference)
    sums = [claim for step in reference for claim in claims(step)]
    results = frozenset(claim.result for claim in sums)
    combined: dict[tuple[Number, ...], set[Number]] = {}
    for claim in sums:
        combined.setdefault(claim.key[0], set()).add(claim.result)
    path = numbers(question) | results | {n for step in reference for n in numbers(step)}
    return frozenset(c.key for c in sums), results, path, combined, leaves(question, reference)


def _stated(step: str) -> list[Number]:
    """The numbers that a step without a sum states; shares (1/2) and conversions ("1 week has 7 days") state no 1."""
    found = plain_numbers(_SHARE.sub(" ", step))
    return [n for n in found if n != 1] if _CONVERSIONS & set(found) else found


@lru_cache(maxsize=1 << 13)
def leaves(question: str, reference: tuple[str, ...]) -> frozenset[Number]:
    """Numbers that need no derivation: the question's, common ones, and those that the reference takes from nowhere."""
    given = set(numbers(question) | COMMON)
    results: set[Number] = set()
    for claim in (claim for step in reference for claim in sums_of(step)):
        given |= {n for n in claim.operands if n not in results}
        results |= {claim.result, claim.value}
    return frozenset(given)


def derived_before(before: Sequence[str], step: Sequence[Claim], claim: Claim) -> set[Number]:
    """The numbers that stand in the steps before, or that a sum before this one in its own step has given."""
    sums = [c for text in before for c in sums_of(text)] + [c for c in step if c.end < claim.end]
    return {n for text in before for n in numbers(text)} | {n for c in sums for n in (c.result, c.value)}


def _is_answer(text: str, answer: str) -> bool:
    same = same_number(text, answer)
    return text.strip(" .*$") == answer.strip(" $") if same is None else same


def _short(match: re.Match[str]) -> str:
    number = Fraction(match[0])
    decimal = round(number, 4)
    if abs(number - decimal) < Fraction(1, 10**9):
        return f"{float(decimal):.4f}".rstrip("0").rstrip(".")
    simple = number.limit_denominator(12)
    if abs(number - simple) < Fraction(1, 10**9):
        return f"{simple.numerator}/{simple.denominator}"
    return f"{float(decimal):.4f}"


def _with_rounding(step: str) -> str:
    """`0.46 * 40 = 18 students` -> `0.46 * 40 = 18 (rounded down) students`, where the author left it unsaid."""
    for claim in reversed(claims(step)):
        if not claim.is_true and claim.result.denominator == 1 and distance(claim.value, claim.result) < 1:
            way = "down" if claim.value > claim.result else "up"
            step = f"{step[: claim.end]} (rounded {way}){step[claim.end :]}"
    return step
