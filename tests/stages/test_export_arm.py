"""An exported arm: the columns that each trainer reads, a data card, and files that `datasets` loads."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import duckdb
import pytest
import yaml
from bulk_records import Counts, fill, write_files
from commands import lema

from lema_local.answers.exact import extract_answer
from lema_local.errors import DataError, StoreError
from lema_local.examples.shapes import PAIR_SHAPES, Shape, card
from lema_local.records.store import Writer
from lema_local.records.types import Example
from lema_local.settings.tables import Arm
from lema_local.stages.build import build
from lema_local.stages.export_arm import export_arm
from lema_local.stages.run import Run

COUNTS = Counts(gold=8, sampled=20, right=14, corrections=6, is_reference_derived=True)
COLUMNS: dict[Shape, tuple[str, ...]] = {
    "plain": ("kind", "prompt", "output", "source_id", "problem_id"),
    "trl": ("prompt", "completion"),
    "trl-chat": ("prompt", "completion"),
    "messages": ("messages",),
    "axolotl": ("instruction", "output"),
    "llama-factory": ("instruction", "output"),
}
CHAT = ("trl-chat", "messages")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("records")
    with Writer(folder / "lema.duckdb") as store:
        yield fill(store, write_files(folder, COUNTS), COUNTS)


@pytest.fixture
def run(made: Run) -> Run:
    return made


def examples(run: Run, arm: Arm = "lema") -> tuple[Example, ...]:
    return build(run, (arm,))[0].examples


def is_chat(row: dict[str, Any]) -> bool:
    return "messages" in row or not isinstance(row.get("prompt", ""), str)


def held(example: Example, shape: Shape) -> tuple[str, str]:
    """An example's texts as a shape holds them: a chat template goes around texts without space at their ends."""
    return (example.prompt.strip(), example.output.strip()) if shape in CHAT else (example.prompt, example.output)


def texts(row: dict[str, Any]) -> tuple[str, str]:
    """What goes in and what comes out, whatever the columns are called."""
    turns = row.get("messages") or [*row["prompt"], *row["completion"]] if is_chat(row) else []
    if turns:
        user, assistant = turns
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        return user["content"], assistant["content"]
    return row.get("prompt") or row["instruction"], row.get("completion") or row["output"]


@pytest.mark.parametrize("shape", COLUMNS)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_each_shape_holds_the_arm_to_the_letter(run: Run, tmp_path: Path, shape: Shape, form: str) -> None:
    folder = tmp_path / "out"
    rows = export_arm(run, "lema", folder, shape=shape, form=form)
    found = duckdb.sql(f"from '{folder}/train.{form}'").fetchall()
    names = duckdb.sql(f"from '{folder}/train.{form}'").columns
    assert tuple(names) == COLUMNS[shape]
    assert [texts(dict(zip(names, row, strict=True))) for row in found] == [
        held(example, shape) for example in examples(run)
    ]
    assert rows == len(found) > 0


@pytest.mark.parametrize("shape", COLUMNS)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_datasets_loads_each_folder(run: Run, tmp_path: Path, shape: Shape, form: str) -> None:
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "out"
    export_arm(run, "lema", folder, shape=shape, form=form)
    loaded = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert tuple(loaded.column_names) == COLUMNS[shape]
    assert [texts(row) for row in loaded] == [held(example, shape) for example in examples(run)]


def test_the_card_begins_with_the_reference_derived_share(run: Run, tmp_path: Path) -> None:
    export_arm(run, "lema", tmp_path / "out", shape="trl", form="jsonl")
    _, header, text = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(header) == {
        "pretty_name": "lema of bulk",
        "task_categories": ["text-generation"],
        "size_categories": ["n<1K"],
        "tags": ["lema", "math", "arm-lema"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "train.jsonl"}]}],
    }
    assert text.lstrip().startswith("6 of 28 examples are reference-derived (21%)")
    for part in (
        "28 examples: 22 CoT and 6 corrections",
        "| correction by bulk-corrector | 6 |",
        "20 paths sampled, 14 kept, 6 rejected (6 wrong answer), 0 duplicates dropped",
        "seed 1",
        "licence of bulk",
        "SFTTrainer",
    ):
        assert part in text


def test_llama_factory_finds_its_data_by_dataset_info(run: Run, tmp_path: Path) -> None:
    export_arm(run, "cot", tmp_path / "out", shape="llama-factory", form="parquet")
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())["lema_cot"]
    assert (tmp_path / "out" / info["file_name"]).is_file()
    assert info["columns"] == {"prompt": "instruction", "response": "output"}
    with pytest.raises(StoreError, match="reads a folder"):
        export_arm(run, "cot", tmp_path / "cot.jsonl", shape="llama-factory", form="jsonl")


def test_every_shape_is_of_examples_or_of_pairs() -> None:
    assert {*COLUMNS, *PAIR_SHAPES} == set(get_args(Shape))


@pytest.mark.parametrize("shape", PAIR_SHAPES)
def test_pairs_prefer_the_corrected_solution_to_the_mistake(run: Run, tmp_path: Path, shape: Shape) -> None:
    assert export_arm(run, "lema", tmp_path / "out", shape=shape, form="jsonl") == COUNTS.corrections
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    for row in rows:
        if shape == "dpo-chat":
            roles = [turn["role"] for name in ("prompt", "chosen", "rejected") for turn in row[name]]
            assert roles == ["user", "assistant", "assistant"]
            row = {name: turns[0]["content"] for name, turns in row.items()}
        books = int(re.search(r"A shelf has (\d+) books", row["prompt"])[1])
        assert extract_answer(row["chosen"], "number") == str(books + 1)
        assert extract_answer(row["rejected"], "number") not in (None, str(books + 1))
    text = (tmp_path / "out" / "README.md").read_text()
    assert f"{len(rows)} preference pairs, made from the corrections of this arm" in text
    assert "`KTOTrainer`" in text


def test_an_arm_without_corrections_has_no_pairs(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Training set cot gives no preference pair: it has no corrections"):
        export_arm(run, "cot", tmp_path / "out", shape="dpo", form="jsonl")
    assert not (tmp_path / "out").exists()


def test_axolotl_finds_its_data_from_any_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export_arm(run, "cot", Path("my: arm"), shape="axolotl", form="jsonl")
    (entry,) = yaml.safe_load((tmp_path / "my: arm" / "axolotl.yml").read_text())["datasets"]
    assert entry["path"] == str(tmp_path / "my: arm" / "train.jsonl")
    assert entry["ds_type"] == "json"
    assert entry["type"]["format"] == "{instruction}"


def test_names_of_a_card_stay_in_their_places(run: Run) -> None:
    manifest = json.loads(build(run, ("cot",))[0].training_set.manifest)
    manifest |= {"sources": {"a | b\n# <script>": 1}, "left_out": {"[x](y)": 1}}
    text = card("trl", manifest, dataset="d\n---\nlicense: mit", data_file="train.jsonl", rows=1)
    assert "<script>" not in text
    assert "[x](y)" not in text
    assert yaml.safe_load(text.split("---\n")[1])["pretty_name"] == "cot of d\n---\nlicense: mit"


def test_an_example_that_trains_twice_is_exported_twice(run: Run, tmp_path: Path) -> None:
    rows = export_arm(run, "cot-matched-tokens", tmp_path / "m.jsonl", shape="trl", form="jsonl")
    lines = (tmp_path / "m.jsonl").read_text().splitlines()
    assert rows == len(lines) > len(set(lines))


@pytest.mark.parametrize("name", ["README.md", "train.py", "train.parquet"])
def test_files_of_somebody_else_are_never_written_over_nor_removed(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("# Mine")
    with pytest.raises(StoreError, match="no data card of lema's"):
        export_arm(run, "cot", tmp_path, shape="trl", form="jsonl")
    assert (tmp_path / name).read_text() == "# Mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_second_export_takes_the_place_of_the_first(run: Run, tmp_path: Path) -> None:
    for form in ("jsonl", "parquet"):
        export_arm(run, "cot", tmp_path / "out", shape="trl", form=form)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "train.parquet"}


def test_the_command_writes_a_folder(tmp_path: Path) -> None:
    profile = write_files(tmp_path, COUNTS)
    with Writer(tmp_path / "lema.duckdb") as store:
        fill(store, profile, COUNTS)
    given = ("--profile", profile, "--arm", "lema", "--shape", "axolotl", "--output", "out")
    done = lema("export", *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "28 rows written to out"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "axolotl.yml", "train.jsonl"}
