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

from lema_local.answers.amounts import COMMON, numbers, show
from lema_local.answers.numerals import value_of
from lema_local.corrections.arithmetic import Claim
from lema_local.corrections.faults import Fault, derived_before, first_fault, leaves, reference_steps
from lema_local.corrections.rationales import join_steps, split_steps
from lema_local.corrections.splicing import sums_of

NO_STEPS = "Cannot correct: the original solution has no steps that can be read."
NO_REFERENCE = "Cannot correct: no reference solution for this question."
NO_MISTAKE = "Cannot correct: no wrong step was found in the original solution."
_ALL_DONE = "The steps above have already worked out what the question asks for"
_MAX_STEPS = 64

_POINT_ZERO = re.compile(r"(?<=\d)\.0(?!\d)")


def has_steps(solution: str, answer: str) -> bool:
    """Whether a reference solution has anything to write corrections from."""
    return bool(reference_steps(solution, answer))


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


def _missing(question: str, reference: Sequence[str], kept: Sequence[str]) -> list[str]:
    """The reference steps that are still to be done after the kept steps."""
    sums = [sums_of(step) for step in reference]
    known = {claim.key for found in sums for claim in found}
    have = [claim for step in kept for claim in sums_of(step) if claim.is_true or claim.key in known]
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
    todo = [claim for step in missing for claim in sums_of(step)]
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
        known = leaves(question, tuple(reference)) | derived_before(
            steps[: fault.step - 1], sums_of(steps[fault.step - 1]), claim
        )
        strange = next((n for n in claim.operands if n not in known), None)
        twin = next((c for c in todo if sorted(c.operands) == sorted(claim.operands)), None)
        if strange is not None:
            return f"{name} uses {show(strange)}, which neither the question nor an earlier step gives; {needed}."
        if twin is not None and twin.expression != claim.expression:
            return f"{said}, but these amounts must be combined as {twin.expression}."
        return f"{said}, which is not an amount that the question leads to; {needed}."
    if fault.is_conclusion:
        results = {c.result for step in steps[: fault.step] for c in sums_of(step)}
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
