"""Answers to test problems that were made elsewhere become evaluations of the models that the rows name.

    {"question": "Tina has 42 apples ...", "text": "42 + 9 = 51. The answer is 51.", "model": "gpt-4"}

`problem_id` may stand for the question; several answers of a model to one problem bear `sample_index` 0, 1, ... The
samples_*.jsonl that lm-evaluation-harness logs are understood as they are (`doc` and `resps`), and so are the logs of
inspect_ai (answer_logs.py). An empty text is what
the model gave: no answer, and wrong. What is imported says so, as in imports.py, and its prompt and settings are not
known here. A model has one answer to a problem of each index: other texts under its name are refused.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from lema_local.errors import DataError
from lema_local.problems.reading import BadRow
from lema_local.problems.rows import UnusableRowError
from lema_local.records.store import Writer
from lema_local.records.types import Completion, Problem
from lema_local.stages.answer_logs import answer_rows, logged_model
from lema_local.stages.derive import derive
from lema_local.stages.imports import ENDPOINT, Imported, by_question, imported_completion, model_of, problem_of

Place = tuple[str, str, int]  # model, problem, sample_index


@dataclass(frozen=True, slots=True)
class ImportedAnswers(Imported):
    """How an import of answers went, which completions they are, and how many of the problems they cover."""

    ids: tuple[str, ...] = ()
    coverage: list[str] = field(default_factory=list)  # a line for each model and set


def import_answers(
    store: Writer, file: Path, *, problems: Sequence[Problem], model: str | None = None
) -> ImportedAnswers:
    """Take in answers to these problems that were made elsewhere, and grade them as evaluations of the models that the
    rows name; `model` is for rows that name none, and so is the name that lm-evaluation-harness wrote beside them.

    Importing a file twice is importing it once. DataError where the file cannot be read, no row can be used, or an
    answer that was imported before has another text.
    """
    store.merge()
    known = _Asked(problems)
    wanted: dict[str, Completion] = {}
    places: dict[Place, tuple[int, str]] = {}  # -> first line, text
    bad_rows, rows = [], 0
    model = model or logged_model(file)
    for _, line, row in answer_rows(file):
        rows += 1
        try:
            completion = _answer(row, model, known)
            place = (completion.model, completion.problem_id, completion.sample_index)
            first, text = places.setdefault(place, (line, completion.text))
            if text != completion.text:
                raise UnusableRowError(
                    f"another answer of {completion.model} to the problem of line {first}; give each its sample_index"
                )
            wanted.setdefault(completion.id, completion)
        except UnusableRowError as reason:
            bad_rows.append(BadRow(str(file), line, str(reason)))
    if not wanted:
        raise DataError(_no_answer(file, bad_rows, known))
    new = store.missing("completion", list(wanted))
    _refuse_other_texts(store, file, [wanted[id_] for id_ in wanted if id_ in new], places)
    for completion in wanted.values():
        if completion.id in new:
            store.add(completion)
    derive(store, "evaluate")
    return ImportedAnswers(rows, len(new), tuple(bad_rows), tuple(wanted), _coverage(wanted.values(), problems))


def _refuse_other_texts(
    store: Writer, file: Path, new: Sequence[Completion], places: Mapping[Place, tuple[int, str]]
) -> None:
    """DataError where one of these new answers has the place of one that is there: it has another text, or it would not
    be new, and both would count."""
    sql = "select model, problem_id, sample_index from completion where endpoint = $endpoint and purpose = 'evaluate'"
    taken = {tuple(row.values()) for row in store.rows(sql, endpoint=ENDPOINT)} if new else set()
    others = [place for c in new if (place := (c.model, c.problem_id, c.sample_index)) in taken]
    if others:
        line, name = places[others[0]][0], others[0][0]
        raise DataError(
            f"{len(others)} answers in {file} (the first: line {line}, of {name}) are not those that were imported "
            "before for the same problems. Give this file another --model, or its rows another `model`; of more "
            "samples, each its own sample_index."
        )


def _coverage(completions: Iterable[Completion], problems: Sequence[Problem]) -> list[str]:
    """What the table rests on: answers may be missing."""
    sets = {problem.id: f"{problem.dataset} {problem.split}" for problem in problems}
    sizes = Counter(sets.values())
    answered = sorted({(c.model, sets[c.problem_id], c.problem_id) for c in completions})
    counts = Counter((model, name) for model, name, _ in answered)
    return [f"{model}: {count} of {sizes[name]} problems of {name}" for (model, name), count in counts.items()]


def _no_answer(file: Path, bad_rows: Sequence[BadRow], known: "_Asked") -> str:
    if not bad_rows:
        return f"{file} is empty. Rows need the question (or problem_id), the text of the answer, and the model."
    if all(bad.reason == known.unknown for bad in bad_rows):
        return (
            f"No row of {file} asks a question of {known.names}: it is of another data set. Name its own: "
            "lema eval --import FILE --on NAME=PATH"
        )
    return f"No row of {file} can be used. Line {bad_rows[0].line}: {bad_rows[0].reason}. See: lema eval --help"


class _Asked:
    """The problems that answers can be to, by id or question."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = {problem.id for problem in problems}
        self.by_question = by_question((problem.id, problem.question, problem.answer) for problem in problems)
        self.names = ", ".join(sorted({f"{problem.dataset} {problem.split}" for problem in problems}))
        self.unknown = f"its question is not one of {self.names}"


def _answer(row: Any, model: str | None, asked: _Asked) -> Completion:
    """The answer of a row of ours or of lm-evaluation-harness."""
    if isinstance(row, UnusableRowError):
        raise row
    if not isinstance(row, dict):
        raise UnusableRowError("not a JSON object")
    row = {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()}
    if isinstance(row.get("doc"), dict) and "resps" in row:
        resps = row["resps"]
        while isinstance(resps, list) and len(resps) == 1:
            resps = resps[0]
        if not isinstance(resps, str | None):
            raise UnusableRowError("`resps` is not one text: give each sample a row of its own, with sample_index")
        row = {**row, "question": row["doc"].get("question") or row["doc"].get("problem"), "text": resps}
    problem = problem_of(row, asked)
    return imported_completion(row, "evaluate", model_of(row, "model_name", model), problem, _text_of(row))


def _text_of(row: dict[str, Any]) -> str:
    """What was answered: "" where the row says that it was nothing, UnusableRowError where it does not say."""
    given = [row[name] for name in ("text", "completion") if name in row]
    if not given or not all(isinstance(value, str | None) for value in given):
        raise UnusableRowError("no text in `text` or `completion`")
    return next((value for value in given if value and value.strip()), "")
