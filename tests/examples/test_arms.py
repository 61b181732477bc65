"""Arms: sizes as the paper has them, the same set whatever the order of records, a manifest that adds up."""

import random
from collections import Counter
from typing import get_args

import pytest

from lema_local.corrections.parsing import ParsedCorrection
from lema_local.errors import DataError
from lema_local.examples.arms import Assembled, Candidate, Ingredients, Origin, assemble, manifest
from lema_local.examples.texts import correction_example, cot_example
from lema_local.examples.tokens import ESTIMATE, ESTIMATOR, TokenCounter, estimate_tokens
from lema_local.settings.tables import Arm

ARMS: tuple[Arm, ...] = get_args(Arm)


def cot(
    count: int, *, start: int = 0, origin: Origin = "gold", evolved: bool = False, derived: bool = False
) -> list[Candidate]:
    return [
        Candidate(
            cot_example(f"q{k}", f"We add {k} + 1. The answer is {k}.", source_id=f"s{k}", problem_id="p"),
            origin,
            "m",
            derived,
            evolved,
        )
        for k in range(start, start + count)
    ]


def corrections(count: int, *, start: int = 0, evolved: bool = False, derived: bool = False) -> list[Candidate]:
    parsed = ParsedCorrection(2, "why", "Step 2: b. The answer is 2.")
    return [
        Candidate(
            correction_example(f"q{k}", ["a", "b"], parsed, source_id=f"c{k}", problem_id="p"),
            "correction",
            "corrector",
            derived,
            evolved,
        )
        for k in range(start, start + count)
    ]


def corrected(count: int, *, start: int = 0) -> list[Candidate]:
    return [
        Candidate(
            cot_example(f"q{k}", f"a. b {k}. The answer is 2.", source_id=f"c{k}", problem_id="p"),
            "corrected solution",
            "corrector",
        )
        for k in range(start, start + count)
    ]


def whole(cots: int = 12, fixes: int = 5) -> Ingredients:
    """All that any arm takes from."""
    return Ingredients(
        [*cot(cots), *cot(3, start=900, evolved=True)],
        [*corrections(fixes), *corrections(2, start=900, evolved=True)],
        corrected(fixes),
        cot(2, start=500, origin="augmented"),
    )


def sizes(assembled: Assembled) -> tuple[int, int]:
    kinds = Counter(c.example.kind for c in assembled.candidates)
    return kinds["cot"], kinds["correction"]


@pytest.mark.parametrize(
    ("name", "cots", "fixes", "expected"),
    [
        ("cot", 10, 4, (10, 0)),
        ("cot", 10, 0, (10, 0)),
        ("lema", 10, 4, (10, 4)),
        ("lema", 2, 7, (2, 7)),
        ("lema-controlled", 10, 4, (6, 4)),
        ("lema-controlled", 10, 9, (1, 9)),
        ("lema-controlled", 10, 10, (5, 5)),
        ("lema-controlled", 9, 30, (5, 4)),
        ("cot-expanded", 10, 4, (14, 0)),
        ("lema-no-step", 10, 4, (10, 4)),
        ("lema-no-explanation", 10, 4, (10, 4)),
        ("lema-no-solution", 10, 4, (10, 4)),
        ("evolved", 10, 4, (13, 6)),
    ],
)
def test_an_arm_has_its_size(name: Arm, cots: int, fixes: int, expected: tuple[int, int]) -> None:
    assert sizes(assemble(name, whole(cots, fixes) if fixes else Ingredients(cot(cots)), seed=1)) == expected


@pytest.mark.parametrize(
    ("cots", "fixes", "controlled"),
    [(32_421, 12_523, (19_898, 12_523)), (20_009, 6_306, (13_703, 6_306))],
    ids=["GSM8K", "MATH"],
)
def test_records_of_the_papers_counts_give_sets_of_its_sizes(
    cots: int, fixes: int, controlled: tuple[int, int]
) -> None:
    ingredients = Ingredients(cot(cots), corrections(fixes))
    assert sizes(assemble("cot", ingredients, seed=1)) == (cots, 0)
    assert sizes(assemble("lema", ingredients, seed=1)) == (cots, fixes)
    assert sizes(assemble("lema-controlled", ingredients, seed=1)) == controlled
    assert sum(controlled) == cots


@pytest.mark.parametrize("name", ARMS)
def test_neither_order_nor_repetition_of_records_changes_a_set(name: Arm) -> None:
    first, rng = whole(), random.Random(3)

    def shuffled(some: list[Candidate]) -> list[Candidate]:
        return rng.sample(some * 2, 2 * len(some))

    again = Ingredients(
        *(shuffled(list(some)) for some in (first.cot, first.corrections, first.corrected, first.spare))
    )
    one, other = (assemble(name, ingredients, seed=7) for ingredients in (first, again))
    assert one.candidates == other.candidates
    assert one.id == other.id


def test_the_same_text_of_two_records_is_one_example_of_the_first_origin() -> None:
    sampled, gold = cot(1, origin="sampled"), cot(1)
    (one,) = assemble("cot", Ingredients([*sampled, *gold]), seed=1).candidates
    assert one.origin == "gold"


def test_the_seed_chooses_what_a_controlled_arm_drops() -> None:
    one, other = (assemble("lema-controlled", Ingredients(cot(30), corrections(9)), seed=seed) for seed in (1, 2))
    assert one.id != other.id
    assert one.candidates != other.candidates


def test_every_arm_is_a_training_set_of_its_own() -> None:
    assert len({assemble(name, whole(), seed=1).id for name in ARMS}) == len(ARMS)


def test_only_the_evolved_arm_has_evolved_problems() -> None:
    assert {name for name in ARMS if any(c.is_evolved for c in assemble(name, whole(), seed=1).candidates)} == {
        "evolved"
    }
    with pytest.raises(DataError, match="problems that evolution wrote"):
        assemble("evolved", Ingredients(cot(3), corrections(2)), seed=1)


@pytest.mark.parametrize("spare", [0, 3, 40], ids=["nothing to spare", "some", "plenty"])
def test_matched_cot_has_the_output_tokens_of_lema(spare: int) -> None:
    fixes = corrections(6)
    ingredients = Ingredients(cot(8), fixes, spare=cot(spare, start=500, origin="augmented"))
    lema, matched = (assemble(name, ingredients, seed=1) for name in ("lema", "cot-matched-tokens"))

    def tokens(assembled: Assembled) -> int:
        return sum(estimate_tokens(c.example.output) for c in assembled.candidates)

    longest = max(estimate_tokens(c.example.output) for c in cot(8))
    assert tokens(lema) - longest <= tokens(matched) <= tokens(lema)
    assert sizes(matched)[1] == 0
    times = Counter(c.example.id for c in matched.candidates)
    assert {c.example.id for c in cot(8)} <= set(times)
    assert max(times.values()) > 1 if spare < 40 else max(times.values()) == 1  # anew only when all else is used up
    notes = manifest(matched, ingredients, ESTIMATOR)
    assert notes["estimated_output_tokens"] == {"this": tokens(matched), "lema": tokens(lema)}
    assert notes["paths_beyond_target"] + notes["repeated"] == len(matched.candidates) - 8


def test_an_arm_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="no CoT example"):
        assemble("cot", Ingredients([], corrections(2)), seed=1)
    with pytest.raises(DataError, match="Arm lema needs corrections"):
        assemble("lema", Ingredients(cot(2)), seed=1)


def test_a_manifest_says_what_a_set_is_made_of() -> None:
    ingredients = Ingredients(
        [*cot(3), *cot(2, start=50, origin="sampled", derived=True)],
        [*corrections(2), *corrections(1, start=50, derived=True)],
        left_out={"problem without a solution": 4},
        augmentation={"sampled": 5},
    )
    lema = assemble("lema", ingredients, seed=1)
    counter = TokenCounter("one a text", lambda texts: [1 for _ in texts])
    found = manifest(lema, ingredients, counter)
    assert found["training_set"] == lema.id
    assert (found["examples"], found["cot"], found["corrections"]) == (8, 5, 3)
    assert found["sources"] == {"correction by corrector": 3, "gold": 3, "sampled by m": 2}
    assert (found["corrections_reference_derived"], found["reference_derived"]) == (1, 3)
    assert found["tokens"] == {
        "prompt": 8,
        "output": 8,
        "longest_prompt": 1,
        "longest_output": 1,
        "counted_by": "one a text",
    }
    assert found["left_out"] == {"problem without a solution": 4}
    assert found["augmentation"] == {"sampled": 5}
    assert manifest(lema, ingredients, ESTIMATOR)["tokens"]["counted_by"] == ESTIMATE


def test_the_manifest_says_when_corrections_were_drawn() -> None:
    drawn, not_drawn = (Ingredients(cot(cots), corrections(fixes)) for cots, fixes in ((4, 9), (9, 4)))
    notes = manifest(assemble("lema-controlled", drawn, seed=1), drawn, ESTIMATOR)
    assert notes["corrections_drawn"] == "2 of as many as the CoT examples or more: half of the size"
    assert "corrections_drawn" not in manifest(assemble("lema-controlled", not_drawn, seed=1), not_drawn, ESTIMATOR)
