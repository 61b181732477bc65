"""`lema grade`: grade a file of answers. Needs no database, no model and no torch.

A row in, and the same row out:

    {"text": "... The answer is $18.", "reference": "18"}
    {"text": "... The answer is $18.", "reference": "18", "answer": "18", "is_correct": true, "decided_by": "exact"}
"""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import click

from lema_local import printable
from lema_local.answers.exact import compare, extract_answer
from lema_local.answers.grading import Grader, Verdict
from lema_local.errors import DataError
from lema_local.problems.files import read_rows
from lema_local.problems.rows import UnusableRowError
from lema_local.records.types import AnswerKind
from lema_local.statistics.comparison import wilson_interval

from .output import echo

_KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)
_CHUNK = 2_000  # rows in memory at a time
_SHOWN_BAD_ROWS = 20
Row = dict[str, Any]


@click.command("grade")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--kind", type=click.Choice(_KINDS), help="Kind of the rows that name none.  [default: number]")
@click.option("--anywhere", is_flag=True, help="Accept the last number or formula where there is no marker.")
@click.option("--summary", is_flag=True, help="Print the accuracy and what decided to stderr.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Processes for algebra.")
@click.option("--time-limit", default=1.0, show_default=True, help="Seconds of algebra per answer.")
def command(
    file: Path, kind: AnswerKind | None, anywhere: bool, summary: bool, workers: int, time_limit: float
) -> None:
    """Grade the answers in FILE (.jsonl, .json, .parquet, or - for JSONL on stdin).

    Rows have `text` and `reference`, and may have `kind` (number, latex, choice). Each is written to stdout as JSONL
    with `answer`, `is_correct` and `decided_by` added. A text that marks no answer ("The answer is", ####, \\boxed)
    has none and is wrong; --anywhere takes its last number or formula, as many harnesses do.

    \b
    Example:  lema grade outputs.jsonl --kind latex --summary > graded.jsonl
    """
    counts: Counter[tuple[bool, str]] = Counter()
    bad_rows = 0
    with Grader(workers, time_limit) as grader, ThreadPoolExecutor(workers) as threads:
        rows = read_rows((file,))
        while chunk := list(islice(rows, _CHUNK)):
            graded: list[tuple[Row, str | None, Future[Verdict] | Verdict]] = []
            for _, number, row in chunk:
                try:
                    row_kind = _kind_of_usable(row, kind)
                except UnusableRowError as reason:
                    bad_rows += 1
                    if bad_rows <= _SHOWN_BAD_ROWS:
                        echo(f"line {number}: {reason}; skipped", err=True)
                    continue
                answer = extract_answer(row["text"], row_kind, anywhere=anywhere)
                reference = _reference(str(row["reference"]), row_kind)
                is_same, rule = compare(answer, reference, row_kind)
                # most rows are decided here; only algebra is worth a thread
                if is_same is None:
                    graded.append((row, answer, threads.submit(grader.grade, answer, reference, row_kind)))
                else:
                    graded.append((row, answer, Verdict(is_same, rule)))
            lines = []
            for row, answer, result in graded:
                verdict = result if isinstance(result, Verdict) else result.result()
                counts[verdict.is_correct, verdict.decided_by] += 1
                grade = {"answer": answer, "is_correct": verdict.is_correct, "decided_by": verdict.decided_by}
                lines.append(printable.json_text({**row, **grade}, indent=None, default=str))
            if lines:
                echo("\n".join(lines))
    if bad_rows > _SHOWN_BAD_ROWS:
        echo(f"... and {bad_rows - _SHOWN_BAD_ROWS:,} more bad rows", err=True)
    if not counts:
        raise DataError(f'{file} holds no row with text and reference. Each line: {{"text": ..., "reference": ...}}')
    if summary:
        echo(_summary(counts, bad_rows, anywhere=anywhere), err=True)


def _reference(reference: str, kind: AnswerKind) -> str:
    """The reference answer; data sets often come with a whole solution instead."""
    is_solution = "####" in reference or ("\\boxed" in reference and kind == "latex")
    return (extract_answer(reference, kind) or reference) if is_solution else reference


def _kind_of_usable(row: Any, kind: AnswerKind | None) -> AnswerKind:
    """The kind of a row's answer. UnusableRowError where it cannot be graded."""
    if isinstance(row, UnusableRowError):
        raise row
    if not isinstance(row, dict):
        raise UnusableRowError("not a JSON object")
    if not isinstance(row.get("text"), str):
        raise UnusableRowError("no text" if row.get("text") is None else "text is not a string")
    if isinstance(row.get("reference"), bool) or not isinstance(row.get("reference"), str | int | float | Decimal):
        missing = row.get("reference") is None
        raise UnusableRowError("no reference" if missing else "reference is neither a string nor a number")
    named = row.get("kind") or kind or "number"
    if named not in _KINDS:
        raise UnusableRowError(f"kind {named!r} is not one of {', '.join(_KINDS)}")
    return named


def _summary(counts: Counter[tuple[bool, str]], bad_rows: int, *, anywhere: bool) -> str:
    total = counts.total()
    correct = sum(n for (is_right, _), n in counts.items() if is_right)
    low, high = wilson_interval(correct, total)
    lines = [f"{correct:,} of {total:,} correct: {correct / total:.2%} (95% interval {low:.2%} to {high:.2%})"]
    for (is_right, reason), n in sorted(counts.items(), key=lambda item: -item[1]):
        lines.append(f"  {n:>9,}  {'correct' if is_right else 'wrong':<8} {reason}")
    if bad_rows:
        lines.append(f"  {bad_rows:>9,}  skipped  bad row")
    if counts[False, "missing"] and not anywhere:
        lines.append("missing: no answer is marked in the text. --anywhere reads the last number or formula there.")
    return "\n".join(lines)
