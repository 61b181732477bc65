"""What docs/sql.md and the notebook show is what they print today, and the databases are whole and small."""

import json
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from commands import ROOT

from lema_local.records.queries import named_queries

DATABASES = sorted((ROOT / "examples").glob("*.duckdb"))
NOTEBOOK = ROOT / "examples" / "analysis.ipynb"


def test_what_is_shown_is_what_the_sample_gives_today() -> None:
    refresh = [sys.executable, ROOT / "examples" / "refresh.py", "--check"]
    done = subprocess.run(refresh, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize("name", named_queries())
def test_every_query_is_shown_with_what_it_prints(name: str) -> None:
    text = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
    section = re.search(rf"^### {name}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/sql.md has no section ### {name}"
    assert re.search(r"^```\n\$ lema sql .+\n.+\n(?:(?!```).*\n)*```$", section[1], re.MULTILINE)


@pytest.mark.parametrize("database", DATABASES, ids=lambda path: path.stem)
def test_a_database_here_is_small_and_says_nothing_of_the_machine_that_made_it(database: Path) -> None:
    assert database.stat().st_size < (10_000_000 if database.stem == "study" else 2_000_000)
    with duckdb.connect(str(database), read_only=True) as connection:
        found = connection.execute("select table_name from duckdb_tables() where not internal").fetchall()
        for (table,) in found:
            text = json.dumps(connection.execute(f"from {table}").fetchall(), default=str)
            assert not re.search(r"/(?:tmp|home|root|work|Users)/", text), table


def test_the_notebook_was_executed_without_an_error() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds == {"stream", "execute_result"}  # none is an error
