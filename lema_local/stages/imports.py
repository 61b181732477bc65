"""Rationales and corrections that were made elsewhere become facts like any other; grading them is derived.

A row is JSON on a line of its own, or a row of Parquet. It names its problem by id or by the text of its question:

    {"question": "Tina has 42 apples ...", "rationale": "Step 1: 42 + 9 = 51. The answer is 51.", "model": "m-70b"}
    {"rationale_id": "0d1f...", "correction": "Step 1.\\nExplanation: ...\\nCorrect Solution:\\n...", "model": "gpt-4"}
    {"question": "...", "rationale": "...", "reasoner": "llama-2-70b", "incorrect_step": 1, "explanation": "...",
     "correct_solution": "...", "model": "gpt-4"}

The names of `lema export --table mistake` and `--table correction` are understood too. A row that cannot be used is
kept as a BadRow with its line. What is imported says so: endpoint "import", template "imported.1". Answers to test
problems come by `lema eval --import` (imported_answers.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol
from uuid import UUID

from lema_local.errors import DataError
from lema_local.problems.decontamination import normal
from lema_local.problems.files import read_rows
from lema_local.problems.reading import BadRow
from lema_local.problems.rows import UnusableRowError
from lema_local.prompts import IMPORTED_TEMPLATE
from lema_local.records.keys import content_key
from lema_local.records.store import Store, Writer
from lema_local.records.types import LARGEST_INTEGER, Completion, Purpose
from lema_local.stages.derive import derive

Kind = Literal["rationale", "correction"]
ENDPOINT = "import"


@dataclass(frozen=True, slots=True)
class Imported:
    """How an import went."""

    rows: int
    new: int  # completions that were not there
    bad_rows: tuple[BadRow, ...]


def import_file(store: Writer, file: Path, *, kind: Kind, model: str | None = None) -> Imported:
    """Take in a file of rationales or corrections and grade them; `model` is for rows that do not name theirs.

    Importing a file twice is importing it once. DataError where the file cannot be read or no row can be used.
    """
    store.merge()
    known = _Known(store)
    wanted: dict[str, Completion] = {}
    bad_rows, rows = [], 0
    for _, line, row in read_rows((file,)):
        rows += 1
        try:
            for completion in _completions(row, kind, model, known):
                wanted.setdefault(completion.id, completion)
        except UnusableRowError as reason:
            bad_rows.append(BadRow(str(file), line, str(reason)))
    if not wanted:
        first = f" Line {bad_rows[0].line}: {bad_rows[0].reason}." if bad_rows else ""
        raise DataError(f"No row of {file} can be used.{first} See: lema import --help")
    new = store.missing("completion", list(wanted))
    for completion in wanted.values():
        if completion.id in new:
            store.add(completion)
    derive(store, "sample")
    derive(store, "correct")
    return Imported(rows, len(new), tuple(bad_rows))


class Known(Protocol):
    """What rows can refer to."""

    problems: set[str]  # ids
    by_question: dict[str, tuple[str, str] | None]  # -> id, answer; None: several that differ
    unknown: str  # what is wrong with a question that is none of them


class _Known:
    """What rows can refer to: problems by id or question, sampled rationales by id or text."""

    unknown = (
        "its question is not in the database; record the problems first, by their profile or --dataset: `lema data "
        "--offline` does, and calls nothing"
    )

    def __init__(self, store: Store) -> None:
        # train first: rationales and corrections are of train problems
        rows = store.rows("select id, question, answer from problem order by split <> 'train', id")
        self.problems = {row["id"] for row in rows}
        self.by_question = by_question((row["id"], row["question"], row["answer"]) for row in rows)
        samples = store.rows("select id, problem_id, text from completion where purpose = 'sample' order by id")
        self.rationales = {row["id"]: row["problem_id"] for row in samples}
        self.by_text = {(row["problem_id"], row["text"]): row["id"] for row in samples}


def by_question(problems: Iterable[tuple[str, str, str]]) -> dict[str, tuple[str, str] | None]:
    """Problems (id, question, answer) by what they ask, as Known has them. Of several with the same answer
    the first stays."""
    found: dict[str, tuple[str, str] | None] = {}
    for id_, question, answer in problems:
        first = found.setdefault(normal(question), (id_, answer))
        if first is not None and first[1] != answer:
            found[normal(question)] = None
    return found


def _completions(row: Any, kind: Kind, model: str | None, known: _Known) -> Iterator[Completion]:
    """The completions of a row: a correction may bring its rationale along."""
    if isinstance(row, UnusableRowError):
        raise row
    if not isinstance(row, dict):
        raise UnusableRowError("not a JSON object")
    row = {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()}  # Parquet has UUIDs
    if kind == "rationale":
        problem = problem_of(row, known)
        yield imported_completion(
            row, "sample", model_of(row, "reasoner", model), problem, text_of(row, "rationale", "text")
        )
        return
    corrector, text = model_of(row, "corrector", model), _correction_text(row)
    rationale_id = row.get("rationale_id")
    if isinstance(rationale_id, str) and rationale_id in known.rationales:
        yield imported_completion(row, "correct", corrector, known.rationales[rationale_id], text, rationale_id)
        return
    if rationale_id is not None and row.get("rationale") is None:
        raise UnusableRowError(f"no rationale {rationale_id!s:.40} in the database, and no text of it in the row")
    problem, mistaken = problem_of(row, known), text_of(row, "rationale")
    found = known.by_text.get((problem, mistaken))
    if found is None:
        reasoner = row.get("reasoner")
        if not isinstance(reasoner, str) or not reasoner.strip():
            raise UnusableRowError("its rationale is not in the database, and `reasoner` does not say who wrote it")
        brought = imported_completion({}, "sample", reasoner, problem, mistaken)
        yield brought
        found = brought.id
    yield imported_completion(row, "correct", corrector, problem, text, found)


def imported_completion(
    row: dict[str, Any], purpose: Purpose, model: str, problem_id: str, text: str, rationale_id: str | None = None
) -> Completion:
    """A text as the fact that a call would have left. UnusableRowError for fields of the wrong kind."""
    index, reason, derived = row.get("sample_index") or 0, row.get("finish_reason"), row.get("is_reference_derived")
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index <= LARGEST_INTEGER:
        raise UnusableRowError(f"sample_index is no whole number from 0 to {LARGEST_INTEGER}")
    if reason is not None and not isinstance(reason, str):
        raise UnusableRowError("finish_reason is no text")
    return Completion(
        id=content_key(
            "completion", ENDPOINT, model, purpose, IMPORTED_TEMPLATE, problem_id, rationale_id, index, text
        ),
        purpose=purpose,
        model=model,
        model_identity=f"imported:{model}",
        template=IMPORTED_TEMPLATE,
        problem_id=problem_id,
        rationale_id=rationale_id,
        checkpoint_id=None,
        sampling="{}",
        sample_index=index,
        text=text,
        finish_reason=reason,
        prompt_tokens=None,
        completion_tokens=None,
        latency_s=0.0,
        cost_usd=None,
        endpoint=ENDPOINT,
        is_reference_derived=derived is True,
        created_at=datetime.now(UTC),
    )


def problem_of(row: dict[str, Any], known: Known) -> str:
    """The id of the problem that a row names by id or question, or UnusableRowError."""
    given = row.get("problem_id")
    if isinstance(given, str) and given in known.problems:
        return given
    question = row.get("question")
    if not isinstance(question, str):
        raise UnusableRowError("no question, and no problem_id that is in the database")
    asked = normal(question)
    if asked not in known.by_question:
        raise UnusableRowError(known.unknown)
    found = known.by_question[asked]
    if found is None:
        raise UnusableRowError("several problems with other answers ask this question: give problem_id")
    return found[0]


def _correction_text(row: dict[str, Any]) -> str:
    """The reply as it was, or put together from its parts in the form that corrections are parsed from."""
    if row.get("correction") is not None or row.get("incorrect_step") is None:
        return text_of(row, "correction", "text")
    step = row["incorrect_step"]
    if not isinstance(step, int) or isinstance(step, bool):
        raise UnusableRowError("incorrect_step is no whole number")
    explanation, solution = text_of(row, "explanation"), text_of(row, "correct_solution")
    return f"Step {step}.\nExplanation: {explanation}\nCorrect Solution:\n{solution}"


def text_of(row: dict[str, Any], *names: str) -> str:
    """The first of these fields that holds text, or UnusableRowError."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and value.strip():
            return value
    raise UnusableRowError(f"no text in {' or '.join(f'`{name}`' for name in names)}")


def model_of(row: dict[str, Any], other_name: str, given: str | None) -> str:
    """Who wrote it, by the row, else by the option, or UnusableRowError."""
    for value in (row.get("model"), row.get(other_name), given):
        if isinstance(value, str) and value.strip():
            return value
    raise UnusableRowError(f"no `model` or `{other_name}`; name one for all rows with --model")
