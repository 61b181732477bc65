"""The model card: all that a reader must know, in Markdown and YAML that no name can break out of."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import lema
from facts import HOSTILE, completion, evaluation, problem

from lema_local.errors import TrainingError
from lema_local.markdown import front_matter, table, text
from lema_local.records.store import Writer
from lema_local.records.types import Checkpoint, TrainingSet
from lema_local.stages.card import model_card
from lema_local.statistics.comparison import newcombe_interval
from lema_local.training.lint import Finding, Lint, write_lint

IDS = {"lema": "11111111-0000-4000-8000-000000000001", "cot": "22222222-0000-4000-8000-000000000002"}
MANIFEST = {
    "examples": 12,
    "cot": 9,
    "corrections": 3,
    "corrections_reference_derived": 2,
    "reference_derived": 2,
    "sources": {"gold": 9, "correction by oracle": 2, "correction by <script>|x": 1},
    "left_out": {"train problem that overlaps the test split: near": 4, "solution too long": 1},
}
TOGETHER = 20  # test problems


def checkpoint(arm: str, **more: Any) -> Checkpoint:
    fields: dict[str, Any] = {
        "id": IDS[arm],
        "run_id": IDS[arm],
        "base_model": "smollm2-135m-instruct",
        "quantization": "nf4",
        "training_set_id": IDS[arm],
        "arm": arm,
        "dataset": "d",
        "seed": 1,
        "step": 40,
        "settings": json.dumps({"learning_rate": 0.001, "lora_r": 64}),
        "path": f"runs/{arm}/step-000040",
        "loss": 0.25,
        "tokens_seen": 4000,
        "samples_seen": 320,
        "created_at": datetime(2026, 11, 24, tzinfo=UTC),
    }
    return Checkpoint(**fields | more)


def fill(
    store: Writer, *, manifest: dict[str, Any] = MANIFEST, evaluated: bool = True, answered: int = TOGETHER, **more: Any
) -> Path:
    """A lema checkpoint with its cot twin, both evaluated over the same base, and the base model; `answered`: how many
    of the problems the lema checkpoint has answered."""
    for arm in IDS:
        store.add_training_set(TrainingSet(IDS[arm], arm, "d", 1, 9, 3, json.dumps(manifest), ()), [])
        made = checkpoint(arm, **more)
        (store.path.parent / made.path).mkdir(parents=True, exist_ok=True)
        store.add(made)
    problems = [problem(number) for number in range(TOGETHER)]
    for one in problems:
        store.add(one)
    graded = []
    for start, (id_, right) in enumerate({IDS["lema"]: 15, IDS["cot"]: 10, None: 4}.items() if evaluated else ()):
        for number, one in enumerate(problems[:answered] if id_ == IDS["lema"] else problems):
            index = 100 * start + number
            store.add(completion(one, index, checkpoint_id=id_))
            graded.append(replace(evaluation(one, index, is_correct=number < right), checkpoint_id=id_))
    store.merge()
    store.derive("evaluation", graded)
    return store.path


def front(card: str) -> dict[str, Any]:
    fields: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return fields


def test_the_card_says_what_was_trained_on_what_and_what_came_of_it(store: Writer) -> None:
    db = fill(store)
    finding = Finding("source too long", "correction", 2, 611, 17)
    write_lint(
        db.parent / "runs" / "lema",
        Lint(examples=12, rows=10, longest_source=611, longest_target=90, findings=(finding,)),
    )
    card = model_card(db, "1111")
    fields = front(card)
    assert fields["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (fields["library_name"], fields["datasets"]) == ("peft", ["d"])
    (result,) = fields["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == 0.75
    body = card.split("---\n", 2)[2]
    assert body.index("2 of the 12 examples") < body.index("## Data")  # before anything else
    assert "12 examples, 9 CoT and 3 corrections" in body
    assert "4 train problems were left out because they overlap test or dev problems" in body
    assert "10 of 12 examples train, 2 are left out" in body
    assert "| learning_rate | 0.001 |" in body.replace("\\", "")
    assert "| this adapter | d test | 15/20 | 75.0% | 53.1% to 88.8% | 0 | gguf:1 |" in body
    assert "| cot adapter, same step | d test | 10/20 | 50.0% | 29.9% to 70.1% | 0 | gguf:1 |" in body
    assert "Against the cot adapter on d, 20 problems: +25.0 points" in body
    low, high = (100 * bound for bound in newcombe_interval(10, 5, 0, 5))
    assert f"+25.0 points ({low:+.1f} to {high:+.1f}, 95%, Newcombe)" in body
    assert "5 gained, 0 lost, exact McNemar p = 0.062" in body
    assert "Against the base model on d, 20 problems: +55.0 points" in body
    assert "See the base model's licence" in body or "license" in fields
    assert "NF4 quantisation" in body


def test_a_half_answered_checkpoint_is_named_so_and_neither_published_nor_compared(store: Writer) -> None:
    card = model_card(fill(store, answered=12), IDS["lema"])
    assert "model-index" not in front(card)
    assert "| this adapter (not yet whole: 12 of 20 problems) | d test | 12/12 | 100.0% |" in card.replace("\\", "")
    assert "| cot adapter, same step | d test | 10/20 |" in card
    assert "On d it is not yet whole: 12 of 20 problems, and compared with nothing: `lema eval` goes on." in card
    assert "Against the" not in card


def test_the_cot_adapter_beside_it_is_of_its_settings_and_evaluated(store: Writer) -> None:
    db = fill(store)
    others = [{"learning_rate": 0.001, "lora_r": 64}, {"learning_rate": 0.5, "lora_r": 64}]
    for number, settings in enumerate(others):  # made later: the first was not evaluated, the second is another design
        id_ = f"33333333-0000-4000-8000-00000000000{number}"
        store.add(checkpoint("cot", id=id_, run_id=id_, settings=json.dumps(settings), created_at=datetime.now(UTC)))
        if number:
            for k in range(TOGETHER):
                store.add(completion(problem(k), 900 + k, checkpoint_id=id_))
    store.merge()
    wrong = [replace(evaluation(problem(k), 900 + k, is_correct=False), checkpoint_id=id_) for k in range(TOGETHER)]
    store.derive("evaluation", wrong)
    card = model_card(db, IDS["lema"])
    assert "| cot adapter, same step | d test | 10/20 |" in card


def test_a_database_that_an_older_lema_wrote_last_has_a_card_too(store: Writer) -> None:
    db = fill(store)
    with store.connect(write=True) as connection:
        connection.execute("drop macro design_of")
    assert "| cot adapter, same step | d test | 10/20 |" in model_card(db, IDS["lema"])


def test_sampled_answers_are_no_row_of_greedy_ones(store: Writer) -> None:
    db = fill(store)
    sampled = '{"temperature": 0.7}'
    for k in range(TOGETHER):
        store.add(completion(problem(k), 800 + k, checkpoint_id=IDS["lema"], sampling=sampled))
    store.merge()
    right = [
        replace(evaluation(problem(k), 800 + k, is_correct=True), checkpoint_id=IDS["lema"]) for k in range(TOGETHER)
    ]
    store.derive("evaluation", right)
    card = model_card(db, IDS["lema"])
    assert card.count("| this adapter | d test |") == 1
    assert "| this adapter | d test | 15/20 |" in card


def test_problems_that_another_profile_asks_leave_a_checkpoint_whole(store: Writer) -> None:
    db = fill(store)
    store.add(problem(TOGETHER))
    store.merge()
    card = model_card(db, IDS["lema"])
    assert "not yet whole" not in card
    assert front(card)["model-index"]


def test_what_is_missing_is_said_with_the_command_that_makes_it(store: Writer) -> None:
    db = fill(store, evaluated=False)
    (db.parent / "runs" / "lema" / "step-000040" / "COMPLETE").unlink(missing_ok=True)
    card = model_card(db, IDS["lema"])
    assert "model-index" not in front(card)
    for command in ("Not evaluated yet: `lema eval`", "`lema train --lint`", "`lema train` makes them anew"):
        assert command in card


def test_the_cot_arm_is_compared_with_the_base_alone(store: Writer) -> None:
    card = model_card(fill(store), "2222")
    assert "Against the base model on d" in card
    assert "Against the cot adapter" not in card
    assert "No cot adapter" not in card


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_name_breaks_out_of_the_card(store: Writer, name: str) -> None:
    evil = f"\n---\n# <img src=x onerror=y> [x](javascript:z) | `c`\n{name}"
    manifest = MANIFEST | {"sources": {evil: 3}, "left_out": {evil: 1}}
    clean = evil.replace("\x00", "")  # the database holds no NUL
    card = model_card(fill(store, manifest=manifest, dataset=clean, evaluated=False), "1111")
    assert front(card)["datasets"] == [clean]
    body = card.split("---\n", 2)[2]
    assert "<img" not in body
    assert "\n# <" not in body
    assert "](javascript" not in body
    assert all(character.isprintable() or character == "\n" for character in body)
    assert len(body) < 20_000
    assert [
        line.replace("\\|", "").count("|") for line in body.splitlines() if "img src" in line and line[0] == "|"
    ] == [3]


def test_markdown_shows_text_as_it_is() -> None:
    assert text("a_b-c <b> *x* | `y` &amp;") == r"a_b-c &lt;b\> \*x\* \| \`y\` &amp;amp;"
    assert table(["a", "b"], [["x|y", 1]]) == "| a | b |\n|---|---|\n| x\\|y | 1 |"
    fields = {"a": "no", "b": ["1", {"c": "x: y\n- z", "d": [1.5]}], "e": {"f": None}}
    assert yaml.safe_load(front_matter(fields).split("---\n")[1]) == fields


def test_a_checkpoint_that_is_not_meant_is_one_line(store: Writer) -> None:
    db = fill(store, evaluated=False)
    for name, reason in (("9999", r"No checkpoint '9999' .*11111111 \(lema, step 40\)"), ("zz", "No checkpoint 'zz'")):
        with pytest.raises(TrainingError, match=reason) as caught:
            model_card(db, name)
        assert "\n" not in str(caught.value)
    with pytest.raises(TrainingError, match="is no checkpoint of"):
        model_card(db, str(db.parent))
    (db.parent / "runs" / "cot" / "step-000040").rmdir()
    with pytest.raises(TrainingError, match=r"is gone from .*`lema train` makes it anew"):
        model_card(db, "2222")


def test_the_command_writes_the_card_to_a_file_or_stdout(store: Writer) -> None:
    db = fill(store)
    printed = lema("train", "card", "1111", "--db", db, cwd=db.parent)
    written = lema(
        "train", "card", db.parent / "runs" / "lema" / "step-000040", "--db", db, "--output", "README.md", cwd=db.parent
    )
    assert (printed.returncode, written.returncode, written.stdout) == (0, 0, "")
    assert printed.stdout == (db.parent / "README.md").read_text() == model_card(db, "1111")


def test_a_card_is_not_written_over_the_database_or_where_it_cannot_be(store: Writer) -> None:
    db = fill(store)
    for output, said in (("lema.duckdb", "is the database itself"), ("none/README.md", "Cannot write none/README.md")):
        done = lema("train", "card", "1111", "--db", db, "--output", output, cwd=db.parent)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert said in done.stderr
    assert model_card(db, "1111")
