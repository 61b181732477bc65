"""A corrector's reply, parsed into its three parts and judged. Pure; model output is hostile, so patterns are linear
and input is bounded.

 Step 2.                                                                <- incorrect step
Explanation: Apples given away must be subtracted, this step adds them.  <- explanation
Correct Solution:                                                        <- from the incorrect step on
...
Step 2: She keeps 42 - 9 = 33 apples. The answer is 33.
"""

import re
from dataclasses import dataclass
from typing import Literal

MAX_REPLY_CHARACTERS = 20_000

Rejection = Literal[
    "cut off",  # max_tokens ended the reply
    "no incorrect step",
    "no such step",  # names a step that the original solution does not have
    "no explanation",
    "no correct solution",
    "no answer",
    "wrong answer",
]

# "**Correct Solution:**", "### Explanation", "Explanation -": a heading word at a line's start, with what models put
# around it
_EXPLANATION = re.compile(r"^[ \t>#*_-]{0,10}explanation[*_]{0,2}[ \t]?[:.-][*_]{0,2}", re.IGNORECASE | re.MULTILINE)
_SOLUTION = re.compile(
    r"^[ \t>#*_-]{0,10}(?:correct(?:ed)?|new) solution[*_]{0,2}[ \t]?[:.-][*_]{0,2}", re.IGNORECASE | re.MULTILINE
)
_STEP_NUMBER = re.compile(r"step[ \t*_#]{0,4}(\d{1,3})", re.IGNORECASE)
_BARE_NUMBER = re.compile(r"\s*[*_#]{0,2}(\d{1,3})[*_]{0,2}[.:]?\s*$")
_NEXT_PROBLEM = re.compile(
    r"^[ \t>#*_-]{0,10}(?:question|original solution|incorrect step)[*_]{0,2}[ \t]?:", re.IGNORECASE | re.MULTILINE
)
_ELLIPSIS_OR_BRACE = re.compile(r"^(?:\.{3,6}|…|\{|\}|```\w{0,10})$")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class ParsedCorrection:
    """The parts of a reply; None for a part that is not there. The solution is its steps, one a line, without `...`
    and braces."""

    incorrect_step: int | None
    explanation: str | None
    correct_solution: str | None


def parse_correction(text: str) -> ParsedCorrection:
    """Read a corrector's reply. Never fails: what cannot be found is None."""
    text = text[:MAX_REPLY_CHARACTERS]
    explanation = _EXPLANATION.search(text)
    solution = _SOLUTION.search(text, explanation.end() if explanation else 0)
    head_end = min((match.start() for match in (explanation, solution) if match), default=len(text))
    return ParsedCorrection(
        incorrect_step=_incorrect_step(text[:head_end]),
        explanation=_explanation(text[explanation.end() : solution.start() if solution else len(text)])
        if explanation
        else None,
        correct_solution=_solution(text[solution.end() :]) if solution else None,
    )


def rejection_of(
    parsed: ParsedCorrection, *, original_steps: int, finish_reason: str | None, answer: str | None, is_correct: bool
) -> Rejection | None:
    """Why a correction is not kept, or None when it is: the first reason that holds.

    `original_steps` is how many steps the mistake has; `answer` and `is_correct` come from its correct solution.
    """
    if finish_reason == "length":
        return "cut off"
    if parsed.incorrect_step is None:
        return "no incorrect step"
    if not 1 <= parsed.incorrect_step <= original_steps:
        return "no such step"
    if parsed.explanation is None:
        return "no explanation"
    if parsed.correct_solution is None:
        return "no correct solution"
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


def _incorrect_step(head: str) -> int | None:
    numbers = _STEP_NUMBER.findall(head)
    if numbers:
        return int(numbers[0])
    for line in head.splitlines():
        if line.strip():
            bare = _BARE_NUMBER.match(line)
            return int(bare[1]) if bare else None
    return None


def _explanation(text: str) -> str | None:
    other = _NEXT_PROBLEM.search(text)
    text = _SPACES.sub(" ", text[: other.start()] if other else text).strip(" *_#")
    return text or None


def _solution(text: str) -> str | None:
    other = _NEXT_PROBLEM.search(text)
    lines = (text[: other.start()] if other else text).splitlines()
    kept = [line.strip() for line in lines if line.strip() and not _ELLIPSIS_OR_BRACE.match(line.strip())]
    return "\n".join(kept) or None
