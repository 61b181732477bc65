"""Every shipped view and query on a database of 1,000,000 rationales: how long does each take?

    python bench/sql.py [--rationales 1000000] [--keep FILE]

The database is made by SQL: problems with 100 rationales each (600 characters: sentences with numbers, two in three of
them right), 300,000 corrections by three correctors, 2,000 test problems answered by the base model and 60 checkpoints
of two arms and three seeds, training sets of 40,000 examples, 3,000 reviews. A view that sums up is read whole, of one
that lists records (it has their ids) the first thousand rows. A measurement, not a test: it never fails on time.
"""

import argparse
import platform
import tempfile
import time
from pathlib import Path

import duckdb

from lema_local.records.queries import NamedQuery, named_queries
from lema_local.records.store import Store, Writer

LISTED = 1000
MAKE = Path(__file__).with_name("sql_records.sql")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rationales", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="make the database here, or use the one that is there")
    options = parser.parse_args()
    print(f"DuckDB {duckdb.__version__}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "lema.duckdb"
        if not path.exists():
            began = time.perf_counter()
            make(path, options.rationales)
            print(f"made {options.rationales:,} rationales in {time.perf_counter() - began:.0f} s, "
                  f"{path.stat().st_size / 1e6:.0f} MB")  # fmt: skip
        timed = {name: measure(path, query) for name, query in named_queries().items()}
    print(f"{'view or query':24}{'seconds':>9}{'CPU s':>9}{'rows':>10}")
    for name, (seconds, cpu, rows, is_list) in sorted(timed.items(), key=lambda item: -item[1][0]):
        print(f"{name:24}{seconds:>9.2f}{cpu:>9.2f}{rows:>10,}{'  the first of a list' if is_list else ''}")


def make(path: Path, rationales: int) -> None:
    with Writer(path) as store, store.connect(write=True) as connection:
        numbers = {"rationales": rationales, "problems": max(1, rationales // 100)}
        for statement in duckdb.extract_statements(MAKE.read_text(encoding="utf-8")):
            wanted = {name: numbers[name] for name in statement.named_parameters}
            connection.execute(statement, wanted)


def measure(path: Path, query: NamedQuery) -> tuple[float, float, int, bool]:
    """Seconds and CPU seconds, the better of two, with a fresh connection each as `lema sql` has; rows read; whether
    there may be more."""
    is_list = not query.parameters and any(name == "id" or name.endswith("_id") for name in query.columns)
    sql = f"select * from ({query.sql}) limit {LISTED}" if is_list else query.sql
    taken, rows = [], 0
    for _ in range(2):
        began, cpu = time.perf_counter(), time.process_time()
        with Store(path, own_views=True).connect() as connection:
            some = connection.execute("select id::varchar from correction limit 1 offset 7").fetchone()
            values = dict.fromkeys(query.parameters, some[0] if some else "ab")
            rows = len(connection.execute(sql, values or None).fetchall())
        taken.append((time.perf_counter() - began, time.process_time() - cpu))
    return *min(taken), rows, is_list and rows == LISTED


if __name__ == "__main__":
    main()
