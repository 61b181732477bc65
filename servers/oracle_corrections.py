"""Exact corrections, written from a reference solution: find the first wrong step, say why, go on from there.

The oracle needs no model, so the whole loop runs offline; it rewrites reference solutions, so its success rate says
nothing about any model. Pure: texts in, texts out.

    >>> question = "Ann has 3 bags of 4 nuts and eats 2. How many are left?"
    >>> mistake = "Step 1: 3 * 4 = 15 nuts.\\nStep 2: 15 - 2 = 13. The answer is 13."
    >>> print(correct(question, "3*4=12 nuts\\n12-2=10 nuts are left\\n#### 10", "10", mistake))
     Step 1.
    Explanation: Step 1 computes 3 * 4 = 15, but 3 * 4 is 12.
    Correct Solution:
    Step 1: 3 * 4 = 12 nuts.
    Step 2: 12 - 2 = 10 nuts are left. The answer is 10.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from lema_local.numerals import same_number, value_of
from lema_local.rationales import join_steps, solution_steps, split_steps

from .oracle_arithmetic import COMMON, Claim, claims, numbers, plain_numbers, show

NO_STEPS = "Cannot correct: the original solution has no steps that can be read."
NO_REFERENCE = "Cannot correct: no reference solution for this question."
NO_MISTAKE = "Cannot correct: no wrong step was found in the original solution."
_ALL_DONE = "The steps above have already worked out what the question asks for"
_MAX_STEPS = 64

_ANSWER = re.compile(r"(?:the |final )*answer is\b:?([^\n]{0,200})", re.IGNORECASE)
_LONG_DECIMAL = re.compile(r"(?<![\d.])\d{1,12}\.\d{7,20}(?!\d)")
_FRACTION_DIVISOR = re.compile(r"÷\s{0,3}(\d{1,9})\s?/\s?(\d{1,9})")
_SHARE = re.compile(r"\d{1,9}/\d{1,9}|\b1st\b")
_CONVERSIONS = frozenset(map(Fraction, (7, 12, 24, 52, 60, 365, 1000)))
_POINT_ZERO = re.compile(r"(?<=\d)\.0(?!\d)")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in which step (counted from 1)."""

    step: int
    claim: Claim | None  # the sum at fault; None: the step states a number from nowhere, or concludes wrongly
    stated: Fraction | None = None
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


def solve(solution: str, answer: str) -> str:
    """The reference solution as a rationale: "Step 1: ...", ..., the last step ending "The answer is {answer}."."""
    return "\n".join(_numbered(reference_steps(solution, answer), answer, first=1))


def correct(question: str, solution: str, answer: str, mistake: str) -> str:
    """The correction of a wrong rationale in LeMa's form, or one of the three refusals ("Cannot correct: ...").

    The new steps follow the kept ones: reference steps whose results the kept steps have truly derived are left out,
    and so are those that only led to such results.
    """
    steps = split_steps(mistake.strip().removeprefix("{").removesuffix("}"))[:_MAX_STEPS]
    if not steps:
        return NO_STEPS
    reference = reference_steps(solution, answer)
    if not reference:
        return NO_REFERENCE
    fault = first_fault(question, reference, answer, steps)
    if fault is None:
        return NO_MISTAKE
    missing = _missing(question, reference, steps[: fault.step - 1])
    if not missing:
        missing = [_ALL_DONE]
    why = _explain(fault, question, reference, missing, steps)
    kept = "...\n" if fault.step > 1 else ""
    lines = "\n".join(_numbered(missing, answer, first=fault.step))
    return f" Step {fault.step}.\nExplanation: {why}\nCorrect Solution:\n{kept}{lines}"


def first_fault(question: str, reference: Sequence[str], answer: str, steps: Sequence[str]) -> Fault | None:
    """The first step whose arithmetic is false, or that leaves the reference's path, or that concludes wrongly.

    A sum is on the path when its result is a number of the reference or of the question, or when a later true sum on
    the path uses it: another way to the same value is no mistake. None where nothing is wrong.
    """
    sums = [claims(step) for step in steps]
    reference_sums = [claim for step in reference for claim in claims(step)]
    known = {claim.key for claim in reference_sums}
    results = {claim.result for claim in reference_sums}
    path = numbers(question) | results | {n for step in reference for n in numbers(step)}
    combined: dict[tuple[Fraction, ...], set[Fraction]] = {}
    for claim in reference_sums:
        combined.setdefault(claim.key[0], set()).add(claim.result)
    flat = [(k, claim) for k, found in enumerate(sums, 1) for claim in found]
    wrong = next((i for i, (_, c) in enumerate(flat) if not c.is_true and c.key not in known), len(flat))
    leaves = _leaves(question, reference)
    underived = results - leaves
    on_path = [False] * wrong
    for i in reversed(range(wrong)):
        k, claim = flat[i]
        is_used = any(on_path[j] and claim.result in flat[j][1].operands for j in range(i + 1, wrong))
        # the same amounts combined into something else than the reference makes of them: 14 + 9 for 14 - 9
        is_twin = claim.result not in combined.get(claim.key[0], {claim.result})
        unknown = set(claim.operands) - leaves - _derived(steps[: k - 1], sums[k - 1], claim)
        is_strange = bool(unknown & results) or (bool(unknown) and claim.result not in results)
        is_same = claim.key in known and not unknown & underived
        on_path[i] = is_same or ((claim.result in path or is_used) and not is_twin and not is_strange)
    bad = next((i for i in range(wrong) if not on_path[i]), wrong)
    fault = Fault(step=flat[bad][0], claim=flat[bad][1]) if bad < len(flat) else None
    derived = path | (COMMON - {Fraction(1)})
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
            return Fault(step=k, claim=None, stated=Fraction(value[0]) if value else None, is_conclusion=True)
    if not any(_ANSWER.search(step) for step in steps):
        return Fault(step=len(steps), claim=None, is_conclusion=True)
    return None


def _stated(step: str) -> list[Fraction]:
    """The numbers that a step without a sum states; shares (1/2) and conversions ("1 week has 7 days") state no 1."""
    found = plain_numbers(_SHARE.sub(" ", step))
    return [n for n in found if n != 1] if _CONVERSIONS & set(found) else found


def _leaves(question: str, reference: Sequence[str]) -> set[Fraction]:
    """Numbers that need no derivation: the question's, common ones, and those that the reference takes from nowhere."""
    leaves = numbers(question) | COMMON
    results: set[Fraction] = set()
    for claim in (claim for step in reference for claim in claims(step)):
        leaves |= {n for n in claim.operands if n not in results}
        results |= {claim.result, claim.value}
    return leaves


def _derived(before: Sequence[str], step: Sequence[Claim], claim: Claim) -> set[Fraction]:
    """The numbers that stand in the steps before, or that a sum before this one in its own step has given."""
    sums = [c for text in before for c in claims(text)] + [c for c in step if c.end < claim.end]
    return {n for text in before for n in numbers(text)} | {n for c in sums for n in (c.result, c.value)}


def _is_answer(text: str, answer: str) -> bool:
    same = same_number(text, answer)
    return text.strip(" .*$") == answer.strip(" $") if same is None else same


def _missing(question: str, reference: Sequence[str], kept: Sequence[str]) -> list[str]:
    """The reference steps that are still to be done after the kept steps."""
    sums = [claims(step) for step in reference]
    known = {claim.key for found in sums for claim in found}
    have = [claim for step in kept for claim in claims(step) if claim.is_true or claim.key in known]
    said = {step.rstrip(".") for step in kept}
    given = numbers(question)
    done = [False] * len(reference)
    # an early result that happens to equal the answer does not answer the question: the last sum must be the same one
    final = max((i for i, found in enumerate(sums) if found), default=0)
    for i, found in enumerate(sums):
        pool = have[:]
        for claim in found:
            # one kept sum stands for one sum of the reference: two equal results need two derivations
            match = next((c for c in pool if c.key == claim.key), None) or next(
                (c for c in pool if i < final and c.result == claim.result and c.result not in given), None
            )
            if match is None:
                break
            pool.remove(match)
        else:
            done[i], have = bool(found) or reference[i].rstrip(".") in said, pool
    users = _users(sums)
    for i in reversed(range(len(reference))):
        if not done[i] and users[i] and all(done[j] for j in users[i]):
            done[i] = True  # it only led to what the kept steps found another way
    for i, found in reversed(list(enumerate(sums))):
        if (
            not found
            and not done[i]
            and kept
            and i + 1 < len(reference)
            and not (numbers(reference[i]) - given - COMMON)
        ):
            done[i] = done[i + 1]  # a sentence that leads up to the next sum
    return [step for step, is_done in zip(reference, done, strict=True) if not is_done]


def _users(sums: Sequence[Sequence[Claim]]) -> list[set[int]]:
    """For each reference step, the later steps that use a result of it."""
    users: list[set[int]] = [set() for _ in sums]
    for j, later in enumerate(sums):
        for operand in {n for claim in later for n in claim.operands}:
            for i in range(j):
                if any(claim.result == operand for claim in sums[i]):
                    users[i].add(j)
    return users


def _explain(
    fault: Fault, question: str, reference: Sequence[str], missing: Sequence[str], steps: Sequence[str]
) -> str:
    """One or two plain sentences on what is wrong in the step; the final answer is not given away."""
    todo = [claim for step in missing for claim in claims(step)]
    if todo:
        needed = f"what is needed here is {todo[0].expression}"
    elif missing == [_ALL_DONE]:
        needed = "the steps before it have already worked out what is asked"
    else:
        needed = "what the question says leads elsewhere"
    name = f"Step {fault.step}"
    if fault.claim is not None:
        claim = fault.claim
        said = f"{name} computes {claim.expression} = {show(claim.result)}"
        if not claim.is_true:
            return f"{said}, but {claim.expression} is {show(claim.value)}."
        known = _leaves(question, reference) | _derived(steps[: fault.step - 1], claims(steps[fault.step - 1]), claim)
        strange = next((n for n in claim.operands if n not in known), None)
        twin = next((c for c in todo if sorted(c.operands) == sorted(claim.operands)), None)
        if strange is not None:
            return f"{name} uses {show(strange)}, which neither the question nor an earlier step gives; {needed}."
        if twin is not None and twin.expression != claim.expression:
            return f"{said}, but these amounts must be combined as {twin.expression}."
        return f"{said}, which is not an amount that the question leads to; {needed}."
    if fault.is_conclusion:
        results = {c.result for step in steps[: fault.step] for c in claims(step)}
        if fault.stated is None:
            return f"{name} ends before the question is answered; {needed}."
        later = next((claim for claim in todo if claim.result not in results), None)
        if fault.stated in results and later:
            return (
                f"{name} stops too early: {show(fault.stated)} is not yet what the question asks for; "
                f"what is still to be worked out is {later.expression}."
            )
        if todo and later is None:
            return (
                f"{name} concludes with {show(fault.stated)}, but the sum {todo[-1].expression} gives something else."
            )
        if not todo and missing == [_ALL_DONE]:
            return f"{name} concludes with {show(fault.stated)}, which is not what the steps before it have worked out."
        return f"{name} concludes with {show(fault.stated)}, which does not follow from the steps before it; {needed}."
    assert fault.stated is not None
    return f"{name} states {show(fault.stated)}, which neither the question nor an earlier step gives; {needed}."


def _numbered(steps: Sequence[str], answer: str, *, first: int) -> list[str]:
    final = answer.strip().rstrip(".")
    number = value_of(final)
    if number is not None:
        final = _POINT_ZERO.sub("", final.replace(",", ""))
    lines = [f"Step {k}: {join_steps([step])}" for k, step in enumerate(steps, first)]
    lines[-1] += f" The answer is {final}."
    return lines


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
        if not claim.is_true and claim.result.denominator == 1 and abs(claim.value - claim.result) < 1:
            way = "down" if claim.value > claim.result else "up"
            step = f"{step[: claim.end]} (rounded {way}){step[claim.end :]}"
    return step
