"""Examples and arms: same records, same training set; sizes as the paper has them."""

import json
import random

import pytest

from lema_local.corrections import ParsedCorrection
from lema_local.errors import DataError
from lema_local.examples import Built, build_arm, correction_example, cot_example, sampled_output
from lema_local.profiles import Arm
from lema_local.records import Example


def cot(count: int) -> list[Example]:
    return [cot_example(f"q{k}", f"a{k}. The answer is {k}.", source_id="s", problem_id="p") for k in range(count)]


def corrections(count: int) -> list[Example]:
    parsed = ParsedCorrection(2, "why", "Step 2: b. The answer is 2.")
    return [correction_example(f"q{k}", ["a", "b"], parsed, source_id="s", problem_id="p") for k in range(count)]


def arm(name: Arm, cots: list[Example], fixes: list[Example], *, seed: int = 1, dataset: str = "d") -> Built:
    return build_arm(name, cots, fixes, dataset=dataset, seed=seed, left_out={"x": 1})


def sizes(built: Built) -> tuple[int, int]:
    kinds = [example.kind for example in built.examples]
    counted = (kinds.count("cot"), kinds.count("correction"))
    assert counted == (built.training_set.cot_examples, built.training_set.correction_examples)
    assert built.training_set.example_ids == tuple(example.id for example in built.examples)
    return counted


def test_an_example_is_the_papers_input_and_output() -> None:
    (one,) = cot(1)
    assert one.prompt == "Please solve the following math problem.\nQuestion: q0\nAnswer: Let's think step by step.\n"
    (two,) = corrections(1)
    assert two.prompt.endswith("\nQuestion: q0\nOriginal Solution:\n{\nStep 1: a\nStep 2: b\n}\nIncorrect Step:")
    assert two.output == " Step 2.\nExplanation: why\nCorrect Solution:\n{\n...\nStep 2: b. The answer is 2.\n}"


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
    ],
)
def test_an_arm_has_its_size(name: Arm, cots: int, fixes: int, expected: tuple[int, int]) -> None:
    assert sizes(arm(name, cot(cots), corrections(fixes))) == expected


def test_the_manifest_says_when_corrections_were_drawn() -> None:
    notes = json.loads(arm("lema-controlled", cot(4), corrections(9)).training_set.manifest)
    assert "half of the size" in notes["corrections_drawn"]
    assert "corrections_drawn" not in json.loads(arm("lema-controlled", cot(9), corrections(4)).training_set.manifest)
    assert (notes["cot"], notes["corrections"], notes["left_out"]) == (2, 2, {"x": 1})


def test_order_and_repetition_of_the_records_do_not_matter() -> None:
    cots, fixes = cot(20), corrections(8)
    shuffled = random.Random(0).sample(cots * 2, 40), random.Random(1).sample(fixes * 3, 24)
    for name in ("cot", "lema", "lema-controlled"):
        assert arm(name, *shuffled) == arm(name, cots, fixes)


def test_the_seed_chooses_what_a_controlled_arm_drops() -> None:
    one, other = (arm("lema-controlled", cot(30), corrections(9), seed=seed) for seed in (1, 2))
    assert one.training_set.id != other.training_set.id
    assert set(one.training_set.example_ids) != set(other.training_set.example_ids)


def test_every_arm_is_a_training_set_of_its_own() -> None:
    ids = {arm(name, cot(9), corrections(4)).training_set.id for name in ("cot", "lema", "lema-controlled")}
    assert len(ids) == 3


def test_an_arm_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="no CoT example"):
        arm("cot", [], corrections(2))
    with pytest.raises(DataError, match="Arm lema needs corrections"):
        arm("lema", cot(2), [])


@pytest.mark.parametrize(
    ("steps", "output"),
    [
        (["1 + 1 = 2", "The answer is 2."], "1 + 1 = 2. The answer is 2."),
        (["1 + 1 = 2. The answer is 2."], "1 + 1 = 2. The answer is 2."),
        (["1 + 1 = 2", "So 2"], "1 + 1 = 2. So 2. The answer is 2."),
    ],
    ids=["said", "said in the step", "not said"],
)
def test_a_sampled_rationale_ends_in_the_papers_sentence(steps: list[str], output: str) -> None:
    assert sampled_output(steps, "2") == output
