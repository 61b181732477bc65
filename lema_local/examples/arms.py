"""The arms: which examples a student trains on. Pure and seeded: the same records and seed give the same training set
on any machine, whatever order they come in.

cot                   gold rationales, and sampled paths with the right answer
lema                  cot + kept corrections
lema-controlled       lema at the size of cot: fewer CoT examples make room for the corrections
cot-expanded          cot + the corrected solution of each correction (kept steps + correction), as one more CoT example
cot-matched-tokens    cot with more CoT until it has as many output tokens as lema
lema-no-step          lema whose correction outputs do not name the incorrect step
lema-no-explanation   ... do not explain it
lema-no-solution      ... do not solve on
warm-up               gold rationales alone: what a reasoner that is the student learns first
evolved               lema + CoT and corrections on the problems that evolution wrote (`problem.source` is there)

All but `evolved` leave the evolved problems out, so that the two can be compared.

cot-matched-tokens follows the paper's CoT-5.8M. We read its tokens as those that carry loss: 32,421 CoT outputs of
about 105 tokens and 12,523 correction outputs of about 190 are 5.8 M. It takes paths that were sampled beyond the
augmentation target first, drawn by seed, then CoT examples again in passes by seed. Tokens are counted by
tokens.estimate_tokens, which no machine lacks, so that the set is the same everywhere.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lema_local.errors import DataError
from lema_local.examples.texts import Part, without_part
from lema_local.examples.tokens import TokenCounter, estimate_tokens
from lema_local.records.keys import content_key
from lema_local.records.types import Example
from lema_local.settings.tables import Arm

Origin = Literal["gold", "augmented", "sampled", "corrected solution", "correction"]  # who wins where two are the same
_ORIGINS: dict[str, int] = {"gold": 0, "augmented": 1, "sampled": 2, "corrected solution": 3, "correction": 4}
WITHOUT_CORRECTIONS = ("cot", "warm-up")
_ABLATIONS: dict[str, Part] = {
    "lema-no-step": "step",
    "lema-no-explanation": "explanation",
    "lema-no-solution": "solution",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An example and where it comes from."""

    example: Example
    origin: Origin
    author: str  # the model that wrote it; of gold, the data set
    is_reference_derived: bool = False  # an oracle wrote it; gold is the reference itself and does not count
    is_evolved: bool = False


@dataclass(frozen=True, slots=True)
class Ingredients:
    """Every example that the records give, before arms are put together."""

    cot: Sequence[Candidate]
    corrections: Sequence[Candidate] = ()
    corrected: Sequence[Candidate] = ()  # corrected solutions as CoT: only for cot-expanded
    spare: Sequence[Candidate] = ()  # right paths beyond the augmentation target: only for cot-matched-tokens
    left_out: Mapping[str, int] = field(default_factory=dict)  # reason -> count
    augmentation: Mapping[str, Any] | None = None  # augmentation.Books
    augmentation_evolved: Mapping[str, Any] | None = None  # of the paths of evolved problems


@dataclass(frozen=True, slots=True)
class Assembled:
    """An arm's examples by id; one that trains twice stands twice."""

    arm: Arm
    seed: int
    candidates: tuple[Candidate, ...]
    notes: Mapping[str, Any]

    @property
    def id(self) -> str:
        """What identifies the set: arm, seed and its sorted example ids, hashed."""
        return training_set_id(self.arm, self.seed, [c.example.id for c in self.candidates])


def training_set_id(arm: str, seed: int, example_ids: Sequence[str]) -> str:
    """The id of a training set of these examples, given sorted."""
    return content_key("training_set", arm, seed, list(example_ids))


def assemble(arm: Arm, ingredients: Ingredients, *, seed: int) -> Assembled:
    """Put an arm together. Raises DataError where it would be empty or be no such arm."""
    evolved = arm == "evolved"
    cot, corrections, corrected, spare = (
        _unique(c for c in some if evolved or not c.is_evolved)
        for some in (ingredients.cot, ingredients.corrections, ingredients.corrected, ingredients.spare)
    )
    if not cot:
        raise DataError("There is no CoT example to train on: run `make data` first, or give problems with solutions.")
    if arm not in WITHOUT_CORRECTIONS and not corrections:
        raise DataError(
            f"Arm {arm} needs corrections and there is none that was kept: see `lema sql rejections`, or give "
            f"another corrector."
        )
    if evolved and not any(c.is_evolved for c in (*cot, *corrections)):
        raise DataError("Arm evolved needs problems that evolution wrote, and there are none with examples yet.")
    notes: dict[str, Any] = {}
    chosen: list[Candidate]
    if arm == "cot":
        chosen = cot
    elif arm == "warm-up":
        chosen = [candidate for candidate in cot if candidate.origin == "gold"]
    elif arm == "lema-controlled":
        chosen = _controlled(cot, corrections, seed, notes)
    elif arm == "cot-expanded":
        chosen = _unique([*cot, *corrected])
        notes["corrected_solutions_that_are_cot_already"] = len(cot) + len(corrected) - len(chosen)
        notes["corrections_without_one_solution"] = len(corrections) - len(corrected)
    elif arm == "cot-matched-tokens":
        chosen = _matched(cot, corrections, spare, seed, notes)
    elif arm in _ABLATIONS:
        chosen = [*cot, *_unique(_ablated(c, _ABLATIONS[arm]) for c in corrections)]
    else:
        chosen = [*cot, *corrections]
    return Assembled(arm, seed, tuple(sorted(chosen, key=_id)), notes)


def manifest(assembled: Assembled, ingredients: Ingredients, counter: TokenCounter) -> dict[str, Any]:
    """What an arm is made of: counts, sources, tokens, what was left out and why, and the hash that identifies it."""
    candidates = assembled.candidates
    corrections = [c for c in candidates if c.example.kind == "correction"]
    sources = Counter(c.origin if c.origin == "gold" else f"{c.origin} by {c.author}" for c in candidates)
    return {
        "training_set": assembled.id,
        "arm": assembled.arm,
        "seed": assembled.seed,
        "examples": len(candidates),
        "cot": len(candidates) - len(corrections),
        "corrections": len(corrections),
        "corrections_reference_derived": sum(c.is_reference_derived for c in corrections),
        "reference_derived": sum(c.is_reference_derived for c in candidates),
        "evolved": sum(c.is_evolved for c in candidates),
        "sources": dict(sorted(sources.items())),
        "tokens": _tokens(candidates, counter),
        "characters": sum(len(c.example.prompt) + len(c.example.output) for c in candidates),
        "augmentation": ingredients.augmentation,
        **({"augmentation_evolved": ingredients.augmentation_evolved} if assembled.arm == "evolved" else {}),
        "left_out": dict(sorted(ingredients.left_out.items())),
        **assembled.notes,
    }


def _controlled(
    cot: list[Candidate], corrections: list[Candidate], seed: int, notes: dict[str, Any]
) -> list[Candidate]:
    size = len(cot)
    if len(corrections) >= size:
        corrections = _draw(corrections, size // 2, seed)
        notes["corrections_drawn"] = f"{len(corrections)} of as many as the CoT examples or more: half of the size"
    return [*_draw(cot, size - len(corrections), seed), *corrections]


def _matched(
    cot: list[Candidate], corrections: list[Candidate], spare: list[Candidate], seed: int, notes: dict[str, Any]
) -> list[Candidate]:
    """CoT up to the output tokens of lema: off by less than the last example's length."""
    there = {c.example.id for c in cot}
    spare = [c for c in spare if c.example.id not in there]
    have = sum(_output_tokens(c) for c in cot)
    target = have + sum(_output_tokens(c) for c in corrections)
    chosen = list(cot)
    more = [*_draw(spare, len(spare), seed)]
    for candidate in _then_passes(more, cot, seed):
        tokens = _output_tokens(candidate)
        if have + tokens > target:
            break
        have += tokens
        chosen.append(candidate)
    taken = len(chosen) - len(cot)
    notes["estimated_output_tokens"] = {"this": have, "lema": target}
    notes["paths_beyond_target"] = min(taken, len(more))
    notes["repeated"] = max(0, taken - len(more))
    counts = Counter(c.example.id for c in chosen)
    repeats = {id_: count - 1 for id_, count in sorted(counts.items()) if count > 1}
    if repeats:  # the database links an example to its set once: this tells how often it trains beside that
        notes["repeats"] = repeats
    return chosen


def _then_passes(first: list[Candidate], cot: list[Candidate], seed: int) -> Iterator[Candidate]:
    yield from first
    k = 0
    while True:
        k += 1
        yield from _draw(cot, len(cot), seed + k)


def _ablated(candidate: Candidate, part: Part) -> Candidate:
    example = candidate.example
    return replace(candidate, example=replace(example, output=without_part(example.output, part)))


def _tokens(candidates: Sequence[Candidate], counter: TokenCounter) -> dict[str, Any]:
    texts = [[c.example.prompt for c in candidates], [c.example.output for c in candidates]]
    prompts, outputs = ((counter.count(some) or [0]) for some in texts)
    return {
        "prompt": sum(prompts),
        "output": sum(outputs),
        "longest_prompt": max(prompts),
        "longest_output": max(outputs),
        "counted_by": counter.name,
    }


def _output_tokens(candidate: Candidate) -> int:
    return estimate_tokens(candidate.example.output)


def _unique(candidates: Iterable[Candidate]) -> list[Candidate]:
    """One of each example, by id. Where two records gave the same text, the first origin and then the smaller source
    id stand for it, so that no order of records matters."""
    best: dict[str, Candidate] = {}
    for candidate in candidates:
        other = best.setdefault(candidate.example.id, candidate)
        if other is not candidate and _rank(candidate) < _rank(other):
            best[candidate.example.id] = candidate
    return [best[key] for key in sorted(best)]


def _rank(candidate: Candidate) -> tuple[int, str]:
    return _ORIGINS[candidate.origin], candidate.example.source_id


def _id(candidate: Candidate) -> str:
    return candidate.example.id


def _draw(candidates: Sequence[Candidate], count: int, seed: int) -> list[Candidate]:
    return random.Random(seed).sample(list(candidates), count)
