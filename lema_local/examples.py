"""From rationales and corrections to training examples, and from examples to arms. Pure and seeded: same input, same
training set.

cot               gold rationales, and sampled rationales with the right answer
lema              cot + kept corrections
lema-controlled   lema at the size of cot: fewer CoT examples make room for the corrections
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lema_local.corrections import ParsedCorrection, correction_output
from lema_local.errors import DataError
from lema_local.keys import content_key
from lema_local.profiles import Arm
from lema_local.prompts import correction_input, cot_input
from lema_local.rationales import join_steps, number_steps
from lema_local.records import Example, TrainingSet

_LAST_SENTENCE = re.compile(r"The answer is [^.!?]{1,60}(?:\.\d{1,20})?\.?$")


@dataclass(frozen=True, slots=True)
class Built:
    """An arm and the examples it is made of."""

    training_set: TrainingSet
    examples: tuple[Example, ...]


def cot_example(question: str, output: str, *, source_id: str, problem_id: str) -> Example:
    """A CoT example; `output` is one paragraph that ends "The answer is X."."""
    return Example(kind="cot", prompt=cot_input(question), output=output, source_id=source_id, problem_id=problem_id)


def sampled_output(steps: list[str], answer: str) -> str:
    """A sampled rationale as CoT output text; its last sentence is made "The answer is X." where it says it
    otherwise."""
    text = join_steps(steps)
    return text if _LAST_SENTENCE.search(text) else f"{text} The answer is {answer}."


def correction_example(
    question: str, mistaken_steps: list[str], parsed: ParsedCorrection, *, source_id: str, problem_id: str
) -> Example:
    """A correction example: the mistake goes in, the wrong step, its explanation and the new steps come out."""
    prompt = correction_input(question, number_steps(mistaken_steps))
    return Example(
        kind="correction", prompt=prompt, output=correction_output(parsed), source_id=source_id, problem_id=problem_id
    )


def build_arm(
    arm: Arm,
    cot: Sequence[Example],
    corrections: Sequence[Example],
    *,
    dataset: str,
    seed: int,
    left_out: dict[str, int],
    reference_derived: frozenset[str] = frozenset(),
) -> Built:
    """Put an arm together from all examples there are. Raises DataError where it would be empty or be no such arm."""
    cot, corrections = _unique(cot), _unique(corrections)
    if not cot:
        raise DataError("There is no CoT example to train on: run `make data` first, or give problems with solutions.")
    if arm != "cot" and not corrections:
        raise DataError(
            f"Arm {arm} needs corrections and there is none that was kept: see `lema sql rejections`, or give "
            f"another corrector."
        )
    notes: dict[str, Any] = {}
    if arm == "cot":
        corrections = []
    elif arm == "lema-controlled":
        size = len(cot)
        if len(corrections) >= size:
            corrections = _draw(corrections, size // 2, seed)
            notes["corrections_drawn"] = f"{len(corrections)} of as many as the CoT examples or more: half of the size"
        cot = _draw(cot, size - len(corrections), seed)
    examples = tuple(sorted([*cot, *corrections], key=lambda example: example.id))
    ids = tuple(example.id for example in examples)
    manifest = {
        "cot": len(cot),
        "corrections": len(corrections),
        "corrections_reference_derived": sum(example.source_id in reference_derived for example in corrections),
        "left_out": left_out,
        "characters": sum(len(example.prompt) + len(example.output) for example in examples),
        **notes,
    }
    training_set = TrainingSet(
        id=content_key("training_set", arm, seed, ids),
        arm=arm,
        dataset=dataset,
        seed=seed,
        cot_examples=len(cot),
        correction_examples=len(corrections),
        manifest=json.dumps(manifest, sort_keys=True),
        example_ids=ids,
    )
    return Built(training_set, examples)


def _unique(examples: Sequence[Example]) -> list[Example]:
    return sorted({example.id: example for example in examples}.values(), key=lambda example: example.id)


def _draw(examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    return random.Random(seed).sample(list(examples), count)
