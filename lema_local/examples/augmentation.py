"""CoT augmentation: which sampled paths join the gold rationales, and the paper's books on them. Pure.

The paper samples 30,000 paths of GSM8K and removes 5,052 for a wrong answer or format, so 24,948 train. We also drop a
path whose training text is there already, and count it apart:

    {"sampled": 30000, "kept": 24948, "rejected": {"wrong answer": 4790, "cut off": 262}, "duplicates": 0}

`sampled` is always kept + rejected + duplicates.
"""

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any

from lema_local.answers.exact import extract_answer, is_correct
from lema_local.corrections.rationales import answer_text
from lema_local.examples.texts import MAX_CHARACTERS, cot_example, sampled_output
from lema_local.prompts import sampled_steps
from lema_local.records.types import Example, Problem


@dataclass(frozen=True, slots=True)
class SampledPath:
    """A sampled rationale as graded. Its text is "" where the grade alone decides."""

    id: str
    problem_id: str
    author: str
    purpose: str  # "augment": sampled for this; "sample": a reasoner's, sampled for its mistakes
    answer: str | None
    is_correct: bool
    is_cut: bool
    is_reference_derived: bool
    text: str
    template: str  # that it was asked by


@dataclass(slots=True)
class Books:
    """What became of the sampled paths, up to the target."""

    target: int | None = None
    sampled: int = 0
    kept: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """For manifests."""
        return {
            "target": self.target,
            "sampled": self.sampled,
            "kept": self.kept,
            "rejected": dict(sorted(self.rejected.items())),
            "duplicates": self.duplicates,
        }


def path_example(path: SampledPath, problem: Problem) -> tuple[Example | None, str]:
    """The CoT example of a path, or None and the reason why it is rejected."""
    if path.is_cut:
        return None, "cut off"
    if path.answer is None:
        return None, "no answer"
    if not path.is_correct:
        return None, "wrong answer"
    steps = sampled_steps(path.text, path.template)
    if not steps:
        return None, "no steps"
    output = sampled_output(steps, answer_text(problem))
    if len(output) > MAX_CHARACTERS:
        return None, "too long"
    # what trains must say what was graded: later text may have carried the answer
    said = extract_answer(output, problem.kind)
    if said is None or not (said == path.answer or is_correct(said, problem.answer, problem.kind)):
        return None, "steps end otherwise"
    return cot_example(problem.question, output, source_id=path.id, problem_id=problem.id), ""


def keep_paths(
    paths: Iterable[SampledPath], problems: dict[str, Problem], *, taken: Container[str], target: int | None
) -> tuple[list[tuple[SampledPath, Example]], list[tuple[SampledPath, Example]], Books]:
    """Paths in their order -> kept ones with their examples, those beyond the target likewise, and the books.

    `taken` holds the ids of the examples that are there already (the gold ones).
    """
    books = Books(target=target)
    kept: list[tuple[SampledPath, Example]] = []
    spare: list[tuple[SampledPath, Example]] = []
    seen: set[str] = set()
    for path in paths:
        example, reason = path_example(path, problems[path.problem_id])
        is_new = example is not None and example.id not in taken and example.id not in seen
        if example is not None and is_new:
            seen.add(example.id)
        if target is not None and books.sampled >= target:
            if example is not None and is_new:
                spare.append((path, example))
            continue
        books.sampled += 1
        if example is None:
            books.rejected[reason] += 1
        elif is_new:
            books.kept += 1
            kept.append((path, example))
        else:
            books.duplicates += 1
    return kept, spare, books
