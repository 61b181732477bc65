"""What can be said of a correction beyond its final answer, without a model: columns of `correction`, filters of a
profile.

    [correction]
    require = ["step_exists", "continues", "arithmetic"]     # the paper's rule, which asks only for the answer, is []

Each check has three values: True, False, and None where it cannot tell (no reference solution, no sum that can be
read). A filter leaves out what a check found False. Pure; the texts are a model's, so what is read of them is bounded.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, get_args

from lema_local.answers.amounts import COMMON, MAX_CHARACTERS, Number, numbers, over, plain_numbers
from lema_local.answers.exact import extract_answer
from lema_local.answers.number_words import spelled
from lema_local.answers.numerals import value_of
from lema_local.corrections.arithmetic import claims
from lema_local.corrections.faults import first_fault, leaves, reference_steps
from lema_local.corrections.latex import plain_sums
from lema_local.corrections.parsing import ParsedCorrection
from lema_local.corrections.rationales import step_label
from lema_local.corrections.splicing import MAX_STEPS, same_step, sums_of
from lema_local.records.types import AnswerKind

Check = Literal["step_exists", "continues", "arithmetic", "explains", "step_agrees", "resolved"]
CHECKS: tuple[Check, ...] = get_args(Check)

_MAX_FAULT_CHARACTERS = 8_000  # of a mistake; the search for its fault is quadratic in its sums
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_LETTER_RUNS = re.compile(r"[^\W\d_]+")
# letters that English and its mathematics are written in: Latin, and Greek for variables
_LATIN_OR_GREEK = re.compile(r"[A-Za-zÀ-ɏͰ-Ͽµ]+")
# small words of English that French, Spanish, German and Italian do not have
_ENGLISH = frozenset(
    re.findall(
        r"\w+",
        "the is are were of to and it its this that by with from at but she they his her their each have had does did "
        "should must there than then because only step not for how many much what which when if all more out",
    )
)
_SAYS_NOTHING = frozenset(
    re.findall(
        r"\w+",
        "the a an is are was be of to in it this that and or not so answer answers result final correct correctly "
        "right wrong incorrect incorrectly mistake error solution original step steps should must has have will would "
        "therefore thus hence because since as reference given true value equals equal actual actually problem "
        "question",
    )
)
_RATIO = re.compile(r"(?<=\d:)\d{1,9}")
# what counting gives without a number in digits: weekdays, quarters, the days or people that a question lists
_COUNTED: frozenset[Number] = COMMON | {Fraction(1, 2), 3, 4, 5, 10, 30}


@dataclass(frozen=True, slots=True)
class Checks:
    """The findings on one correction."""

    step_exists: bool | None  # the step that it names is one of the mistake's
    continues: bool | None  # kept steps + solution read as one: see _continues
    arithmetic: bool | None  # every sum in the solution is true
    explains: bool | None  # the explanation does more than announce the reference answer
    fault_step: int | None  # the mistake's first step with a false sum, or off the reference solution's path
    step_agrees: bool | None  # the step that it names is that one


def check(
    parsed: ParsedCorrection,
    *,
    question: str,
    solution: str | None,
    reference: str,
    kind: AnswerKind,
    mistaken: Sequence[str],
) -> Checks:
    """Examine a parsed and spliced correction. `mistaken`: the steps of the mistake; `solution`: the reference one."""
    k, steps = parsed.incorrect_step, _lines(parsed)
    exists = None if k is None or not mistaken else 1 <= k <= len(mistaken)
    fault = fault_step(mistaken, question=question, solution=solution, reference=reference, kind=kind)
    # sixteen ounces, a quarter's cents: what the reference takes from nowhere, a correction may
    taken = (
        leaves(question, _reference_steps(solution, reference))
        if solution and kind == "number"
        else frozenset[Number]()
    )
    return Checks(
        step_exists=exists,
        continues=_continues(steps, mistaken[:k], question, kind, taken) if exists and steps else None,
        arithmetic=sums_are_true(steps),
        explains=_explains(parsed, question=question, reference=reference, mistaken=mistaken),
        fault_step=fault,
        step_agrees=None if fault is None or k is None else k == fault,
    )


def failed_requirement(correction: Mapping[str, Any], require: Sequence[Check]) -> Check | None:
    """The first required check that a correction (a row of the table) does not pass, or None.

    Where a check cannot tell, it passes; but "resolved" is passed only by a correction that was re-solved with success.
    """
    for name in require:
        if correction[name] is False or (name == "resolved" and correction[name] is None):
            return name
    return None


def stray(
    parsed: ParsedCorrection, *, question: str, mistaken: Sequence[str]
) -> Literal["other problem", "other language"] | None:
    """Whether a reply is about something else than the problem, or in another language than its question.

    Another problem: it restates a question with few of this one's words, or has several amounts, none of them the
    question's or the mistake's, and few of their words. Such a reply can have the right answer by chance, and must not
    train all the same.
    """
    if parsed.restated and _overlap(parsed.restated, question) < 0.5:
        return "other problem"
    text = f"{parsed.explanation or ''} {parsed.correct_solution or ''}"[: 2 * MAX_CHARACTERS]
    if _is_english(question) and not _may_be_english(parsed.explanation or "", text):
        return "other language"
    asked = numbers(question) - COMMON
    said = set(plain_numbers(parsed.correct_solution or "")) - COMMON
    if len(asked) < 2 or len(said) < 2 or said & asked or any(said & numbers(step) for step in mistaken[:MAX_STEPS]):
        return None
    # amounts from nowhere may still be this problem's, worked out in words that were not shown
    told = " ".join([question, *mistaken[:MAX_STEPS]])
    return "other problem" if _overlap(text, told, but=_SAYS_NOTHING | _ENGLISH) < 0.25 else None


def fault_step(
    mistaken: Sequence[str], *, question: str, solution: str | None, reference: str, kind: AnswerKind
) -> int | None:
    """The first step of a mistake with a false sum, or, beside a reference solution in numbers, off its path."""
    steps, size = [], 0
    for step in mistaken[:MAX_STEPS]:
        size += len(step)
        if size > _MAX_FAULT_CHARACTERS:
            break
        steps.append(step)
    if steps and kind == "number" and solution:
        fault = first_fault(question, _reference_steps(solution, reference), reference, steps)
        # "no step concludes" is found at the end of what was read, which may not be the end of the mistake
        return fault.step if fault and (len(steps) == len(mistaken) or fault.step < len(steps)) else None
    return next((k for k, step in enumerate(steps, 1) if any(not c.is_true for c in sums_of(step))), None)


def sums_are_true(steps: Sequence[tuple[int | None, str]]) -> bool | None:
    """Whether every sum of these steps is true; None where there is none to read, or not all of it could be read."""
    found = [claim.is_true for _, step in steps for claim in sums_of(step)]
    if not all(found):
        return False
    return True if found and all(len(step) <= MAX_CHARACTERS for _, step in steps) else None


@lru_cache(maxsize=1 << 14)
def _reference_steps(solution: str, answer: str) -> tuple[str, ...]:
    return tuple(reference_steps(solution, answer))


def _lines(parsed: ParsedCorrection) -> list[tuple[int | None, str]]:
    lines = (parsed.correct_solution or "").split("\n") if parsed.correct_solution else []
    return [step_label(line) or (None, line) for line in lines[:MAX_STEPS]]


def _continues(
    steps: Sequence[tuple[int | None, str]],
    mistaken: Sequence[str],
    question: str,
    kind: AnswerKind,
    taken: AbstractSet[Number],
) -> bool:
    """Whether the steps follow those of the mistake before the blamed one, which is the last of `mistaken`: their
    numbers go on, nothing is said twice, the last one answers, no kept sum is false, the blamed step has changed, and
    the first sum takes nothing from nowhere, but for what is `taken` so anyway."""
    kept, blamed = mistaken[:-1][:MAX_STEPS], mistaken[-1]
    first = len(kept) + 1
    if [number for number, _ in steps] != list(range(first, first + len(steps))):
        return False
    texts = [text for _, text in steps]
    if any(same_step(text, step) for text in texts for step in kept):
        return False
    if len(set(texts)) < len(texts) or extract_answer(texts[-1], kind) is None:
        return False
    if _is_unchanged(texts[0], blamed) or not all(claim.is_true for step in kept for claim in sums_of(step)):
        return False
    return _is_told(texts, [question, *kept], kind, taken)


def _is_unchanged(step: str, blamed: str) -> bool:
    """Whether a step is the blamed one again: in the same words, or the same sums and numbers in much the same."""
    if "".join(step.lower().split()).rstrip(".") == "".join(blamed.lower().split()).rstrip("."):
        return True
    return bool(sums_of(step)) and plain_numbers(step) == plain_numbers(blamed) and same_step(step, blamed)


def _is_told(texts: Sequence[str], before: Sequence[str], kind: AnswerKind, taken: AbstractSet[Number]) -> bool:
    """Whether every operand of the first sum of these texts stands before it, in them or in the texts `before`, or is
    one that needs no telling, as those `taken`. True where there is nothing to compare.

    Of solutions that end in no plain number one operand will do: algebra that no sum is read from gives the others.
    """
    told = [plain_sums(text) for text in before]
    for text in map(plain_sums, texts):
        if found := claims(text):
            break
        told.append(text)
    else:
        return True
    said, sum_ = text[: found[0].end], found[0]
    known: set[Number] = {n for text in told for n in numbers(text)}
    if not known:
        return True
    known |= set(Counter(plain_numbers(said)) - Counter((*sum_.operands, sum_.result)))
    enough = any
    if kind == "number":
        known, enough = known | _COUNTED | taken, all
    if not enough(_known(sum_.operands, known)):
        known |= _other_numbers(" ".join([*told, said]))
    return enough(_known(sum_.operands, known))


def _known(operands: Sequence[Number], known: set[Number]) -> list[bool]:
    """Whether each of these is known, or its percentage or cents are (0.3 of 30, 200 of $2), or as part of a
    fraction."""
    known = known | {part for n in known if n.denominator > 1 for part in (n.numerator, n.denominator)}
    return [not known.isdisjoint((n, 100 * n, over(n, 100))) for n in operands]


def _other_numbers(text: str) -> set[Number]:
    """The numbers that are written in words (twenty, one-third, two and a half) or as a ratio (10:17)."""
    text = text[: 2 * MAX_CHARACTERS]
    read = [spelled(text[word.start() : word.start() + 60]) for word in _WORD.finditer(text)]
    return {n for number in (*read, *_RATIO.findall(text)) if number for n in numbers(number)}


def _explains(parsed: ParsedCorrection, *, question: str, reference: str, mistaken: Sequence[str]) -> bool | None:
    """False where the explanation states the reference answer and says nothing about the step: no other amount of the
    step or the question, no sum, and at most one word that the step has too."""
    text = parsed.explanation
    if text is None:
        return None
    text = text[:MAX_CHARACTERS]
    value = value_of(reference)
    said = numbers(text)
    announces = value[0] in said if value else _states(text, reference)
    if not announces or claims(text):
        return True
    k = parsed.incorrect_step or 0
    step = mistaken[k - 1] if 1 <= k <= len(mistaken) else ""
    ends: set[Number] = {value[0]} if value else set()
    ends |= set(plain_numbers(extract_answer(mistaken[-1], "number") or "")) if mistaken else set()
    shared = (set(plain_numbers(text)) & (numbers(step) | numbers(question))) - ends - {k}
    words = {w.lower() for w in _WORD.findall(text)} & {w.lower() for w in _WORD.findall(step[:MAX_CHARACTERS])}
    return bool(shared) or len(words - _SAYS_NOTHING) > 1


def _states(text: str, reference: str) -> bool:
    """Whether a reference that is no number stands in a text; a letter only as a choice: "(A)", "the answer is A"."""
    plain = reference.strip(" ().")
    if len(plain) == 1 and plain.isalpha():
        return re.search(rf"\({plain}\)|(?i:answer is|option|choice):? {plain}\b", text) is not None
    return bool(plain) and plain.lower() in text.lower()


def _overlap(text: str, question: str, *, but: frozenset[str] = frozenset()) -> float:
    """The share of a text's words, `but` these, that the question has too; 1 where it has none."""
    words = {word.lower() for word in _WORD.findall(text[: 2 * MAX_CHARACTERS])} - but
    asked = {word.lower() for word in _WORD.findall(question[: 2 * MAX_CHARACTERS])}
    return len(words & asked) / len(words) if words else 1.0


@lru_cache(maxsize=1 << 13)
def _is_english(text: str) -> bool:
    words = [word.lower() for word in _WORD.findall(text[:MAX_CHARACTERS])]
    return len(words) >= 5 and sum(word in _ENGLISH for word in words) >= 0.1 * len(words)


def _may_be_english(explanation: str, text: str) -> bool:
    """Latin letters, and some of English's small words where there are enough words to tell."""
    if not text.isascii():
        letters = _LETTER_RUNS.findall(text)
        foreign = sum(len(run) for run in letters if not _LATIN_OR_GREEK.fullmatch(run))
        if foreign > 0.1 * sum(map(len, letters)):
            return False
    words = [word.lower() for word in _WORD.findall(explanation[:MAX_CHARACTERS])]
    return len(words) < 8 or sum(word in _ENGLISH for word in words) >= 0.05 * len(words)
