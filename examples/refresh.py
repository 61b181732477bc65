"""Keep what is shown true: the databases here, the outputs in docs/sql.md, and those in analysis.ipynb.

    python examples/refresh.py            after a change of the schema, a view or a database: write them anew
    python examples/refresh.py --check    say what is out of date, and exit with 1 (a test does)

In docs/sql.md a block that begins with `$ lema sql ...` shows what that command prints; here it is run again. The cells
of the notebook need lema_local, pandas and altair; their outputs are what they print, and their last value: a data
frame, or a figure as SVG. A check draws the figures too and does not compare them: renderers differ between releases.
"""

import argparse
import ast
import io
import json
import os
import re
import shlex
import sys
from contextlib import redirect_stdout
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import duckdb
import pandas
import vl_convert

from lema_local.records.engines import READABLE_SINCE
from lema_local.records.store import Writer
from lema_local.stages.derive import rederive

EXAMPLES = Path(__file__).parent
DATABASES = tuple(sorted(EXAMPLES.glob("*.duckdb")))
DOCUMENT = EXAMPLES.parent / "docs" / "sql.md"
NOTEBOOK = EXAMPLES / "analysis.ipynb"
_FIGURE = re.compile(r'"image/svg\+xml": ".*"')
_SHOWN = re.compile(r"^```\n\$ (lema sql .+)\n(?:(?!```).*\n)*```$", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        stale = [path for path, text in _texts() if _compared(path.read_text(encoding="utf-8")) != _compared(text)]
        for path in stale:
            print(f"{path.relative_to(EXAMPLES.parent)} shows what is no longer so: python examples/refresh.py")
        sys.exit(1 if stale else 0)
    for database in DATABASES:
        refresh_database(database)
    for path, text in _texts():
        path.write_text(text, encoding="utf-8")


def _texts() -> list[tuple[Path, str]]:
    return [
        (DOCUMENT, document_as_it_is(DOCUMENT.read_text(encoding="utf-8"))),
        (NOTEBOOK, notebook_as_it_is(NOTEBOOK.read_text(encoding="utf-8"))),
    ]


def _compared(text: str) -> str:
    return _FIGURE.sub("", text)


def refresh_database(database: Path) -> None:
    """Bring it to today's schema, grading and views, in small blocks: DuckDB's usual ones are mostly air."""
    new = database.with_suffix(".new")
    for left in (new, *EXAMPLES.glob("*.duckdb.*")):
        left.unlink(missing_ok=True)
    with Writer(database, on_notice=print) as store:
        rederive(store)
    with duckdb.connect() as connection:
        connection.execute("attach $old as old (read_only)", {"old": str(database)})
        connection.execute(
            f"attach $new as fresh (block_size 16384, storage_version '{READABLE_SINCE}')", {"new": str(new)}
        )
        connection.execute("copy from database old to fresh")
    new.replace(database)
    for left in EXAMPLES.glob("*.duckdb.*"):
        left.unlink()


def document_as_it_is(text: str) -> str:
    """docs/sql.md with the outputs of today."""
    os.chdir(EXAMPLES.parent)
    return _SHOWN.sub(lambda block: f"```\n$ {block[1]}\n{_printed_by(block[1])}\n```", text)


def _printed_by(command: str) -> str:
    main_ = entry_points(group="console_scripts")["lema"].load()
    out = io.StringIO()
    with redirect_stdout(out):
        try:
            main_(shlex.split(command)[1:])
        except SystemExit as ended:
            if ended.code:
                sys.exit(f"{command} ends with {ended.code}")
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def notebook_as_it_is(text: str) -> str:
    """The notebook with the outputs of today."""
    os.chdir(EXAMPLES)
    notebook, names, number = json.loads(text), {"__name__": "__main__"}, 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        number += 1
        out = io.StringIO()
        with redirect_stdout(out):
            value = _run("".join(cell["source"]), f"cell {number}", names)
        lines = out.getvalue().splitlines(keepends=True)
        cell["execution_count"] = number
        cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": lines}] if lines else []
        if value is not None:
            result = {"data": _shown(value), "execution_count": number, "metadata": {}, "output_type": "execute_result"}
            cell["outputs"].append(result)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _run(source: str, name: str, names: dict[str, Any]) -> Any:
    """A cell's last value, where it ends with an expression."""
    tree, last = ast.parse(source, name), None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
    exec(compile(tree, name, "exec"), names)
    return eval(compile(last, name, "eval"), names) if last else None


def _shown(value: Any) -> dict[str, Any]:
    """A value as a notebook shows it, by MIME type."""
    if isinstance(value, pandas.DataFrame):
        with pandas.option_context("display.width", 1000, "display.max_columns", None):
            return {"text/html": value.to_html().splitlines(keepends=True), "text/plain": repr(value).splitlines(True)}
    return {"image/svg+xml": vl_convert.vegalite_to_svg(value.to_json()), "text/plain": ["a figure"]}


if __name__ == "__main__":  # the grader's workers are processes that import this file
    main()
