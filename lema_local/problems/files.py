"""Rows of problem files: JSON lines, a JSON array, Parquet, and MATH's folder of one file a problem.

A split is found in a folder by its name, or by the names that its preset knows:

    gsm8k/train.jsonl      svamp/SVAMP.json      csqa/dev_rand_split.jsonl      math/test/algebra/1.json
"""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lema_local.errors import DataError
from lema_local.problems.rows import UnusableRowError

SUFFIXES = (".jsonl", ".json", ".parquet")
Row = tuple[Path, int, Any]  # file, line from 1, and the row, or the UnusableRowError that says why there is none


def find_files(path: Path, split: str, names: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """The files of a split: the file itself; in a folder its train.* or test.*, or the folder train/ or test/ of MATH.

    `names`: what else, and first, a file of the split may be called. Raises DataError where there is none.
    """
    if not path.exists():
        raise DataError(f"No file {path}: check --data-path.")
    if not path.is_dir():
        if path.suffix not in SUFFIXES:
            raise DataError(f"Cannot tell what {path} is: rename it to .jsonl (one JSON object a line) or .parquet.")
        return (path,)
    for name in (*names, split):
        for suffix in SUFFIXES:
            if (path / f"{name}{suffix}").is_file():
                return (path / f"{name}{suffix}",)
        if shards := sorted(path.glob(f"{name}-[0-9]*-of-[0-9]*.parquet")):
            return tuple(shards)
    if tree := sorted((path / split).glob("*/*.json"), key=_tree_order):
        return tuple(tree)
    hint = f"give the folder that holds {split}.jsonl, {split}.parquet or {split}/, or the file itself"
    if path.name in ("train", "test") and next(path.glob("*/*.json"), None):
        hint = f"it is itself a split of MATH: give the folder above it, {path.parent}"
    raise DataError(f"No {split} split in {path}: {hint}.")


def read_rows(files: tuple[Path, ...]) -> Iterator[Row]:
    """The rows of files, in order; `-` is standard input. Raises DataError for a file that cannot be read at all."""
    for file in files:
        yield from _parquet_rows(file) if file.suffix == ".parquet" else _json_rows(file)


def _tree_order(file: Path) -> tuple[str, int, str]:
    number = int(file.stem) if file.stem.isdecimal() and len(file.stem) < 10 else 0
    return file.parent.name, number, file.name


def _json_rows(file: Path) -> Iterator[Row]:
    try:
        with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as lines:
            if not lines.seekable():  # a pipe: lines as they come
                yield from _json_lines(file, lines)
                return
            head = next((text for line in lines if (text := _bare(line))), b"")
            lines.seek(0)
            # one value over many lines: an array of rows, or an object as MATH prints it; else a first row that is bad
            if head.startswith(b"[") or (head.startswith(b"{") and not head.endswith(b"}")):
                value = _parse(_bare(lines.read()))
                lines.seek(0)
                if not isinstance(value, UnusableRowError):
                    rows = value if isinstance(value, list) else [value]
                    yield from ((file, number, row) for number, row in enumerate(rows, start=1))
                    return
            yield from _json_lines(file, lines)
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror or error}.") from error


def _json_lines(file: Path, lines: Iterable[bytes]) -> Iterator[Row]:
    """What each line that is not empty holds."""
    for number, line in enumerate(lines, start=1):
        if text := _bare(line):
            yield file, number, _parse(text)


def _bare(text: bytes) -> bytes:
    return text.removeprefix(b"\xef\xbb\xbf").strip()


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8"))
    except UnicodeDecodeError:
        return UnusableRowError("not UTF-8 text")
    except (ValueError, RecursionError) as error:  # nesting deep enough to exhaust the stack is no problem row
        return UnusableRowError(f"invalid JSON ({getattr(error, 'msg', type(error).__name__)})")


def _parquet_rows(file: Path) -> Iterator[Row]:
    import duckdb

    try:
        with duckdb.connect(":memory:") as connection:
            rows = connection.execute("from read_parquet($file)", {"file": str(file)})
            names = [column[0] for column in rows.description or ()]
            number = 0
            while batch := rows.fetchmany(1000):
                for values in batch:
                    number += 1
                    yield file, number, dict(zip(names, values, strict=True))
    except duckdb.Error as error:
        raise DataError(f"Cannot read {file} as Parquet: {' '.join(str(error).split())[:160]}.") from error
