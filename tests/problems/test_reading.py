"""Reading problems: every known set of field names, and what happens to rows and files that cannot be used."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commands import DATA

from lema_local.errors import DataError
from lema_local.problems.boxes import boxed_reference
from lema_local.problems.datasets import Fields, Style, checksum, styles
from lema_local.problems.reading import Loaded, read_problems
from lema_local.problems.rows import UnusableRowError, problem_from_row
from lema_local.records.types import Problem


def read(name: str, limit: int | None = None) -> Loaded:
    return read_problems(DATA / name, dataset="d", split="test", limit=limit)


def test_gsm8k_rows_keep_their_rationale_and_give_plain_answers() -> None:
    loaded = read("gsm8k_style.jsonl")
    assert [problem.answer for problem in loaded.problems] == ["22", "6000", "-7"]
    assert loaded.problems[0].solution is not None
    assert loaded.problems[0].solution.startswith("Rosa bakes 6*12=<<6*12=72>>72")
    assert {problem.kind for problem in loaded.problems} == {"number"}
    assert loaded.bad_rows == ()


def test_svamp_asdiv_and_math_rows_are_known_by_their_fields() -> None:
    svamp, asdiv, math = read("other_styles.jsonl").problems
    assert svamp.question == "A shelf holds 8 jars and 5 of them are full. How many jars are empty?"
    assert (svamp.answer, svamp.subject, svamp.solution) == ("3", "Subtraction", None)
    assert (asdiv.answer, asdiv.subject) == ("7", "Addition")
    assert (math.answer, math.kind, math.level, math.subject) == (r"\frac{1}{2}", "latex", "Level 1", "Prealgebra")


def test_plain_row_keeps_solution_level_and_subject() -> None:
    problem = read("bad_rows.jsonl").problems[-1]
    assert (problem.answer, problem.solution, problem.level, problem.subject) == ("16", "2+14=16", "Level 2", "sums")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(2, "invalid JSON", id="cut-off-json"),
        pytest.param(3, "no question", id="empty-question"),
        pytest.param(4, "no final answer", id="no-answer"),
        pytest.param(5, "not a number: 'many'", id="word-for-number"),
        pytest.param(6, "question is list", id="list-for-text"),
        pytest.param(7, "not a JSON object", id="array-row"),
        pytest.param(8, "same question as line 1", id="duplicate-but-for-spaces"),
        pytest.param(9, "no final answer", id="nothing-after-####"),
        pytest.param(10, "surrogate", id="lone-surrogate"),
        pytest.param(11, "answer is bool", id="boolean"),
        pytest.param(12, "answer is nan", id="not-a-number"),
    ],
)
def test_bad_row_is_reported_with_its_line_and_reason(line: int, reason: str) -> None:
    (bad,) = [row for row in read("bad_rows.jsonl").bad_rows if row.line == line]
    assert reason in bad.reason
    assert bad.file.endswith("bad_rows.jsonl")


@pytest.mark.parametrize(
    ("answer", "read_as"),
    [
        ("1,234", "1234"),
        ("-12,345,678.50", "-12345678.50"),
        ("12,34,567", "1234567"),
        ("$6,000", "6000"),
        ("1500", "1500"),
    ],
)
def test_commas_that_group_digits_are_dropped(answer: str, read_as: str) -> None:
    row = {"question": "How many?", "answer": f"Some.\n#### {answer}"}
    assert problem_from_row(row, styles("gsm8k"), dataset="d", split="test").answer == read_as


@pytest.mark.parametrize("answer", ["5,10", "1,2,3", "1,2,345", "12,", "1234,567", "0,5", "1,,000", "5,10,15"])
def test_commas_that_group_no_digits_make_no_number(answer: str) -> None:
    row = {"question": "How many?", "answer": f"Some.\n#### {answer}"}
    with pytest.raises(UnusableRowError, match="not a number"):
        problem_from_row(row, styles("gsm8k"), dataset="d", split="test")


def test_rows_beside_bad_ones_load() -> None:
    loaded = read("bad_rows.jsonl")
    assert [problem.answer for problem in loaded.problems] == ["5", "16"]
    assert len(loaded.bad_rows) == 11


def test_limit_stops_after_so_many_usable_problems() -> None:
    assert len(read("gsm8k_style.jsonl", limit=2).problems) == 2


def test_kind_given_keeps_answers_that_are_no_numbers() -> None:
    loaded = read_problems(DATA / "bad_rows.jsonl", dataset="d", split="test", kind="latex")
    assert "many" in [problem.answer for problem in loaded.problems]


def test_parquet_reads_as_jsonl_does(tmp_path: Path) -> None:
    file = tmp_path / "it's.parquet"
    with duckdb.connect(":memory:") as connection:
        rows = connection.read_json(str(DATA / "gsm8k_style.jsonl"))
        rows.write_parquet(str(file))
    loaded = read_problems(file, dataset="d", split="test")
    assert loaded.problems == read("gsm8k_style.jsonl").problems


def test_one_json_array_reads_as_jsonl_does(tmp_path: Path) -> None:
    """SVAMP.json comes so from its authors."""
    lines = (DATA / "gsm8k_style.jsonl").read_text(encoding="utf-8").split("\n")
    (tmp_path / "array.json").write_text("[\n" + ",\n".join(line for line in lines if line) + "\n]", encoding="utf-8")
    loaded = read_problems(tmp_path / "array.json", dataset="d", split="test")
    assert loaded.problems == read("gsm8k_style.jsonl").problems


def test_folder_gives_the_file_of_its_split(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"question": "1 + 1?", "answer": "3"}\n')
    (tmp_path / "test.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    assert read_problems(tmp_path, dataset="d", split="test").problems[0].answer == "2"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("none.jsonl", None, "No file", id="missing"),
        pytest.param("empty.jsonl", b"", "empty", id="empty"),
        pytest.param("bad.jsonl", b'{"question": "q"}\n', "line 1, no final answer", id="no-usable-row"),
        pytest.param("array.json", b'[{"question": "q"}]', "line 1, no final answer", id="array-without-answers"),
        pytest.param("bad.parquet", b"PAR1 but no more", "as Parquet", id="broken-parquet"),
        pytest.param("data.xlsx", b"PK", "rename it", id="unknown-suffix"),
        pytest.param("deep.jsonl", b"[" * 200_000, "invalid JSON", id="deep-array"),
        pytest.param("scalars.jsonl", b"1\nnull\n", "not a JSON object", id="scalars"),
        pytest.param("deep2.jsonl", b'{"a":' * 200_000, "invalid JSON", id="very-deep-nesting"),
        pytest.param("binary.jsonl", b"\xff\xfe\x00\n\x80\n", "not UTF-8", id="binary"),
    ],
)
def test_file_without_a_usable_row_is_one_line_of_advice(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_problems(tmp_path / name, dataset="d", split="test")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("question", "solution", "reference"),
    [
        ("Enter all solutions, separated by commas.", r"$x = \boxed{3}$ or $x = \boxed{-1}$.", "3, -1"),
        ("Order them, separated by comma(s).", r"They are \boxed{-2}, \boxed{1} and \boxed{-2}.", "-2, 1"),
        ("What is $x$?", r"First \boxed{2}, so $a+b$ is \boxed{7}.", "7"),
        ("What is $x$?", r"So \boxed{\frac{3}{2}} = \boxed{1\frac12}.", r"1\frac12"),
        ("What is $d$?", r"so \boxed{-3}. Note: $\boxed{3}$ is also accepted.", r"-3 \text{ or else } 3"),
        ("Give one focus.", r"$\boxed{(8, 0)}$ and $\boxed{(0,0)}.$ (Either point is acceptable.)",
         r"(8, 0) \text{ or else } (0,0)"),
        (r"Let $\boxed{N}$ be the digits of $N$. What is \boxed{10}?", r"\boxed{10}=2, so $2$ is our answer.", "2"),
        (r"Fill in \boxed{\phantom{2}}.", r"$4 + \boxed{\phantom{2}} = 9$, so $\boxed{5}$.", "5"),
        ("What is $x$?", r"It never closes: \boxed{5", None),
        ("What is $x$?", "No box.", None),
    ],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_the_boxes_of_a_solution_give_one_reference(question: str, solution: str, reference: str | None) -> None:
    assert boxed_reference(question, solution) == reference


def test_a_reference_that_is_not_the_last_box_is_remarked_and_changes_no_checksum(tmp_path: Path) -> None:
    row = {
        "problem": "Enter all roots, separated by commas.",
        "solution": r"\boxed{3} or \boxed{-1}",
        "type": "Algebra",
    }
    file = tmp_path / "test.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    loaded = read_problems(file, dataset="math", split="test")
    assert loaded.problems[0].answer == "3, -1"
    (remark,) = loaded.remarks
    assert (remark.line, remark.reason) == (1, "the last box of its solution is -1; its reference is 3, -1")
    assert loaded.checksum == checksum([(row["problem"], "-1")])
    # a field that was made of the last box is one with it
    file.write_text(json.dumps({**row, "answer": "-1"}) + "\n", encoding="utf-8")
    assert read_problems(file, dataset="math", split="test").problems == loaded.problems


@pytest.mark.parametrize(
    ("answer", "read_as"),
    [
        (1e-7, "0.0000001"),
        (2.5e-9, "0.0000000025"),
        ("1e-7", "0.0000001"),
        ("2.5E3", "2500"),
        (Decimal("12.50"), "12.5"),
        (Decimal("7.00"), "7"),
        (Decimal("-0.0000001"), "-0.0000001"),
        (Decimal("1E+3"), "1000"),
        (1e22, "10000000000000000000000"),
        (-0.0, "0"),
    ],
)
def test_a_number_of_any_type_is_read_with_all_its_digits(answer: object, read_as: str) -> None:
    row = {"question": "How many?", "answer": answer}
    assert problem_from_row(row, styles("mine"), dataset="d", split="test").answer == read_as


def test_decimals_of_parquet_are_answers(tmp_path: Path) -> None:
    file = tmp_path / "test.parquet"
    with duckdb.connect(":memory:") as connection:
        connection.sql("select 'How much?' as question, 0.0000001::decimal(18, 7) as answer").write_parquet(str(file))
    assert read_problems(file, dataset="d", split="test").problems[0].answer == "0.0000001"


@pytest.mark.parametrize("field", ["solution", "level", "subject", "choices"])
def test_nan_in_a_field_that_may_be_missing_loses_no_row(field: str) -> None:
    row = {"question": "How many?", "answer": 3, field: float("nan")}
    fields = replace(styles("mine", kind="number")[-1].fields, choices="choices")
    problem = problem_from_row(row, [Style(fields, "number")], dataset="d", split="test")
    assert (problem.answer, problem.solution, problem.level, problem.subject) == ("3", None, None, None)


@pytest.mark.parametrize("nothing", [None, "", "  ", float("nan"), [], {}], ids=repr)
def test_of_alternatives_the_first_that_holds_something_counts(nothing: Any) -> None:
    fields = Fields(question="q | text", answer="a | gold", solution="why | steps", subject="topic.name | area")
    row = {"q": nothing, "a": nothing, "why": nothing, "topic": {"name": nothing}}
    held = {"text": "How many?", "gold": 0, "steps": "None.", "area": "sums"}
    problem = problem_from_row(row | held, [Style(fields, "number")], dataset="d", split="test")
    assert problem == Problem("d", "test", "How many?", "0", "number", solution="None.", subject="sums")


def test_where_no_alternative_holds_anything_the_row_says_so_and_keeps_its_other_fields() -> None:
    fields = Fields(question="q", answer="a | gold", solution="why | steps", subject="topic.name | topic")
    row = {"q": "How many?", "a": None, "gold": None, "why": None, "steps": None, "topic": {"name": None}}
    with pytest.raises(UnusableRowError, match=r"^no final answer$"):
        problem_from_row(row, [Style(fields, "number")], dataset="d", split="test")
    problem = problem_from_row(row | {"gold": 3}, [Style(fields, "number")], dataset="d", split="test")
    assert (problem.answer, problem.solution, problem.subject) == ("3", None, None)


def test_a_field_that_only_holds_nulls_is_one_that_rows_have(tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    file.write_text('{"q": "How many?", "a": 3, "why": null}\n')
    fields = Fields(question="q", answer="a", solution="why | steps")
    (problem,) = read_problems(file, dataset="d", split="test", fields=fields).problems
    assert problem.solution is None


@pytest.mark.parametrize("dataset", ["math", "mine"])
@pytest.mark.parametrize("nothing", [None, "", float("nan")], ids=repr)
def test_a_math_row_whose_answer_is_null_takes_the_box_of_its_solution(dataset: str, nothing: Any) -> None:
    row = {"problem": "What is $3 + 4$?", "answer": nothing, "solution": r"so $\boxed{7}$"}
    problem = problem_from_row(row, styles(dataset), dataset="d", split="test")
    assert (problem.answer, problem.kind) == ("7", "latex")


def test_rows_of_several_sets_in_one_parquet_file_read_as_they_do_alone(tmp_path: Path) -> None:
    """Each row then has every field, most of them null."""
    rows: list[dict[str, Any]] = [
        {"problem": "What is $3 + 4$?", "solution": r"so $\boxed{7}$", "type": "Algebra"},
        {"question": "What is 2 + 3?", "answer": "2+3=5\n#### 5"},
        {"body": "Lena has two kites.", "question": "How many kites?", "answer": "2 (kites)"},
        {"question": "Which is red?", "choices": ["sky", "blood"], "answer": "B"},
        {"question": "Which is blue?", "options": ["sky", "blood"], "answer": "sky"},
        {"question": "Which is wet?", "choices": ["rain", "sand"], "answerKey": "A"},
    ]
    names = {name: None for row in rows for name in row}
    (tmp_path / "alone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(names | row) + "\n" for row in rows))
    with duckdb.connect(":memory:") as connection:
        connection.read_json(str(tmp_path / "alone.jsonl")).write_parquet(str(tmp_path / "all.parquet"))
    alone, *others = (
        read_problems(tmp_path / name, dataset="d", split="test")
        for name in ("alone.jsonl", "all.jsonl", "all.parquet")
    )
    assert [problem.answer for problem in alone.problems] == ["7", "5", "2", "B", "A", "A"]
    assert [problem.kind for problem in alone.problems] == ["latex", "number", "number", "choice", "choice", "choice"]
    assert [other.problems for other in others] == [alone.problems] * 2
