"""Overlaps between train and test: what counts as one, what does not, and that the index misses no pair."""

import json
import random
import string
import time
from itertools import product

import pytest
from commands import lema
from hypothesis import given
from hypothesis import strategies as st

from lema_local.problems import decontamination
from lema_local.problems.decontamination import leave_out, overlaps
from lema_local.records.types import Problem

STORY = (
    "A baker in the old town sells {} rolls each morning and {} loaves each evening, closes on Sundays, and pays a "
    "quarter of what he earns to the owner of the shop. How much is left to him after {} weeks?"
)


def problems(*questions: str, split: str = "train") -> list[Problem]:
    return [Problem("d", split, question, "1") for question in questions]


def kind_of(train: str, test: str) -> str | None:
    found = overlaps(problems(train), problems(test, split="test"))
    assert len(found) <= 1
    return found[0].kind if found else None


@pytest.mark.parametrize(
    ("train", "test", "kind"),
    [
        pytest.param("Tom has 3 cats.", "tom  has 3 CATS", "exact", id="case-spaces-and-stops"),
        pytest.param("He pays 1,000 dollars.", "He pays 1000 dollars", "exact", id="commas-of-thousands"),
        pytest.param("Find ${\\rm x}$.", "Find \uff58", None, id="other-latex-is-other-text"),
        pytest.param("What is $x+1$?", "What is x + 1", "exact", id="dollars-of-latex"),
        pytest.param("What is x + 1?", "What is x - 1?", None, id="another-operator"),
        pytest.param("Tom has 3 cats.", "Tom has 4 cats.", "template", id="another-number"),
        pytest.param(STORY.format(9, 8, 7), STORY.format(19, 18, 17), "template", id="a-long-text-with-other-numbers"),
        pytest.param(
            STORY.format(9, 8, 7), STORY.format(9, 8, 7).replace("baker", "cook"), "near", id="a-word-changed"
        ),
        pytest.param(
            "We know this: " + STORY, "Ana saw how " + STORY[:120] + " far away. Who?", "ngram", id="13-words"
        ),
        pytest.param("a b c d e f g h i j k l x y z", "q w e r a b c d e f g h i j k l", None, id="12-words"),
        pytest.param(
            "How many apples are left in the box?", "How many pens are left in the bag?", None, id="small-talk"
        ),
    ],
)
def test_a_pair_gets_its_strongest_kind(train: str, test: str, kind: str | None) -> None:
    assert kind_of(train, test) == kind


def test_templates_stay_and_the_rest_is_left_out_and_counted() -> None:
    train = problems("Tom has 3 cats.", "Ann has 5 dogs.", "Who ate 7 plums?")
    found = overlaps(train, problems("tom has 3 cats", "Ann has 6 dogs.", split="test"))
    kept, counts = leave_out(train, found)
    assert ([problem.question for problem in kept], counts) == (["Ann has 5 dogs.", "Who ate 7 plums?"], {"exact": 1})


words = st.lists(st.sampled_from("abcdefgh"), min_size=0, max_size=25).map(" ".join)


@given(st.lists(words, max_size=6), st.lists(words, max_size=6))
def test_the_index_finds_the_pairs_that_comparing_all_finds(train: list[str], test: list[str]) -> None:
    found = {(o.train.question, o.test.question) for o in overlaps(problems(*train), problems(*test))}
    texts = {question: decontamination._text(question) for question in (*train, *test)}
    for one in train:
        for other in test:
            a, b = texts[one], texts[other]
            union = len(a.shingles | b.shingles)
            alike = a.tokens == b.tokens or bool(a.runs & b.runs)
            alike = alike or (union > 0 and 5 * len(a.shingles & b.shingles) >= 3 * union)
            assert ((one, other) in found) == alike


def test_as_many_problems_as_gsm8k_has_take_seconds() -> None:
    vocabulary, draw = list(map("".join, product(string.ascii_letters, repeat=2))), random.Random(1)
    texts = [" ".join(draw.choices(vocabulary, weights=range(len(vocabulary), 0, -1), k=45)) for _ in range(8792)]
    started = time.process_time()
    found = overlaps(problems(*texts[:7473]), problems(*texts[7473:], texts[0], split="test"))
    assert [overlap.kind for overlap in found] == ["exact"]
    assert time.process_time() - started < 10


def test_hostile_questions_are_compared_in_linear_time() -> None:
    started = time.process_time()
    overlaps(problems("x" * 1_000_000, "1," * 500_000, "- " * 500_000), problems("1." * 500_000, "", split="test"))
    assert time.process_time() - started < 10


def test_check_shows_the_pairs_and_counts_what_is_left_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("own")
    rows = {"train": ["Tom has 3 cats. How many?", "Ann has 5 dogs. How many?", "Eva has 2 hens."], "test": []}
    rows["test"] = ["tom has 3 cats, how many", "Ann has 6 dogs. How many?"]
    for split, questions in rows.items():
        lines = [json.dumps({"question": question, "answer": "3"}) for question in questions]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    options = ("--dataset", "mine", "--data-path", str(folder))
    done = lema("problems", "check", *options, cwd=folder)
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["exact", "template"]
    assert done.stderr == "2 overlapping pairs with 2 of 3 train problems; 1 are left out of training.\n"
    found = json.loads(lema("problems", "check", "--json", *options, cwd=folder).stdout)
    assert [(row["kind"], row["score"], row["is_left_out"]) for row in found] == [
        ("exact", 1, True),
        ("template", 1, False),
    ]
    against = lema("problems", "check", *options, "--against", f"svamp={folder / 'test.jsonl'}", cwd=folder)
    assert "svamp" in against.stdout
    assert "0 are left out of training" in against.stderr
    misplaced = lema("problems", "--dataset", "mine", "check", cwd=folder)
    assert (misplaced.returncode, misplaced.stderr.count("\n")) == (1, 1)
