"""What a reviewer sees of one correction: its texts in parts, no names of models. Pure.

    Item(id="77aa...", question="Joel buys ...", steps=(Line("Step 1", "6 * 2 = 12"), Line("Step 2", "12 + 5 = 19")),
         incorrect_step=2, explanation="The sum is wrong.", solution=(Line("Step 2", "12 + 5 = 17 ..."),), ...)

The texts are a model's: they leave here as plain strings, cut where they are longer than anyone reads, and the page
puts them in as text.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lema_local.corrections.rationales import lines_of_steps, step_label
from lema_local.prompts import sampled_steps

MOST_CHARACTERS = 16_000  # of one text
MOST_LINES = 200


@dataclass(frozen=True, slots=True)
class Line:
    """A step or another line of a solution."""

    label: str | None  # "Step 2"
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """One correction to grade."""

    id: str
    question: str
    reference: str
    reference_solution: str | None
    steps: tuple[Line, ...]  # of the mistake; lines without a label where no step can be read
    mistaken_answer: str | None
    incorrect_step: int | None  # as the corrector names it
    explanation: str | None
    solution: tuple[Line, ...]
    answer: str | None
    rejected_because: str | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def item_of(row: Sequence[Any]) -> Item:
    """An item of a row of db/stages/review_items.sql."""
    (
        id_, question, reference, reference_solution, mistaken, template, mistaken_answer, step, explanation, solution,
        answer, rejected_because,
    ) = row  # fmt: skip
    steps = sampled_steps(mistaken, template)
    return Item(
        id=id_,
        question=_cut(question),
        reference=_cut(reference),
        reference_solution=_cut(reference_solution) if reference_solution else None,
        steps=tuple(Line(f"Step {k}", _cut(text)) for k, text in enumerate(steps[:MOST_LINES], 1)) or _lines(mistaken),
        mistaken_answer=_cut(mistaken_answer) if mistaken_answer else None,
        incorrect_step=step,
        explanation=_cut(explanation) if explanation else None,
        solution=_lines(solution or ""),
        answer=_cut(answer) if answer else None,
        rejected_because=rejected_because,
    )


def _lines(text: str) -> tuple[Line, ...]:
    """The lines of a solution; blank ones go."""
    found = []
    for line in lines_of_steps(_cut(text)).splitlines():
        label = step_label(line)
        if label is not None:
            found.append(Line(f"Step {label[0]}", label[1]))
        elif line.strip():
            found.append(Line(None, line.strip()))
    left = len(found) - MOST_LINES
    return (*found[:MOST_LINES], Line(None, f"[{left} more lines]")) if left > 0 else tuple(found)


def _cut(text: str) -> str:
    left = len(text) - MOST_CHARACTERS
    return text if left <= 0 else f"{text[:MOST_CHARACTERS]} [cut: {left} more characters]"
