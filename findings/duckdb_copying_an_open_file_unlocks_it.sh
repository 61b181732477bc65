#!/usr/bin/env bash
# A process that has a DuckDB file open and copies it gives up its lock: from then on others may write the file too.
#
# Our guess: the file is locked until its connection is closed. Seen with duckdb 2.0.1 on Linux: another process that
# opens the file for writing is refused; after shutil.copy(file, backup), or open(file).close(), in the process that
# holds it, for writing or read-only, the other one gets in, and two have it at once. The lock is fcntl(2)'s: closing
# any descriptor of a file drops all locks that the process has on it.
# Fails where that changes. So lema closes what it copied from after the database, and opens a file once in a process.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "duckdb==2.0.1"
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import shutil
import subprocess
import sys

import duckdb

OTHER = """
import duckdb
try:
    duckdb.connect("records.duckdb").close()
    print("opened")
except duckdb.IOException as error:
    print("refused" if "lock" in str(error) else error)
"""


def other_process() -> str:
    """What another process meets that opens the file for writing; it writes nothing."""
    return subprocess.run([sys.executable, "-c", OTHER], capture_output=True, text=True, check=True).stdout.strip()


with duckdb.connect("records.duckdb") as connection:
    connection.execute("create table completion as select 1 as id")
for read_only in (False, True):
    with duckdb.connect("records.duckdb", read_only=read_only) as connection:
        before = other_process()
        shutil.copy("records.duckdb", "backup.duckdb")
        after = other_process()
        print("duckdb", duckdb.__version__, "read-only:" if read_only else "for writing:", before, "then", after)
        assert before == "refused", "an open file is no longer locked"
        assert after == "opened", "a copy no longer drops the lock"
PY
