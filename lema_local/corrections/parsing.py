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

from lema_local.corrections.rationales import lines_of_steps, step_label
from lema_local.corrections.reply_text import own_text, plain_lines
from lema_local.corrections.splicing import splice
from lema_local.corrections.structured import read_json
from lema_local.records.endings import is_whole

MAX_REPLY_CHARACTERS = 20_000

Rejection = Literal[
    "cut off",  # max_tokens ended the reply, or its reasoning never ended
    "too long",  # more than MAX_REPLY_CHARACTERS: no correction
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
_EXPLANATION = re.compile(
    rf"{_BEFORE}(?:explanation|reason|why (?:it|this|the step) is (?:wrong|incorrect)){_AFTER}", re.IGNORECASE
)
_SOLUTION = re.compile(
    rf"{_BEFORE}(?:here is |here's )?(?:the |my )?(?:(?:correct(?:ed)?|new|revised|fixed|right) "
    rf"(?:solution|steps|version)|correction)(?: (?:from|starting|is)[^:\n]{{0,40}})?{_AFTER}",
    re.IGNORECASE,
)
_ASKED = re.compile(rf"{_BEFORE}(question|problem|original solution){_AFTER}", re.IGNORECASE)
_STEP_NAMED = re.compile(r"\bsteps?[ \t*_#(]{0,5}(\d{1,3})(?!\d)", re.IGNORECASE)
_BLAMED = re.compile(
    r"(?:incorrect|wrong|mistake|error)[^.\n\d]{0,40}\bsteps?[ \t*_#]{0,4}(\d{1,3})(?!\d)"
    r"|\bsteps?[ \t*_#]{0,4}(\d{1,3})[*_]{0,3} (?:is|was|has|contains)[^.\n]{0,20} "
    r"(?:incorrect|wrong|mistake|error|first)",
    re.IGNORECASE,
)
_BARE_STEP = re.compile(
    r"[\s>#*_-]{0,8}steps?[ \t*_#]{0,4}(\d{1,3})(?:(?:,| and|-| &)+ ?(?:step )?\d{1,3}){0,6}[*_]{0,3}[.:]?[*_ ]{0,4}$",
    re.IGNORECASE,
)
_BARE_NUMBER = re.compile(r"\s*[*_#]{0,3}(\d{1,3})[*_]{0,3}[.:]?\s*$")
_ELLIPSIS = re.compile(r"[\s\"'*_]{0,4}(?:\.{2,6}|…|\[\.\.\.\]|\(\.\.\.\))[\s\"'*_]{0,4}$")
_BRACES = re.compile(r"[{}\[\]]$")
_SPACES = re.compile(r"\s+")
_FEW_WORDS = 4  # fewer say no more than which step
_QUOTED = 0.8  # share of a line's words that a step has, for the line to be that step's words
_MAX_STEPS = 64


@dataclass(frozen=True, slots=True)
class ParsedCorrection:
    """The parts of a reply; None for a part that is not there. The solution is its steps, one "Step k: ..." a line,
    without `...` and braces."""

    incorrect_step: int | None
    explanation: str | None
    correct_solution: str | None
    unread: Literal["cut off", "too long"] | None = None  # why nothing of it was read
    restated: str | None = field(default=None, compare=False)  # the question, where the reply says it again


@dataclass(slots=True)
class _Parts:
    """One correction of a reply, in lines. `explanation` and `solution` are None until their heading was seen."""

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
        parts = _Parts(explanation=[found[1] or ""], solution=found[2], step=found[0])
    else:
        every, restated = _read(plain_lines(lines_of_steps(own)))
        for one in every:
            _complete(one, mistaken_steps or ())
        parts = next((one for one in every if one.is_whole()), every[0])
    solution = splice(_without_marks(parts.solution or []), step=parts.step, mistaken=mistaken_steps)
    return ParsedCorrection(parts.step, _text(parts.explanation), solution, restated=restated)


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
    kept = "...\n" if parsed.incorrect_step > 1 else ""
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
        elif heading := _INCORRECT.match(line):
            if now.explanation is not None or now.solution is not None:
                now = _Parts()
                every.append(now)
            now.head[:] = [f"incorrect step {heading[1].strip()}"]
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
    parts.step = _named_step(parts.head)
    if parts.step is None and parts.head:
        parts.step = _quoted_step(parts.head[0], mistaken)
    if parts.solution is None and parts.explanation:
        start = _solution_start(parts.explanation)
        parts.explanation, parts.solution = parts.explanation[:start], parts.explanation[start:]
    elif parts.solution is None and parts.explanation is None and parts.step is not None:
        start = _solution_start(parts.head)
        parts.head, parts.solution = parts.head[:start], parts.head[start:]
    if parts.explanation is None and parts.solution and parts.step is not None:
        parts.explanation = _unheaded_explanation(parts.head, parts.step, mistaken)
    if parts.step is None and parts.solution and parts.explanation:
        # "...\nStep 3: ..." starts from the incorrect step, by the form that was asked for
        first = next((label for line in parts.solution if (label := step_label(line))), None)
        if first and first[0] > 1 and _ELLIPSIS.match(parts.solution[0]):
            parts.step = first[0]


def _named_step(head: Sequence[str]) -> int | None:
    """The step that the text before the explanation names; of "Steps 2 and 3" the first."""
    joined = "\n".join(head)
    if head and head[0].startswith("incorrect step "):
        found = _STEP_NAMED.search(joined, 10) or _BARE_NUMBER.match(head[0][15:].lstrip(" :.*_#-"))
        if found:
            return int(found[1])
    for line in reversed(head):
        if bare := _BARE_STEP.match(line):
            return int(bare[1])
    if blamed := _BLAMED.search(joined):
        return int(blamed[1] or blamed[2])
    if named := _STEP_NAMED.search(joined):
        return int(named[1])
    return int(bare[1]) if head and (bare := _BARE_NUMBER.match(head[0])) else None


def _quoted_step(line: str, mistaken: Sequence[str]) -> int | None:
    """The one step whose words the line after "Incorrect Step:" repeats instead of its number."""
    said = set(_words(line.removeprefix("incorrect step ")))
    if not line.startswith("incorrect step ") or len(said) < _FEW_WORDS:
        return None
    shares = [len(said & set(_words(step))) / len(said) for step in mistaken[:_MAX_STEPS]]
    like = [k for k, share in enumerate(shares, start=1) if share >= _QUOTED]
    return like[0] if len(like) == 1 else None


def _solution_start(lines: Sequence[str]) -> int:
    """Where steps plainly begin, after at least one line of other text: at `...` or at a "Step k:" with a body."""
    for k, line in enumerate(lines[1:], start=1):
        label = step_label(line)
        if _ELLIPSIS.match(line) or (label and label[1] and not _EXPLANATION.match(line)):
            return k
    return len(lines)


def _unheaded_explanation(head: Sequence[str], step: int, mistaken: Sequence[str]) -> list[str]:
    """What is said about the step before the solution, where it is more than the step's number or its own words."""
    wrong = _words(mistaken[step - 1]) if 1 <= step <= len(mistaken) else []
    said = []
    for line in head:
        label = step_label(line)
        text = label[1] if label else line.removeprefix("incorrect step ").strip(" :*_")
        if not _BARE_STEP.match(text) and _words(text) != wrong:
            said.append(text)
    text = " ".join(said)
    return [text] if len(_words(text)) > _FEW_WORDS else []


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _without_marks(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if not _ELLIPSIS.match(line) and not _BRACES.match(line)]


def _text(lines: Sequence[str] | None) -> str | None:
    text = _SPACES.sub(" ", " ".join(line for line in lines or () if not _ELLIPSIS.match(line))).strip(" *_#")
    return text or None
