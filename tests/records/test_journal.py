"""The journal: what append has acknowledged is there after any kind of end."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lema_local.errors import StoreError
from lema_local.records.journal import Journal, row_of
from lema_local.records.types import Attempt, Problem


def problem(number: int, solution: str | None = None) -> Problem:
    return Problem("d", "train", f"q{number}", "1", solution=solution)


def sealed_ids(journal: Journal) -> list[str]:
    return [row[0] for row in sealed_rows(journal)]


def sealed_rows(journal: Journal) -> list[list[Any]]:
    assert journal.seal()
    return [json.loads(line)["row"] for line in journal.sealed.read_text(encoding="utf-8").split("\n") if line]


def test_appended_records_are_read_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    facts = [problem(n) for n in range(3)]
    for fact in facts:
        journal.append(fact)
    assert sealed_ids(journal) == [fact.id for fact in facts]
    journal.drop_sealed()
    assert not journal.seal()
    assert list(tmp_path.iterdir()) == []


def test_a_torn_last_line_is_dropped_and_swallows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j"
    first = Journal(path)
    first.append(problem(1))
    first.close()
    with path.open("a") as file:
        file.write(json.dumps({"table": "problem", "row": ["x"] * 10})[:-3])
    again = Journal(path)
    again.append(problem(2))
    assert sealed_ids(again) == [problem(1).id, problem(2).id]


def test_lines_of_an_interrupted_merge_come_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(problem(1))
    assert journal.seal()
    journal.append(problem(2))
    assert sealed_ids(journal) == [problem(1).id]
    journal.drop_sealed()
    assert sealed_ids(journal) == [problem(2).id]


@pytest.mark.parametrize(
    ("text", "kept"),
    [("a\ud800b", "a\ufffdb"), ("\ud83d\ude00", "😀"), ("a\x00b\nc\u2028d", "a\x00b\nc\u2028d")],
    ids=["lone surrogate", "surrogate pair", "NUL and line ends"],
)
def test_text_that_utf8_cannot_hold_is_mended_and_the_rest_kept(tmp_path: Path, text: str, kept: str) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(problem(1, solution=text))
    row, *flags = sealed_rows(journal)
    assert kept in row
    assert flags == ([["problem", problem(1).id, "solution"]] if "\ufffd" in kept else [])


def test_a_row_is_the_id_and_then_the_fields(tmp_path: Path) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    attempt = Attempt("i", "c", "HTTP 500", 500, None, "reasoner", now)
    assert row_of(attempt) == ["i", "c", "HTTP 500", 500, None, "reasoner", "2026-01-02T00:00:00+00:00", None]


FULL_DISK = """
import resource, sys
from pathlib import Path
from lema_local.errors import StoreError
from lema_local.records.journal import Journal
from lema_local.records.types import Problem
journal = Journal(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
for n in range(1000):
    p = Problem("d", "t", f"q{n}", "1")
    try:
        journal.append(p)
        print(p.id)
    except StoreError as error:
        print(error, file=sys.stderr)
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for n in range(1000, 1003):
    p = Problem("d", "t", f"q{n}", "1")
    journal.append(p)
    print(p.id)
"""


def test_a_disk_that_is_full_for_a_while_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "j"
    done = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=True)
    assert done.stderr.count("\n") == 1
    assert "Make room" in done.stderr
    acknowledged = done.stdout.split()
    assert len(acknowledged) > 3
    assert sealed_ids(Journal(path)) == acknowledged


def test_a_journal_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"Cannot write .* Make room, then run the same command again"):
        Journal(tmp_path / "none" / "j").append(problem(1))
