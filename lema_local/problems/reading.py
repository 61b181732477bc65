"""Problems of one split, from files: rows recognised or mapped, bad rows reported, the whole compared with what was
published.

    loaded = read_problems(Path("MATH"), dataset="math", split="test")
    len(loaded.problems), loaded.rows, loaded.published
    # (5000, 5000, "is the published split (5000 rows, checksum ...)")

A row that cannot be used is kept as a BadRow with its file, line and reason, and the rest load. Where no mapping is
given each row is recognised by its own fields, so a folder of mixed downloads needs no settings.
"""

from dataclasses import dataclass
from pathlib import Path

from lema_local.errors import DataError, did_you_mean
from lema_local.problems.boxes import boxed_reference, last_boxed
from lema_local.problems.datasets import Fields, checksum, compare_with_published, presets, styles
from lema_local.problems.decontamination import normal
from lema_local.problems.files import find_files, read_rows
from lema_local.problems.rows import UnusableRowError, has, problem_from_row
from lema_local.records.types import AnswerKind, Problem

_OPTIONAL = ("solution", "level", "subject", "choices")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out. `line` counts from 1; in Parquet and in a JSON array it is the row."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a split held: the problems that can be used, and the rows that cannot."""

    problems: tuple[Problem, ...]
    bad_rows: tuple[BadRow, ...] = ()
    rows: int = 0  # usable ones, a question that comes again included
    checksum: str = ""  # of the usable rows, whatever form they came in (datasets.checksum)
    published: str | None = None  # whether a preset's split is the published one; None where that says nothing
    remarks: tuple[BadRow, ...] = ()  # on rows that are used: a reference that is not the last box of its solution


def read_problems(
    path: Path,
    *,
    dataset: str,
    split: str,
    kind: AnswerKind | None = None,
    fields: Fields | None = None,
    limit: int | None = None,
) -> Loaded:
    """The problems of a JSON, JSONL or Parquet file; of a folder, those of its split (files.find_files).

    `fields` maps the row's fields; without it they are recognised. `kind` None means what the data set or the mapping
    says. `limit` stops after so many usable problems. Raises DataError where nothing can be read or used.
    """
    preset = presets().get(dataset)
    files = find_files(path, split, preset.local.get(split, ()) if preset else ())
    return read_files(files, dataset=dataset, split=split, kind=kind, fields=fields, limit=limit)


def read_files(
    files: tuple[Path, ...],
    *,
    dataset: str,
    split: str,
    kind: AnswerKind | None = None,
    fields: Fields | None = None,
    limit: int | None = None,
) -> Loaded:
    """As read_problems, from the files that a split consists of."""
    tried = styles(dataset, fields=fields, kind=kind)
    problems: list[Problem] = []
    usable: list[tuple[str, str]] = []
    bad_rows: list[BadRow] = []
    remarks: list[BadRow] = []
    first_seen: dict[str, tuple[Path, int]] = {}
    never_there = {name: e for name in _OPTIONAL if fields and (e := getattr(fields, name)) is not None}
    names: list[str] = []
    for file, line, row in read_rows(files):
        if limit is not None and len(problems) >= limit:
            break
        try:
            if isinstance(row, UnusableRowError):
                raise row
            if isinstance(row, dict) and never_there:
                names = names or list(map(str, row))[:50]
                never_there = {name: e for name, e in never_there.items() if not has(row, e)}
            problem = problem_from_row(row, tried, dataset=dataset, split=split)
            last = _other_last_box(problem)
            usable.append((problem.question, last or problem.answer))
            before = first_seen.setdefault(normal(problem.question), (file, line))
            if before != (file, line):
                where = f"line {before[1]}" if before[0] == file else f"{before[0]}:{before[1]}"
                raise UnusableRowError(f"the same question as {where}")
        except UnusableRowError as reason:
            bad_rows.append(BadRow(str(file), line, str(reason)))
        else:
            problems.append(problem)
            if last:
                remark = f"the last box of its solution is {last}; its reference is {problem.answer}"
                remarks.append(BadRow(str(file), line, remark))
    if not problems:
        raise DataError(_nothing_usable(files, bad_rows))
    if never_there:
        name, expression = next(iter(never_there.items()))
        raise DataError(
            f'No row of {files[0]} has the field of {name} = "{expression}"{did_you_mean(expression, names)}: mend '
            f"[data.fields] (the rows have {', '.join(names[:8])})."
        )
    content = checksum(usable)
    preset = presets().get(dataset)
    published = None
    if preset and limit is None and split in preset.counts:
        published = compare_with_published(preset, split, rows=len(usable), content=content)
    return Loaded(tuple(problems), tuple(bad_rows), len(usable), content, published, tuple(remarks))


def _other_last_box(problem: Problem) -> str | None:
    """The last box of a solution, the answer as published, where the boxes as a whole give another reference."""
    if problem.kind != "latex" or not problem.solution or problem.solution.count("\\boxed") < 2:
        return None
    last = last_boxed(problem.solution)
    is_ours = last != problem.answer and boxed_reference(problem.question, problem.solution) == problem.answer
    return last if is_ours else None


def _nothing_usable(files: tuple[Path, ...], bad_rows: list[BadRow]) -> str:
    if not bad_rows:
        return f"No usable problem in {files[0]}, it is empty. Rows need a question and a final answer."
    first = bad_rows[0]
    return (
        f"No usable problem in {files[0]}; first: line {first.line}, {first.reason}. Rows need a question and a final "
        "answer; other field names are mapped in the profile, [data.fields]."
    )
