"""Importing: rationales and corrections made elsewhere become graded facts, once, and say where they come from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commands import PROBLEMS, lema
from scripted_server import ScriptedServer

from lema_local.errors import DataError
from lema_local.records.store import Store, Writer
from lema_local.records.types import Problem
from lema_local.records.upkeep import check
from lema_local.stages.imports import Imported, import_file

TINA = Problem("d", "train", "Tina has 42 apples and gives 9 away. How many has she?", "33")
SAM = Problem("d", "train", "What is 2 + 2?", "4")
WRONG = "Step 1: She has 42 + 9 = 51. The answer is 51."
REPLY = (
    "Step 1.\nExplanation: Apples given away are subtracted.\nCorrect Solution:\nShe has 42 - 9 = 33. The answer is 33."
)


@pytest.fixture
def filled(store: Writer) -> Writer:
    store.add(TINA)
    store.add(SAM)
    store.merge()
    return store


def take_in(store: Writer, folder: Path, rows: list[Any], kind: Any, **more: Any) -> Imported:
    file = folder / "rows.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return import_file(store, file, kind=kind, **more)


def test_rationales_are_matched_by_question_or_id_and_graded(filled: Writer, tmp_path: Path) -> None:
    rows = [
        {"question": f"  {TINA.question}\n", "rationale": WRONG, "model": "m1"},
        {"problem_id": SAM.id, "text": "2 + 2 = 4. The answer is 4."},
    ]
    assert take_in(filled, tmp_path, rows, "rationale", model="m2") == Imported(2, 2, ())
    assert filled.rows("select problem_id, reasoner, is_correct from rationale order by reasoner") == [
        {"problem_id": TINA.id, "reasoner": "m1", "is_correct": False},
        {"problem_id": SAM.id, "reasoner": "m2", "is_correct": True},
    ]
    assert filled.rows("select distinct endpoint, template, model_identity from completion where model = 'm1'") == [
        {"endpoint": "import", "template": "imported.1", "model_identity": "imported:m1"}
    ]


def test_a_correction_brings_its_rationale_along_and_both_are_graded(filled: Writer, tmp_path: Path) -> None:
    row = {"question": TINA.question, "rationale": WRONG, "reasoner": "m1", "correction": REPLY, "model": "gpt"}
    assert take_in(filled, tmp_path, [row], "correction").new == 2
    (mistake,) = filled.rows("select id from mistake")
    (found,) = filled.rows("select rationale_id, corrector, incorrect_step, rejected_because from correction")
    assert found == {"rationale_id": mistake["id"], "corrector": "gpt", "incorrect_step": 1, "rejected_because": None}


def test_a_rationale_without_labels_has_its_lines_for_steps(filled: Writer, tmp_path: Path) -> None:
    lines = "First she picks 42 apples.\nThen she has 42 + 9 = 51.\nThe answer is 51."
    reply = REPLY.replace("Step 1.", "Step 2.")
    row = {"question": TINA.question, "rationale": lines, "reasoner": "m1", "correction": reply, "model": "gpt"}
    take_in(filled, tmp_path, [row], "correction")
    (found,) = filled.rows("select incorrect_step, rejected_because, mistaken_steps from correction")
    assert found == {"incorrect_step": 2, "rejected_because": None, "mistaken_steps": 3}


def test_a_correction_in_parts_of_a_rationale_that_is_there(filled: Writer, tmp_path: Path) -> None:
    take_in(filled, tmp_path, [{"question": TINA.question, "rationale": WRONG, "model": "m1"}], "rationale")
    (mistake,) = filled.rows("select id from mistake")
    parts = {"incorrect_step": 1, "explanation": "They go.", "correct_solution": "42 - 9 = 33. The answer is 33."}
    rows = [
        {"rationale_id": mistake["id"], "corrector": "by id", **parts},
        {"question": TINA.question, "rationale": WRONG, "corrector": "by text", **parts},
    ]
    assert take_in(filled, tmp_path, rows, "correction").new == 2
    found = filled.rows("select corrector, rationale_id, explanation, is_correct from correction order by corrector")
    assert found == [
        {"corrector": name, "rationale_id": mistake["id"], "explanation": "They go.", "is_correct": True}
        for name in ("by id", "by text")
    ]


def test_importing_twice_is_importing_once(filled: Writer, tmp_path: Path) -> None:
    row = {"question": TINA.question, "rationale": WRONG, "reasoner": "m1", "correction": REPLY, "model": "gpt"}
    first = take_in(filled, tmp_path, [row, row], "correction")
    again = take_in(filled, tmp_path, [row], "correction")
    assert (first.new, again.new) == (2, 0)
    assert filled.rows("select count(*) as n from completion") == [{"n": 2}]


BAD: list[tuple[Any, str]] = [
    ("{half", "invalid JSON"),
    ("[" * 100_000, "invalid JSON"),
    ([1], "not a JSON object"),
    ({"question": "unknown", "rationale": "r", "model": "m"}, "not in the database"),
    ({"rationale": "r", "model": "m"}, "no question"),
    ({"question": SAM.question, "rationale": " ", "model": "m"}, "no text in `rationale`"),
    ({"question": SAM.question, "rationale": "r"}, "--model"),
    ({"question": SAM.question, "rationale": "r", "model": "m", "sample_index": -1}, "sample_index"),
    ({"question": SAM.question, "rationale": "r", "model": "m", "sample_index": 2**31}, "sample_index"),
    ({"question": SAM.question, "rationale": "r", "model": "m", "sample_index": True}, "sample_index"),
    ({"question": SAM.question, "rationale": "r", "model": "m", "finish_reason": 7}, "finish_reason"),
]


def test_a_bad_row_is_told_with_its_line_and_the_rest_is_taken(filled: Writer, tmp_path: Path) -> None:
    good = {"question": SAM.question, "rationale": "The answer is 4.", "model": "m"}
    done = take_in(filled, tmp_path, [*(row for row, _ in BAD), good], "rationale")
    assert done.new == 1
    assert [bad.line for bad in done.bad_rows] == list(range(1, len(BAD) + 1))
    for bad, (_, words) in zip(done.bad_rows, BAD, strict=True):
        assert words in bad.reason


def test_a_question_that_two_problems_ask_with_other_answers_is_not_guessed(filled: Writer, tmp_path: Path) -> None:
    filled.add(Problem("other", "train", SAM.question, "5"))
    with pytest.raises(DataError, match=r"No row .* Line 1: several problems"):
        take_in(filled, tmp_path, [{"question": SAM.question, "rationale": "r", "model": "m"}], "rationale")


def test_parquet_is_read_and_what_was_exported_comes_back(filled: Writer, tmp_path: Path) -> None:
    take_in(filled, tmp_path, [{"question": TINA.question, "rationale": WRONG, "model": "m1"}], "rationale")
    with filled.connect(writes=(tmp_path / "m.parquet",)) as connection:
        connection.execute("copy mistake to $file (format parquet)", {"file": str(tmp_path / "m.parquet")})
    with Writer(tmp_path / "other.duckdb") as other:
        other.add(TINA)
        assert import_file(other, tmp_path / "m.parquet", kind="rationale").new == 1
        assert other.rows("select rationale, reasoner from mistake") == [{"rationale": WRONG, "reasoner": "m1"}]


def test_the_command_says_what_it_took_and_left(filled: Writer, tmp_path: Path, db: Path) -> None:
    filled.__exit__(None, None, None)
    file = tmp_path / "r.jsonl"
    file.write_text(json.dumps({"question": SAM.question, "rationale": "The answer is 4."}) + "\nno\n")
    done = lema("import", file, "--kind", "rationale", "--model", "m", "--db", db, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{file}:2: invalid JSON" in done.stderr
    assert "2 rows read, 1 records new, 1 rows left out." in done.stderr
    assert Store(db).rows("select is_correct from rationale") == [{"is_correct": True}]
    file.write_text("no\n")
    failed = lema("import", file, "--kind", "rationale", "--db", db, cwd=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"Error: No row of {file} can be used. Line 1: invalid JSON")


def test_what_to_do_about_problems_that_are_not_there_is_said_and_does_it(
    filled: Writer, tmp_path: Path, db: Path, server: ScriptedServer, write_profile: Callable[..., Path]
) -> None:
    filled.__exit__(None, None, None)
    file = tmp_path / "r.jsonl"
    question = json.loads(PROBLEMS.read_text().splitlines()[0])["question"]
    file.write_text(json.dumps({"question": question, "rationale": "The answer is 4.", "model": "m"}))
    take = ("import", file, "--kind", "rationale", "--db", db)
    failed = lema(*take, cwd=tmp_path)
    assert "record the problems first, by their profile or --dataset: `lema data --offline` does" in failed.stderr
    lema("data", "--offline", "--profile", write_profile(), "--db", db, cwd=tmp_path)
    done = lema(*take, cwd=tmp_path)
    assert (done.returncode, server.calls) == (0, 0), done.stderr
    with duckdb.connect(str(db)) as connection:
        connection.execute("delete from problem")
    (found,) = [line for line in check(Store(db)) if line.startswith("completion")]
    assert found == "completion: 1 row have no problem. Record the problems anew, by their profile: lema data --offline"
    lema("data", "--offline", "--profile", write_profile(), "--db", db, cwd=tmp_path)
    assert check(Store(db)) == []


def test_a_file_that_is_no_parquet_is_one_line(filled: Writer, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(DataError, match="as Parquet") as caught:
        import_file(filled, tmp_path / "x.parquet", kind="rationale")
    assert "\n" not in str(caught.value)
    with pytest.raises(duckdb.Error), duckdb.connect(":memory:") as connection:
        connection.execute("from read_parquet($file)", {"file": str(tmp_path / "x.parquet")})
