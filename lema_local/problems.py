"""Problems from a file or from the Hub, whatever names their authors gave the fields.

Rows are recognised one by one by their own fields, so a folder of mixed downloads needs no settings:

    gsm8k   {"question": "...", "answer": "48/2 = <<48/2=24>>24 clips\\n#### 72"}
    SVAMP   {"Body": "...", "Question": "...", "Answer": 145.0, "Type": "Common-Division"}
    ASDiv   {"body": "...", "question": "...", "answer": "9 (apples)", "solution_type": "Addition"}
    MATH    {"problem": "...", "level": "Level 3", "type": "Algebra", "solution": "... $\\\\boxed{2}$."}
    plain   {"question": "...", "answer": "18"} and, where there are any, solution, level, subject

A row that cannot be used is kept as a BadRow with its line and the reason, and the rest load.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lema_local.errors import DataError, MissingPackageError
from lema_local.records import AnswerKind, Problem

_SUFFIXES = (".jsonl", ".json", ".parquet")
_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s?/\s?\d+)?%?")
_WITH_UNIT = re.compile(r"(.+?)\s*\([^()]*\)")  # ASDiv: "9 (apples)"
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?=[0-9A-Za-z]))")

# dataset -> (repository, file of a split); file names from the repository itself
_HUB = {"gsm8k": ("openai/gsm8k", "main/{split}-00000-of-00001.parquet")}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out. `line` counts from 1; in Parquet it is the row."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file held: the problems that can be used, and the rows that cannot."""

    problems: tuple[Problem, ...]
    bad_rows: tuple[BadRow, ...]


class _UnusableRowError(Exception):
    """Why a row cannot be used, in words for its BadRow."""


def read_problems(
    path: Path, *, dataset: str, split: str, kind: AnswerKind | None = None, limit: int | None = None
) -> Loaded:
    """The problems of a JSONL or Parquet file; of a folder, its `{split}` file.

    `kind` None means latex for rows of MATH and number for all others. `limit` stops after so many usable problems.
    Raises DataError where the path cannot be read or no row can be used.
    """
    file = _find(path, split)
    problems: list[Problem] = []
    bad_rows: list[BadRow] = []
    first_line: dict[str, int] = {}
    rows = _parquet_rows(file) if file.suffix == ".parquet" else _json_rows(file)
    for line, row in rows:
        if limit is not None and len(problems) >= limit:
            break
        try:
            problem = _problem(row, dataset=dataset, split=split, kind=kind)
            before = first_line.setdefault(" ".join(problem.question.split()), line)
            if before != line:
                raise _UnusableRowError(f"the same question as line {before}")
        except _UnusableRowError as reason:
            bad_rows.append(BadRow(str(file), line, str(reason)))
        else:
            problems.append(problem)
    if not problems:
        found = f"; first: line {bad_rows[0].line}, {bad_rows[0].reason}" if bad_rows else ", it is empty"
        raise DataError(f"No usable problem in {file}{found}. Rows need a question and a final answer.")
    return Loaded(tuple(problems), tuple(bad_rows))


def fetch_from_hub(dataset: str, split: str) -> Path:
    """The local path of a split from the Hugging Face Hub, downloaded once into the Hub's own cache.

    Raises DataError for a data set that is not known or cannot be had, MissingPackageError without huggingface_hub.
    """
    if dataset not in _HUB:
        raise DataError(
            f"No download is known for {dataset!r} (known: {', '.join(_HUB)}): give a file with --data-path."
        )
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise MissingPackageError(
            f"Fetching {dataset} needs huggingface_hub: pip install 'lema-local[hub]', or give a file with --data-path."
        ) from error
    repository, name = _HUB[dataset]
    try:
        return Path(hf_hub_download(repository, name.format(split=split), repo_type="dataset"))
    except (HfHubHTTPError, HFValidationError, OSError) as error:  # OSError: no connection, offline mode, disk
        why = " ".join(str(error).split())[:160]
        raise DataError(
            f"Cannot fetch {dataset} {split} from the Hub ({type(error).__name__}: {why}); "
            f"download {repository} elsewhere and give the file with --data-path."
        ) from error


def _find(path: Path, split: str) -> Path:
    if path.is_dir():
        found = [path / f"{split}{suffix}" for suffix in _SUFFIXES if (path / f"{split}{suffix}").is_file()]
        found += sorted(path.glob(f"{split}-00000-of-00001*.parquet"))
        if not found:
            raise DataError(f"No {split}.jsonl or {split}.parquet in the folder {path}: give the file itself.")
        return found[0]
    if not path.exists():
        raise DataError(f"No file {path}: check --data-path.")
    if path.suffix not in _SUFFIXES:
        raise DataError(f"Cannot tell what {path} is: rename it to .jsonl (one JSON object a line) or .parquet.")
    return path


def _json_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """(line, row) of a JSON-lines file; a line that cannot be parsed comes as the _UnusableRowError that says why."""
    try:
        with file.open("rb") as lines:
            for number, raw in enumerate(lines, start=1):
                text = raw.removeprefix(b"\xef\xbb\xbf").strip()
                if number == 1 and text.startswith(b"["):
                    raise DataError(
                        f"{file} is one JSON array: write one object a line (jq -c '.[]' FILE > NEW.jsonl)."
                    )
                if text:
                    yield number, _parse(text)
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror or error}.") from error


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8"))
    except UnicodeDecodeError:
        return _UnusableRowError("not UTF-8 text")
    except (ValueError, RecursionError) as error:  # nesting deep enough to exhaust the stack is no problem row
        return _UnusableRowError(f"invalid JSON ({getattr(error, 'msg', type(error).__name__)})")


def _parquet_rows(file: Path) -> Iterator[tuple[int, Any]]:
    import duckdb

    try:
        with duckdb.connect(":memory:") as connection:
            rows = connection.execute("from read_parquet($file)", {"file": str(file)})
            names = [column[0] for column in rows.description or ()]
            number = 0
            while batch := rows.fetchmany(1000):
                for values in batch:
                    number += 1
                    yield number, dict(zip(names, values, strict=True))
    except duckdb.Error as error:
        raise DataError(f"Cannot read {file} as Parquet: {' '.join(str(error).split())[:160]}.") from error


def _problem(row: Any, *, dataset: str, split: str, kind: AnswerKind | None) -> Problem:
    if isinstance(row, _UnusableRowError):
        raise row
    if not isinstance(row, dict):
        raise _UnusableRowError("not a JSON object")
    problem = _by_fields(row, Problem(dataset, split, "", "", kind or "number"), kind)
    if not problem.question:
        raise _UnusableRowError("no question")
    if not problem.answer:
        raise _UnusableRowError("no final answer")
    if _SURROGATE.search(f"{problem.question}{problem.answer}{problem.solution}"):
        raise _UnusableRowError("half a character (a lone surrogate) in its text")
    return replace(problem, answer=_number(problem.answer)) if problem.kind == "number" else problem


def _by_fields(row: dict[str, Any], empty: Problem, kind: AnswerKind | None) -> Problem:
    """The row in our own terms, by the fields it has; texts are stripped, what is not there is "" or None."""
    if "Body" in row and "Question" in row:  # SVAMP
        question = _join(_text(row, "Body"), _text(row, "Question"))
        return replace(empty, question=question, answer=_text(row, "Answer"), subject=_text(row, "Type") or None)
    if "body" in row and "question" in row:  # ASDiv
        answer = _text(row, "answer")
        bare = _WITH_UNIT.fullmatch(answer)
        subject = _text(row, "solution_type") or None
        question = _join(_text(row, "body"), _text(row, "question"))
        return replace(empty, question=question, answer=bare[1] if bare else answer, subject=subject)
    common = replace(
        empty,
        question=_text(row, "question") or _text(row, "problem"),
        solution=_text(row, "solution") or None,
        level=_text(row, "level") or None,
        subject=_text(row, "subject") or _text(row, "type") or None,
    )
    answer = _text(row, "answer")
    if "problem" in row and "question" not in row:  # MATH
        boxed = _last_boxed(common.solution or "")
        return replace(common, answer=answer or boxed or "", kind=kind or "latex")
    if "\n####" in answer or answer.startswith("####"):  # format from openai/grade-school-math
        return replace(common, solution=answer, answer=answer.rpartition("####")[2].strip())
    return replace(common, answer=answer)


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _UnusableRowError(f"{name} is {type(value).__name__}, not text")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _UnusableRowError(f"{name} is {value}")
        return str(int(value)) if value.is_integer() else repr(value)
    try:
        return str(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        raise _UnusableRowError(f"{name} is a number of thousands of digits") from None


def _join(body: str, question: str) -> str:
    """SVAMP leaves the full stop off some bodies."""
    closed = body if not body or body[-1] in ".!?,:;" else f"{body}."
    return f"{closed} {question}".strip() if question else ""


def _number(answer: str) -> str:
    """The answer as plain digits: no commas, no currency sign; _UnusableRowError if it is no number."""
    bare = answer.removeprefix("$").removeprefix("€").removeprefix("£").strip()
    if not _NUMBER.fullmatch(bare):
        raise _UnusableRowError(f"its answer is not a number: {answer[:40]!r}")
    plain = bare.replace(",", "").replace(" ", "").removeprefix("+")
    return re.sub(r"^(-?\d+)\.0+$", r"\1", plain)


def _last_boxed(solution: str) -> str | None:
    r"""What stands in the last \boxed{...} of a solution, braces matched; MATH also writes \boxed 2 and \fbox{2}."""
    starts = list(_BOXED.finditer(solution))
    if not starts:
        return None
    begin = starts[-1].end()
    if solution[begin - 1] != "{":
        return solution[begin : begin + 1]
    depth = 1
    for end in range(begin, len(solution)):
        depth += {"{": 1, "}": -1}.get(solution[end], 0) * (end == 0 or solution[end - 1] != "\\")
        if depth == 0:
            return solution[begin:end].strip()
    return None
