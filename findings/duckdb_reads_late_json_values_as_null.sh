#!/usr/bin/env bash
# DuckDB 2 reads a JSON key that is null in the first 20,480 lines as null in all others, whatever they hold.
#
# Our guess: a value that does not fit what the sample showed is an error that names sample_size, as it is for a number
# that becomes a text, and for a key that comes late. Seen with duckdb 2.0.1: the column's type is "NULL", and a text, a
# number or a struct in a later line is read as NULL without a word, inside structs too; a table that is made from the
# file keeps none of them. A log of calls, whose `error` is null as long as all goes well, shows no error at all.
# DuckDB 1.5.4 reads them as JSON. Fails where that changes. So lema states the columns where it reads its journal, and
# puts the first value of such a column first in the JSON lines that it exports.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "duckdb==2.0.1"
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import json
from pathlib import Path

import duckdb


def write(rows: list[dict[str, object]]) -> None:
    Path("calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def errors(source: str = "'calls.jsonl'") -> tuple[int, str]:
    return duckdb.sql(f"select count(error), any_value(typeof(error)) from {source}").fetchall()[0]


nulls = [{"id": k, "error": None} for k in range(20_480)]
for late in ("HTTP 500", 500, {"status": 500}):
    write([*nulls, {"id": 20_480, "error": late}])
    print("duckdb", duckdb.__version__, json.dumps(late), "->", errors())
    assert errors() == (0, '"NULL"'), "a late value is no longer read as null"
assert errors("read_json('calls.jsonl', sample_size = -1)")[0] == 1
write([{"id": 20_480, "error": "HTTP 500"}, *nulls])
assert errors() == (1, "VARCHAR"), "a value in the first line is no longer read"
write([*({"id": k} for k in range(20_480)), {"id": 20_480, "error": "HTTP 500"}])
try:
    duckdb.sql("from 'calls.jsonl'").fetchall()
except duckdb.InvalidInputException as error:
    assert "sample_size" in str(error)
else:
    raise SystemExit("a key that comes late is no longer an error")
PY
