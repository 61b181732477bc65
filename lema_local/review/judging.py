"""A model as judge, by the rubric that people grade by: what it is asked, and what its reply says. Pure.

parse_judgement("Reason: Step 2 is named rightly, and the steps go on.\\nGrade: excellent")
# Judgement(grade="excellent", reason="Step 2 is named rightly, and the steps go on.")
"""

import re
from dataclasses import dataclass

from lema_local.corrections.reply_text import own_text
from lema_local.records.types import Grade
from lema_local.review.items import Item, Line
from lema_local.review.rubric import GRADES, MAX_NOTE

JUDGE_TEMPLATE = "judge.1"

_MAX_REPLY = 16_000  # characters
_GRADE = re.compile(
    r"[*_]{0,2}grade[*_]{0,2}:[*_]{0,2}[ \t]{0,4}[*_\"]{0,2}(\w{1,12})[*_\"]{0,2}\.?[*_]{0,2}", re.IGNORECASE
)
_REASON = re.compile(r"[*_]{0,2}reason[*_]{0,2}:[*_]{0,2}\s{0,4}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's grade of one correction, and why."""

    grade: Grade
    reason: str


def judge_inputs(item: Item) -> dict[str, str]:
    """What the template is filled with, in its order: nothing says who wrote the correction."""
    return {
        "question": item.question,
        "reference": item.reference,
        "reference_solution": item.reference_solution or "(none)",
        "steps": _text(item.steps),
        "incorrect_step": "(none)" if item.incorrect_step is None else f"Step {item.incorrect_step}.",
        "explanation": item.explanation or "(none)",
        "solution": _text(item.solution),
    }


def parse_judgement(text: str) -> Judgement | None:
    """The grade on the reply's last line; None where it has none, or names two."""
    lines = [line.strip() for line in (own_text(text) or "")[:_MAX_REPLY].splitlines() if line.strip()]
    found = [match[1].lower() for line in lines if (match := _GRADE.fullmatch(line))]
    if len(found) != 1 or _GRADE.fullmatch(lines[-1]) is None:
        return None
    for grade in GRADES:
        if found[0] == grade:
            return Judgement(grade, _REASON.sub("", "\n".join(lines[:-1]), count=1)[:MAX_NOTE])
    return None


def _text(lines: tuple[Line, ...]) -> str:
    return "\n".join(f"{line.label}: {line.text}" if line.label else line.text for line in lines) or "(none)"
