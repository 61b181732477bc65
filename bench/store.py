"""The store at size: rows a second, bytes a row, how long a resumed run, a query and a restart take, and 20 readers.

    python bench/store.py [--rows 20000] [--readers 20] [--texts FILE]

The yardstick is bare DuckDB: its Appender into the same table, in one process that keeps the file to itself, with no
journal, no check for doubles and no reader. Rows are completions of 600 characters. The corpus is generated: numbered
steps of made-up word problems, with names, things and numbers drawn anew for each; with --texts, solutions of a JSONL
file (`answer` or `solution`), put together to that length with every number drawn anew. A measurement, not a test: it
never fails on time.
"""

import argparse
import itertools
import json
import platform
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from lema_local.records import bulk, schema
from lema_local.records.journal import Journal, row_of
from lema_local.records.keys import content_key
from lema_local.records.queries import named_queries
from lema_local.records.store import Store, Writer
from lema_local.records.types import Completion, Problem, Rationale

CHARACTERS = 600
SAMPLES = 100  # a problem
NAMES = ("Ada", "Ben", "Carla", "Dmitri", "Esra", "Femi", "Grace", "Hugo", "Ines", "Jamal", "Keiko", "Liam", "Mara")
THINGS = ("apples", "books", "cards", "coins", "eggs", "flowers", "hats", "marbles", "nails", "oranges", "pens")
STEPS = (
    "{a} starts the day with {x} {t} and buys {y} more at the market, so there are {x} + {y} = {s} {t}.",
    "Since {a} gives {y} of the {x} {t} to {b}, only {x} - {y} = {d} {t} are left.",
    "Each of the {x} boxes that {b} packed holds {y} {t}, which makes {x} * {y} = {p} {t} in total.",
    "{a} sells every one of the {x} {t} for ${y}, and earns {x} * {y} = ${p} with them this week.",
    "We need the difference between what {a} and {b} have: {x} - {y} = {d} {t}.",
    "Half of the {x} {t} belong to {b}, and that is {x} / 2 = {h} {t}; the other half stays with {a}.",
)


def generated(draw: random.Random) -> Iterator[str]:
    """Steps of made-up solutions, without end."""
    while True:
        x, y = draw.randrange(100, 999), draw.randrange(2, 99)
        a, b, thing = draw.choice(NAMES), draw.choice(NAMES), draw.choice(THINGS)
        yield draw.choice(STEPS).format(a=a, b=b, t=thing, x=x, y=y, s=x + y, d=x - y, p=x * y, h=x / 2)


def from_file(file: Path, draw: random.Random) -> Iterator[str]:
    """Steps of the solutions of a JSONL file, without end, numbers drawn anew."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    texts = [re.sub(r"<<.*?>>|####.*", "", row.get("solution") or row["answer"]) for row in rows]
    solutions = [[line.strip() for line in text.splitlines() if line.strip()] for text in texts]
    while True:
        for step in draw.choice(solutions):
            yield re.sub(r"\d+", lambda number: str(draw.randrange(10 ** len(number[0]))), step)


def texts(steps: Iterator[str], draw: random.Random) -> Iterator[str]:
    """Rationales of 600 characters."""
    while True:
        end, text, number = f" The answer is {draw.randrange(1000)}.", "", 0
        while len(text) < CHARACTERS:
            number += 1
            text += f"Step {number}: {next(steps)}\n"
        yield text[: CHARACTERS - len(end)] + end


def completions(rows: int, file: Path | None) -> Iterator[Completion]:
    """As a run makes them: everything that differs between real rows differs here."""
    draw, start = random.Random(20231031), datetime(2026, 1, 2, tzinfo=UTC)
    source = texts(from_file(file, draw) if file else generated(draw), draw)
    for number in range(rows):
        if number % SAMPLES == 0:
            problem = problem_of(number)
        yield Completion(
            id=content_key("completion", "bench", number),
            purpose="sample",
            model="llama-2-70b",
            model_identity="meta-llama/Llama-2-70b-hf:bf16",
            template="sample_number.1",
            problem_id=problem.id,
            rationale_id=None,
            checkpoint_id=None,
            sampling='{"max_tokens":1024,"seed":1,"stop":["\\n\\nQuestion:"],"temperature":0.7,"top_p":1.0}',
            sample_index=number % SAMPLES,
            text=next(source),
            finish_reason="stop",
            prompt_tokens=draw.randrange(700, 1100),
            completion_tokens=draw.randrange(120, 240),
            latency_s=round(draw.uniform(2, 12), 6),
            cost_usd=None,
            endpoint="reasoner",
            is_reference_derived=False,
            created_at=start + timedelta(seconds=number / 50 + draw.random()),
        )


def problem_of(number: int) -> Problem:
    return Problem(
        "bench", "train", f"Question {number // SAMPLES}: how many are there?", "42", level=f"Level {number % 5}"
    )


def rationale_of(completion: Completion, number: int) -> Rationale:
    wrong = number % 3 == 0
    return Rationale(
        completion.id, completion.problem_id, completion.model, "42", not wrong, not wrong, "exact", number % 50 == 0
    )


def show(what: str, figure: str, beside: str = "") -> None:
    print(f"{what:58} {figure:>22} {beside}", flush=True)


def bare_appender(folder: Path, sample: list[Completion]) -> tuple[float, float]:
    """Rows a second, and microseconds of CPU a row, of the yardstick."""
    rows = [row_of(completion) for completion in sample]
    with duckdb.connect(str(folder / "bare.duckdb")) as connection:
        schema.bring_up_to_date(folder / "bare.duckdb", connection)
        began, cpu = time.perf_counter(), time.process_time()
        bulk.append(connection, "completion", rows)
        connection.execute("checkpoint")
        return len(rows) / (time.perf_counter() - began), 1e6 * (time.process_time() - cpu) / len(rows)


def stored(path: Path, rows: int, file: Path | None) -> tuple[float, float]:
    """The same through journal, merge and check for doubles. Making up the texts does not count."""
    made, batch = [0.0, 0.0], list[Completion]()
    began, cpu = time.perf_counter(), time.process_time()
    with Writer(path) as store:
        for number in range(0, rows, SAMPLES):
            store.add(problem_of(number))
        source = completions(rows, file)
        while True:
            pause, pause_cpu = time.perf_counter(), time.thread_time()
            batch = list(itertools.islice(source, 5000))
            made[0] += time.perf_counter() - pause
            made[1] += time.thread_time() - pause_cpu
            if not batch:
                break
            for completion in batch:
                store.add(completion)
    return rows / (time.perf_counter() - began - made[0]), 1e6 * (time.process_time() - cpu - made[1]) / rows


def timed_queries(path: Path) -> None:
    slowest, name_of = 0.0, ""
    for name, query in named_queries().items():
        began = time.perf_counter()
        with Store(path).connect() as connection:
            # an aggregate whole, of a list of rows the first thousand
            values = dict.fromkeys(query.parameters, "ab")
            connection.execute(f"select * from ({query.sql}) limit 1000", values or None).fetchall()
        took = time.perf_counter() - began
        slowest, name_of = max((slowest, name_of), (took, name))
    show(f"slowest of {len(named_queries())} shipped views and queries", f"{slowest:.2f} s", name_of)


READER = """
import sys, time, duckdb
print("ready", flush=True)
sys.stdin.readline()
over, answers, oldest = time.monotonic() + float(sys.argv[2]), 0, 0.0
while time.monotonic() < over:
    try:
        with duckdb.connect(sys.argv[1], read_only=True) as connection:
            (age,) = connection.execute("select epoch(now()) - epoch(max(created_at)) from completion").fetchone()
    except duckdb.IOException:  # a merge
        time.sleep(0.02)
        continue
    answers, oldest = answers + 1, max(oldest, age)
    time.sleep(0.5)
print(answers, oldest)
"""


def run_beside(path: Path, read: Path, sample: list[Completion], readers: int, seconds: float) -> tuple[float, float]:
    """Rows a second of a run that adds whatever it can for some seconds, beside processes that ask `read` twice a
    second each; and how old the newest row was at worst that one of them saw."""
    command = [sys.executable, "-c", READER, str(read), str(0.8 * seconds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    started = [subprocess.Popen(command, text=True, **pipes) for _ in range(readers)]
    for process in started:
        process.stdout.readline()
    with Writer(path) as store:
        number = 0
        store.add(replace(sample[0], id=content_key("beside", str(read), readers), created_at=datetime.now(UTC)))
        store.merge()
        for process in started:
            process.stdin.write("go\n")
            process.stdin.flush()
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            for completion in sample[:100]:
                number += 1
                key = content_key("beside", path.name, str(read), readers, number)
                store.add(replace(completion, id=key, created_at=datetime.now(UTC)))
    rate = number / (time.perf_counter() - began)
    outputs = [process.communicate()[0].split() for process in started]
    return rate, max((float(oldest) for _, oldest in outputs), default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--texts", type=Path, help="JSONL with solutions, instead of generated texts")
    options = parser.parse_args()
    corpus = options.texts.name if options.texts else "generated"
    print(f"{options.rows} completions of {CHARACTERS} characters ({corpus}), DuckDB {duckdb.__version__}, Python "
          f"{platform.python_version()}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.rows, options.readers, options.texts)


def measure(folder: Path, rows: int, readers: int, file: Path | None) -> None:
    path = folder / "lema.duckdb"
    sample = list(completions(min(rows, 50_000), file))
    yardstick, yardstick_us = bare_appender(folder, sample)
    show("bare DuckDB Appender", f"{yardstick:,.0f} rows/s", f"{yardstick_us:.1f} us CPU a row: the yardstick")
    rate, us = stored(path, rows, file)
    beside = f"{us:.1f} us CPU a row, {us / yardstick_us:.2f} x"
    show("journal, merge and check for doubles", f"{rate:,.0f} rows/s", beside)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    show("most memory of the process until here", f"{peak:,.0f} MB")
    size = path.stat().st_size
    show("file", f"{size / 1e6:.1f} MB", f"{size / rows:.0f} bytes a completion")

    ids = [content_key("completion", "bench", number) for number in range(rows // 2, rows + rows // 2)]
    began = time.perf_counter()
    missing = Store(path).missing("completion", ids)
    show(f"pending: {rows:,} wanted, half of them there", f"{time.perf_counter() - began:.2f} s")
    assert len(missing) == rows // 2

    with Writer(path) as store:
        graded = [rationale_of(completion, number) for number, completion in enumerate(sample)]
        store.derive("rationale", graded)
        with store.connect(write=True) as connection:  # the rest of them in SQL: they are not what is measured
            connection.execute("""
                insert into rationale
                select id, problem_id, model, '42', sample_index % 3 <> 0, sample_index % 3 <> 0, 'exact', false
                from completion anti join rationale using (id)
            """)
        began = time.perf_counter()
        store.add(replace(sample[0], id=content_key("one more")))
        store.merge()
        show("one merge into it", f"{1000 * (time.perf_counter() - began):.0f} ms")
    timed_queries(path)

    journal = Journal(folder / "lema.duckdb.journal")  # as a killed run leaves it
    for number, completion in enumerate(sample[:20_000]):
        journal.append(replace(completion, id=content_key("left", number)))
    journal.close()
    began = time.perf_counter()
    with Writer(path):
        show(f"going on from a kill, {min(rows, 20_000):,} records unmerged", f"{time.perf_counter() - began:.2f} s")

    other = folder / "other.duckdb"
    shutil.copyfile(path, other)
    alone, _ = run_beside(path, path, sample, 0, 8)
    show("a run alone", f"{alone:,.0f} rows/s")
    elsewhere, _ = run_beside(path, other, sample, readers, 8)
    show(f"beside {readers} readers of another file", f"{elsewhere:,.0f} rows/s", f"{elsewhere / alone:.2f} of it")
    beside, oldest = run_beside(path, path, sample, readers, 8)
    show(f"beside {readers} readers of this file", f"{beside:,.0f} rows/s", f"{beside / alone:.2f} of it")
    show("age of the newest row that one of them saw, at worst", f"{oldest:.1f} s")


if __name__ == "__main__":
    main()
