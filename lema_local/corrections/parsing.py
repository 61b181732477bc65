"""A corrector's reply, parsed into its three parts, spliced onto the kept steps, and judged. Pure; model output is
hostile, so patterns are linear and input is bounded.

 Step 2.                                                                <- incorrect step
Explanation: Apples given away must be subtracted, this step adds them.  <- explanation
Correct Solution:                                                        <- from the incorrect step on
...
Step 2: She keeps 42 - 9 = 33 apples. The answer is 33.

Of several corrections in one reply the first whole one counts, right or wrong: a corrector that may try until it is
right would be graded by its luck. Where a reply leaves a heading out, what plainly follows stands for it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from lema_local.corrections.naming import (
    Naming,
    blamed,
    complains,
    denies,
    is_verdict,
    mentioned,
    names_none,
    only_denies,
    quoted_step,
    says_more_than_which,
    words,
)
from lema_local.corrections.rationales import lines_of_steps, step_label
from lema_local.corrections.reply_text import own_text, plain_lines, visible
from lema_local.corrections.splicing import splice
from lema_local.corrections.structured import read_json
from lema_local.records.endings import is_whole

MAX_REPLY_CHARACTERS = 20_000

Rejection = Literal[
    "cut off",  # max_tokens ended the reply, or its reasoning never ended
    "too long",  # more than MAX_REPLY_CHARACTERS: no correction
    "called correct",  # says that nothing is wrong
    "no incorrect step",
    "no such step",  # names a step that the original solution does not have
    "no explanation",
    "no correct solution",
    "other problem",  # restates another question, or shares no amount with this one
    "other language",
    "no answer",
    "wrong answer",
]
REJECTIONS: tuple[Rejection, ...] = get_args(Rejection)

# What models put around a heading: "**Correct Solution:**", "### Explanation", "3. Explanation -", "> Explanation."
_BEFORE = r"^[\s>|#*_•-]{0,10}(?:\d{1,2}[.)] )?[*_]{0,3}"
_AFTER = r"[*_]{0,3}(?:\s?[:.–-]|$)[*_]{0,3}\s*(.*)"
_INCORRECT = re.compile(
    rf"{_BEFORE}(?:the )?(?:first )?(?:incorrect|wrong|erroneous|mistaken|faulty) step\b(.*)", re.IGNORECASE
)
# what follows "The wrong step" where that is a heading; "the wrong step adds 9" explains
_HEADS = re.compile(
    r"[\s*_]*(?:$|[:.–-]|\d|(?:is|was)\b|\W{0,4}step\b|.{0,60}\b(?:is|was)\W{1,4}step\b)", re.IGNORECASE
)
_EXPLANATION = re.compile(
    rf"{_BEFORE}(?:explanation|reason|why (?:it|this|the step) is (?:wrong|incorrect)){_AFTER}", re.IGNORECASE
)
_SOLUTION = re.compile(
    rf"{_BEFORE}(?:here is |here's )?(?:the |my )?(?:(?:correct(?:ed)?|new|revised|fixed|right) "
    rf"(?:solution|steps|version)|correction)(?: (?:from|starting|is)[^:\n]{{0,40}})?{_AFTER}",
    re.IGNORECASE,
)
_ASKED = re.compile(rf"{_BEFORE}(question|problem|original solution){_AFTER}", re.IGNORECASE)
_BARE_STEP = re.compile(
    r"[\s>#*_-]{0,8}steps?[ \t*_#]{0,4}(\d{1,3})(?:(?:,| and|-| &)+ ?(?:step )?\d{1,3}){0,6}[*_]{0,3}[.:]?[*_ ]{0,4}$",
    re.IGNORECASE,
)
_NUMBER_FIRST = re.compile(r"\s*[*_#]{0,3}(\d{1,3})[*_]{0,3}(?:[.:,;)]\s|[.:]?\s*$)\s*(.*)")
_MORE_STEPS = re.compile(r"^(?:(?:,| and| &){1,2} ?(?:steps? )?\d{1,3}){1,6}")
_BARE_NUMBER = re.compile(r"\s*[*_#]{0,3}(\d{1,3})[*_]{0,3}[.:]?\s*$")
_ELLIPSIS = re.compile(r"[\s\"'*_]{0,4}(?:\.{2,6}|…|\[\.\.\.\]|\(\.\.\.\))[\s\"'*_]{0,4}$")
_BRACES = re.compile(r"[{}\[\]]$")
_SPACES = re.compile(r"\s+")
_FROM_STEP_1 = re.compile(r"\s*step 1\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ParsedCorrection:
    """The parts of a reply; None for a part that is not there. The solution is its steps, one "Step k: ..." a line,
    without `...` and braces."""

    incorrect_step: int | None
    explanation: str | None
    correct_solution: str | None
    unread: Literal["cut off", "too long"] | None = None  # why nothing of it was read
    restated: str | None = field(default=None, compare=False)  # the question, where the reply says it again
    calls_correct: bool = field(default=False, compare=False)  # it says that nothing is wrong


@dataclass(slots=True)
class _Parts:
    """One correction of a reply, in lines. `heading` is what stands behind "Incorrect Step"; it, `explanation` and
    `solution` are None until their heading was seen."""

    heading: str | None = None
    head: list[str] = field(default_factory=list)
    explanation: list[str] | None = None
    solution: list[str] | None = None
    step: int | None = None

    def is_whole(self) -> bool:
        return self.step is not None and bool(self.explanation) and bool(self.solution)


def parse_correction(text: str, mistaken_steps: Sequence[str] | None = None) -> ParsedCorrection:
    """Read a corrector's reply. Never fails: what cannot be found is None.

    With the steps of the mistake given, the solution is spliced onto those that are kept: kept steps that it repeats
    are left out, and steps counted from 1 again are counted on.
    """
    own = own_text(text)
    if own is None:
        return ParsedCorrection(None, None, None, unread="cut off")
    if len(own) > MAX_REPLY_CHARACTERS:
        return ParsedCorrection(None, None, None, unread="too long")
    restated = None
    if found := read_json(own):
        # JSON's escapes may spell what own_text has taken out
        parts = _Parts(explanation=[visible(found[1] or "")], solution=[*map(visible, found[2])], step=found[0])
        parts.explanation = _explaining(parts.explanation or [], parts, mistaken_steps or ())
    else:
        every, restated = _read(plain_lines(lines_of_steps(own)))
        for one in every:
            _complete(one, mistaken_steps or ())
        parts = next((one for one in every if one.is_whole()), every[0])
    solution = splice(_without_marks(parts.solution or []), step=parts.step, mistaken=mistaken_steps)
    return ParsedCorrection(
        parts.step, _text(parts.explanation), solution, restated=restated, calls_correct=_denies(parts)
    )


def rejection_of(
    parsed: ParsedCorrection,
    *,
    original_steps: int,
    finish_reason: str | None,
    answer: str | None,
    is_correct: bool,
    stray: Literal["other problem", "other language"] | None = None,
) -> Rejection | None:
    """Why a correction is not kept, or None when it is: the first reason that holds.

    `original_steps` is how many steps the mistake has; `answer` and `is_correct` come from its correct solution;
    `stray` is what checks.stray found.
    """
    if not is_whole(finish_reason):
        return "cut off"
    if parsed.unread is not None:
        return parsed.unread
    if parsed.calls_correct:
        return "called correct"
    if parsed.incorrect_step is None:
        return "no incorrect step"
    if not 1 <= parsed.incorrect_step <= original_steps:
        return "no such step"
    if parsed.explanation is None:
        return "no explanation"
    if parsed.correct_solution is None:
        return "no correct solution"
    if stray is not None:
        return stray
    if answer is None:
        return "no answer"
    return None if is_correct else "wrong answer"


def correction_output(parsed: ParsedCorrection) -> str:
    """The training text of a kept correction, in the paper's form (microsoft/LEMA).

    Raises ValueError when a part is missing: such a correction is not kept.
    """
    if parsed.incorrect_step is None or parsed.explanation is None or parsed.correct_solution is None:
        raise ValueError("a correction without all three parts is no training text")
    # a solution that is done anew, from step 1, keeps no steps of the mistake
    kept = "...\n" if parsed.incorrect_step > 1 and not _FROM_STEP_1.match(parsed.correct_solution) else ""
    head = f" Step {parsed.incorrect_step}.\nExplanation: {parsed.explanation}\nCorrect Solution:\n"
    return f"{head}{{\n{kept}{parsed.correct_solution}\n}}"


def _read(lines: Sequence[str]) -> tuple[list[_Parts], str | None]:
    """The corrections of a reply in order, at least one, and the question where the reply restates it first."""
    every = [_Parts()]
    restated: str | None = None
    into: list[str] | None = every[0].head  # where a line without a heading goes; None: nowhere
    for k, line in enumerate(lines):
        now = every[-1]
        if asked := _ASKED.match(line):
            if now.solution:
                break  # a problem of the model's own
            if "question" in asked[1].lower() and restated is None:
                restated = asked[2].strip() or (lines[k + 1] if k + 1 < len(lines) else "")
            # an original solution said again is no part of the correction, but may name the step at its end
            into = now.head if now.explanation is None else None
        elif (heading := _INCORRECT.match(line)) and (
            now.explanation is None or now.solution or _HEADS.match(heading[1])
        ):
            if now.explanation is not None or now.solution is not None:
                now = _Parts()
                every.append(now)
            now.heading, now.head = heading[1], []
            into = now.head
        elif heading := _EXPLANATION.match(line):
            named = _last_bare(into) if now.explanation is not None or now.solution is not None else None
            if named is not None or now.solution is not None:
                now = _Parts(head=[named] if named else [])
                every.append(now)
            now.explanation = [*(now.explanation or []), *([heading[1]] if heading[1] else [])]
            into = now.explanation
        elif heading := _SOLUTION.match(line):
            if now.solution:
                into = None  # a second version of the same steps
                continue
            now.solution = [heading[1]] if heading[1] else []
            into = now.solution
        elif into is not None:
            into.append(line)
    return every, restated


def _last_bare(lines: list[str] | None) -> str | None:
    """Take "Step 3." off the end of the text before an explanation: it names the step of the next correction."""
    return lines.pop() if lines and _BARE_STEP.match(lines[-1]) else None


def _complete(parts: _Parts, mistaken: Sequence[str]) -> None:
    """Find the step, and what stands without its heading."""
    named = _named(parts, mistaken)
    parts.step, said = (named.step, named.said) if named else (None, parts.head)
    if parts.solution is None and parts.explanation:
        start = _solution_start(parts.explanation)
        parts.explanation, parts.solution = parts.explanation[:start], parts.explanation[start:]
    elif parts.solution is None and parts.explanation is None:
        start = _solution_start(said)
        said, parts.solution = said[:start], said[start:]
    if parts.explanation is not None or named:
        parts.explanation = _explaining(said if parts.explanation is None else parts.explanation, parts, mistaken)


def _named(parts: _Parts, mistaken: Sequence[str]) -> Naming | None:
    """The step that the reply calls wrong: under its heading; alone on a line, where the reply goes on from a heading
    that the prompt ended with; or in a sentence."""
    head = parts.head
    if parts.heading is not None:
        heading = parts.heading.lstrip(" :.*_#-")
        if not heading and head and (parts.explanation is not None or not step_label(head[0])):
            heading, head = head[0], head[1:]
        if not names_none(heading) and (found := _under_heading(heading, mistaken)):
            return Naming(found.step, [*found.said, *head])
    elif bare := _bare_step(parts):
        return bare
    elif parts.explanation is not None and head and (label := step_label(head[-1])):
        is_alone = not any(step_label(line) for line in head[:-1])
        if is_alone and not is_verdict(label[1]) and quoted_step(label[1], mistaken) == label[0]:
            return Naming(label[0], [])
    return blamed([*([parts.heading] if parts.heading else []), *head], mistaken) or blamed(
        parts.explanation or [], mistaken
    )


def _under_heading(text: str, mistaken: Sequence[str]) -> Naming | None:
    """The step that stands behind "Incorrect Step:", by number or in its words (of "Steps 2 and 3" the first), and what
    is said of it there."""
    if label := step_label(text):
        return Naming(label[0], [label[1]] if complains(label[1]) else [])
    if (step := quoted_step(text, mistaken)) is not None:
        return Naming(step, [])
    if found := _NUMBER_FIRST.match(text):
        return Naming(int(found[1]), [found[2]])
    if named := mentioned(text, mistaken):
        return Naming(named[0], [_MORE_STEPS.sub("", named[1], count=1).lstrip(" ,:;.)*_-")])
    return None


def _bare_step(parts: _Parts) -> Naming | None:
    """ "Step 2." on a line of its own, in a reply that has the form; several of them are headings of a solution."""
    found = [(k, bare) for k, line in enumerate(parts.head) if (bare := _BARE_STEP.match(line))]
    numbers = {int(bare[1]) for _, bare in found}
    has_form = parts.explanation is not None or (
        len(numbers) == 1
        and (parts.solution is not None or len(parts.head) == 1 or any(map(_ELLIPSIS.match, parts.head)))
    )
    if found and has_form:
        k, bare = found[-1]
        return Naming(int(bare[1]), parts.head[k + 1 :])
    if parts.head and parts.explanation is not None and (number := _BARE_NUMBER.match(parts.head[0])):
        return Naming(int(number[1]), parts.head[1:])
    return None


def _solution_start(lines: Sequence[str]) -> int:
    """Where steps plainly begin: at `...` or at a "Step k:" with a body that judges no step."""
    for k, line in enumerate(lines):
        label = step_label(line)
        is_step = label and label[1] and not is_verdict(label[1]) and not _EXPLANATION.match(line)
        if _ELLIPSIS.match(line) or (is_step and label and not (k == 0 and complains(label[1]))):
            return k
    return len(lines)


def _explaining(lines: Sequence[str], parts: _Parts, mistaken: Sequence[str]) -> list[str]:
    """The lines that say what is wrong: no step of a solution, not the wrong step's own words, and, where no heading
    calls them an explanation, more than which step it is."""
    wrong = words(mistaken[parts.step - 1]) if parts.step is not None and 1 <= parts.step <= len(mistaken) else []
    said = []
    for line in lines:
        label = step_label(line)
        text = label[1] if label else line
        if not _BARE_STEP.match(text) and words(text) != wrong and (label is None or complains(text)):
            said.append(line)
    if parts.explanation is None and not says_more_than_which(" ".join(said)):
        return []
    return said


def _denies(parts: _Parts) -> bool:
    """Whether a reply says that nothing is wrong, instead of what is."""
    if parts.step is None:
        heading = parts.heading or ""
        return names_none(heading) or denies([heading, *parts.head, *(parts.explanation or [])])
    return only_denies(" ".join(parts.explanation or []))


def _without_marks(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if not _ELLIPSIS.match(line) and not _BRACES.match(line)]


def _text(lines: Sequence[str] | None) -> str | None:
    text = _SPACES.sub(" ", " ".join(line for line in lines or () if not _ELLIPSIS.match(line))).strip(" *_#")
    return text or None
