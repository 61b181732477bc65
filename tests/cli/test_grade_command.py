"""`lema grade`, as a shell would run it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, lema

ROWS: list[Any] = [
    {"text": "The answer is $18.", "reference": "18", "id": 7},
    {"text": "no idea", "reference": "0"},
    {"text": "so \\boxed{x(x+2)=y}", "reference": "x^2+2x=y", "kind": "latex"},
    {"text": "The answer is (B).", "reference": "B", "kind": "choice"},
    {"text": "The answer is 3.", "reference": 3},
]


def _lema(*arguments: str, stdin: str | None = None, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return lema("grade", *arguments, stdin=stdin, cwd=cwd)


def _jsonl(rows: list[Any]) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def test_each_row_comes_back_with_its_grade(tmp_path: Path) -> None:
    file = tmp_path / "outputs.jsonl"
    file.write_text(_jsonl(ROWS))
    done = _lema(str(file))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(r["answer"], r["is_correct"]) for r in rows] == [
        ("18", True), (None, False), ("x(x+2)=y", True), ("B", True), ("3", True),
    ]  # fmt: skip
    assert [r["decided_by"] for r in rows] == ["exact", "missing", "symbolic", "exact", "exact"]
    assert rows[0]["id"] == 7
    assert rows[0]["text"] == ROWS[0]["text"]
    assert done.stderr == ""


def test_stdin_is_read_and_the_summary_goes_to_stderr() -> None:
    done = _lema("-", "--summary", stdin=_jsonl(ROWS))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(ROWS)
    assert "4 of 5 correct: 80.00%" in done.stderr
    assert "interval" in done.stderr
    assert "missing" in done.stderr


def test_a_pipe_is_read_by_its_path() -> None:
    done = _lema("/dev/stdin", stdin=_jsonl(ROWS))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(ROWS)


def test_bad_rows_are_named_by_line_and_skipped() -> None:
    bad = [
        "{",
        ROWS[0],
        [1],
        {"reference": "1"},
        {"text": "x"},
        {"text": "x", "reference": "1", "kind": "poem"},
        "",
        "nan",
    ]
    done = _lema("-", stdin=_jsonl(bad))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    for line in (1, 3, 4, 5, 6, 8):
        assert f"line {line}:" in done.stderr
    assert "line 2:" not in done.stderr
    assert "Traceback" not in done.stderr


def test_the_kind_option_is_for_rows_that_name_none() -> None:
    rows = [{"text": "\\boxed{\\dfrac{\\sqrt3}{2}}", "reference": "\\frac{\\sqrt{3}}{2}"}, ROWS[3]]
    done = _lema("-", "--kind", "latex", stdin=_jsonl(rows))
    assert [json.loads(line)["is_correct"] for line in done.stdout.splitlines()] == [True, True]


def test_a_reference_may_be_a_whole_solution() -> None:
    rows = [{"text": "The answer is 18.", "reference": "9 * 2 = <<9*2=18>>18\n#### 18"}]
    assert json.loads(_lema("-", stdin=_jsonl(rows)).stdout)["is_correct"] is True


def test_parquet_is_read(tmp_path: Path) -> None:
    import duckdb

    file = tmp_path / "outputs.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"copy (select 'The answer is 18.' as text, 18 as reference) to '{file}' (format parquet)")
    done = _lema(str(file), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["is_correct"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["outputs.parquet"]  # no database, no journal


def test_references_of_any_number_type_are_read_and_come_back_as_json(tmp_path: Path) -> None:
    import duckdb

    file = tmp_path / "outputs.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "copy (select 'The answer is 0.0000001.' as text, 0.0000001::decimal(18, 7) as reference, "
            f"'nan'::double as score) to '{file}' (format parquet)"
        )
    done = _lema(str(file))
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert (row["is_correct"], row["reference"], row["score"]) == (True, 1e-7, None)
    assert json.loads(_lema("-", stdin=_jsonl([{"text": "#### 0.0000001", "reference": 1e-7}])).stdout)["is_correct"]


@pytest.mark.parametrize("name", ["none.jsonl", "none.parquet", "text.parquet", "empty.jsonl", "folder.jsonl"])
def test_a_file_that_cannot_be_graded_is_one_line_on_stderr(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.parquet").write_text("no parquet")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "folder.jsonl").mkdir()
    done = _lema(str(tmp_path / name))
    assert done.returncode != 0
    assert done.stdout == ""
    assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_hostile_rows_do_not_stop_the_run() -> None:
    texts = ["\\boxed{\\star x}", "\\boxed{" + "{" * 5_000, "\ud800", "\x00", "\u202e18"]
    rows = [{"text": text, "reference": "4x+1", "kind": "latex"} for text in texts] + ROWS[:1]
    done = _lema("-", stdin=_jsonl(rows))
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["is_correct"] for r in results] == [False] * 5 + [True]
    assert results[2]["text"] == "\ud800"


def test_grading_imports_neither_torch_nor_sympy() -> None:
    code = (
        "import sys, io; sys.argv = ['lema', 'grade', '-']\n"
        "from lema_local.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'sympy', 'math_verify', 'transformers') if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=_jsonl(ROWS), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr.strip().endswith("[]")
