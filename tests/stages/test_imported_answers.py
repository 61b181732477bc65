"""Answers made elsewhere are graded by the same grader and land in the same table."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import PROBLEMS, lema
from needs import needs
from scripted_server import ScriptedServer

from lema_local.errors import DataError, MissingPackageError
from lema_local.records.store import Store, Writer
from lema_local.records.types import Problem
from lema_local.stages.imported_answers import ImportedAnswers, import_answers

TINA = Problem("d", "test", "Tina has 42 apples and gives 9 away. How many has she?", "33")
SAM = Problem("d", "test", "What is 2 + 2?", "4")
SAM_ELSEWHERE = Problem("e", "test", SAM.question, "5")
TINA_ELSEWHERE = Problem("e", "test", TINA.question, TINA.answer)


@pytest.fixture
def filled(store: Writer) -> Writer:
    store.add(TINA)
    store.add(SAM)
    store.merge()
    return store


def take_in(
    store: Writer, folder: Path, rows: list[Any], *, problems: Sequence[Problem] = (TINA, SAM), **more: Any
) -> ImportedAnswers:
    file = folder / "answers.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return import_answers(store, file, problems=problems, **more)


def test_answers_are_matched_by_question_or_id_and_graded_as_evaluations(filled: Writer, tmp_path: Path) -> None:
    rows = [
        {"question": f" {TINA.question}\n", "text": "42 - 9 = 33. The answer is 33.", "model": "gpt-4"},
        {"problem_id": SAM.id, "completion": "#### 5"},
    ]
    found = take_in(filled, tmp_path, rows, model="mine")
    assert (found.rows, found.new, found.bad_rows) == (2, 2, ())
    assert found.coverage == ["gpt-4: 1 of 2 problems of d test", "mine: 1 of 2 problems of d test"]
    assert filled.rows("select model, base, answer, is_correct from evaluation order by model") == [
        {"model": "gpt-4", "base": "imported:gpt-4", "answer": "33", "is_correct": True},
        {"model": "mine", "base": "imported:mine", "answer": "5", "is_correct": False},
    ]
    assert filled.rows("select distinct purpose, endpoint, template from completion") == [
        {"purpose": "evaluate", "endpoint": "import", "template": "imported.1"}
    ]


def test_a_second_import_adds_nothing_and_finds_the_same(filled: Writer, tmp_path: Path) -> None:
    rows = [{"question": SAM.question, "text": "4", "model": "m"}]
    first, second = take_in(filled, tmp_path, rows), take_in(filled, tmp_path, rows)
    assert (first.new, second.new, first.ids) == (1, 0, second.ids)
    assert filled.rows("select count(*) as n from evaluation") == [{"n": 1}]


def test_other_answers_under_the_name_of_an_earlier_import_are_refused(filled: Writer, tmp_path: Path) -> None:
    """Another run of the same model, or another model by mistake: both would count as samples of one."""
    first = [{"question": problem.question, "text": "#### 4", "model": "m"} for problem in (TINA, SAM)]
    take_in(filled, tmp_path, first)
    others = [first[0], first[1] | {"text": "#### 5"}]
    said = r"1 answers in .* \(the first: line 2, of m\) are not those that were imported .* Give .* another --model"
    with pytest.raises(DataError, match=said) as caught:
        take_in(filled, tmp_path, others)
    assert "\n" not in str(caught.value)
    assert filled.rows("select count(*) as n from completion") == [{"n": 2}]
    assert take_in(filled, tmp_path, first).new == 0
    assert take_in(filled, tmp_path, [row | {"sample_index": 1} for row in others]).new == 2
    assert take_in(filled, tmp_path, [row | {"model": "m2"} for row in others]).new == 2


@needs("inspect_ai")
def test_a_log_of_inspect_ai_is_read_by_its_own_reader(filled: Writer, tmp_path: Path) -> None:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalError, EvalLog, EvalSample, EvalSpec, write_eval_log
    from inspect_ai.model import ChatMessageSystem, ChatMessageUser, ModelOutput

    def sample(id_: str, asked: Any, text: str, epoch: int = 1, error: EvalError | None = None) -> EvalSample:
        output = ModelOutput.from_content("m", text)
        return EvalSample(id=id_, epoch=epoch, input=asked, target="-", output=output, error=error)

    turns = [ChatMessageSystem(content="Think."), ChatMessageUser(content=TINA.question)]
    failed = EvalError(message="time", traceback="", traceback_ansi="")
    samples = [
        sample("a", SAM.question, "The answer is 4."),
        sample("a", SAM.question, "The answer is 5.", epoch=2),
        sample("b", turns, "The answer is 33."),
        sample("c", TINA.question, "", epoch=2, error=failed),
    ]
    spec = EvalSpec(
        created="2026-11-28T10:00:00+00:00",
        task="t",
        dataset=EvalDataset(),
        model="openai/gpt-4",
        config=EvalConfig(),
    )
    file = tmp_path / "x.eval"
    write_eval_log(EvalLog(eval=spec, samples=samples, status="success"), str(file))
    found = import_answers(filled, file, problems=(TINA, SAM))
    assert (found.rows, found.new) == (4, 3)
    assert [(bad.line, bad.reason) for bad in found.bad_rows] == [(4, "the sample ended in an error, with no answer")]
    assert filled.rows("select model, sample_index, answer, is_correct from evaluation order by answer") == [
        {"model": "openai/gpt-4", "sample_index": 0, "answer": "33", "is_correct": True},
        {"model": "openai/gpt-4", "sample_index": 0, "answer": "4", "is_correct": True},
        {"model": "openai/gpt-4", "sample_index": 1, "answer": "5", "is_correct": False},
    ]
    (tmp_path / "y.eval").write_text("no log")
    with pytest.raises(DataError, match=r"Cannot read .*y\.eval as a log of inspect_ai") as caught:
        import_answers(filled, tmp_path / "y.eval", problems=(TINA, SAM))
    assert len(str(caught.value).splitlines()) == 1


def test_a_log_of_inspect_ai_says_what_reads_it(
    filled: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)  # as where it is not installed
    (tmp_path / "x.eval").write_bytes(b"")
    with pytest.raises(MissingPackageError, match=r"pip install 'lema-local\[logs\]', or write its samples as rows"):
        import_answers(filled, tmp_path / "x.eval", problems=(TINA, SAM))


def test_samples_of_lm_evaluation_harness_are_of_the_model_that_its_results_name(
    filled: Writer, tmp_path: Path
) -> None:
    at = "2026-11-28T10-00-00.123456"
    file = tmp_path / f"samples_gsm8k_{at}.jsonl"
    file.write_text(json.dumps({"doc": {"question": SAM.question}, "resps": [["The answer is 4."]]}))
    with pytest.raises(DataError, match="model"):
        import_answers(filled, file, problems=(TINA, SAM))
    (tmp_path / "results_2026-11-27T10-00-00.123456.json").write_text('{"model_name": "another"}')
    (tmp_path / f"results_{at}.json").write_text('{"model_name": "org/m", "results": {}}')
    assert import_answers(filled, file, problems=(TINA, SAM)).coverage == ["org/m: 1 of 2 problems of d test"]
    found = import_answers(filled, file, problems=(TINA, SAM), model="mine")
    assert found.coverage == ["mine: 1 of 2 problems of d test"]


def test_samples_that_lm_evaluation_harness_logged_are_read_as_they_are(filled: Writer, tmp_path: Path) -> None:
    logged = {"doc_id": 0, "doc": {"question": SAM.question, "answer": "#### 4"}, "resps": [["The answer is 4."]]}
    rows = [logged | {"filter": name, "filtered_resps": ["[invalid]"]} for name in ("strict-match", "flexible-extract")]
    found = take_in(filled, tmp_path, rows, model="m")
    assert (found.rows, found.new) == (2, 1)
    assert filled.rows("select answer, is_correct from evaluation") == [{"answer": "4", "is_correct": True}]


def test_a_logged_sample_keeps_its_model_and_its_index(filled: Writer, tmp_path: Path) -> None:
    logged = {"doc": {"question": SAM.question}, "resps": [["#### 4"]], "model_name": "mine", "sample_index": 0}
    found = take_in(filled, tmp_path, [logged, logged | {"resps": [["#### 5"]], "sample_index": 1}], model="other")
    assert found.bad_rows == ()
    assert filled.rows("select model, sample_index, answer from evaluation order by sample_index") == [
        {"model": "mine", "sample_index": 0, "answer": "4"},
        {"model": "mine", "sample_index": 1, "answer": "5"},
    ]


@pytest.mark.parametrize(
    "given",
    [{"text": ""}, {"text": " \n"}, {"text": None}, {"doc": {"question": TINA.question}, "resps": [[""]]}],
    ids=["empty", "blank", "null", "logged by lm-evaluation-harness"],
)
def test_an_empty_answer_is_a_wrong_one_and_no_bad_row(filled: Writer, tmp_path: Path, given: dict[str, Any]) -> None:
    rows = [{"question": SAM.question, "text": "#### 4"}, {"question": TINA.question} | given]
    found = take_in(filled, tmp_path, rows, model="m")
    assert (found.new, found.bad_rows, found.coverage) == (2, (), ["m: 2 of 2 problems of d test"])
    assert filled.rows("select answer, is_correct from evaluation order by is_correct desc") == [
        {"answer": "4", "is_correct": True},
        {"answer": None, "is_correct": False},
    ]


def test_a_question_of_two_sets_with_other_answers_is_not_guessed(filled: Writer, tmp_path: Path) -> None:
    problems = (TINA, SAM, SAM_ELSEWHERE, TINA_ELSEWHERE)
    for problem in problems[2:]:
        filled.add(problem)
    rows = [{"question": problem.question, "text": "4", "model": "m"} for problem in (SAM, TINA)]
    found = take_in(filled, tmp_path, rows, problems=problems)
    assert [(bad.line, bad.reason) for bad in found.bad_rows] == [
        (1, "several problems with other answers ask this question: give problem_id")
    ]
    assert filled.rows("select problem_id from evaluation") == [{"problem_id": TINA.id}]
    by_id = {"problem_id": SAM_ELSEWHERE.id, "text": "5", "model": "m"}
    assert take_in(filled, tmp_path, [by_id], problems=problems).new == 1


def test_rows_that_cannot_be_used_are_named_with_their_line(filled: Writer, tmp_path: Path) -> None:
    good = {"question": SAM.question, "text": "4", "model": "m"}
    bad = [
        ({"question": "What is 3 + 3?", "text": "6", "model": "m"}, "its question is not one of d test"),
        ({"text": "6", "model": "m"}, "no question, and no problem_id that is in the database"),
        ({"question": TINA.question, "model": "m"}, "no text in `text` or `completion`"),
        ({"question": TINA.question, "text": 33, "model": "m"}, "no text in `text` or `completion`"),
        ({"question": TINA.question, "text": "33"}, "no `model` or `model_name`; name one for all rows with --model"),
        (good | {"text": "5"}, "another answer of m to the problem of line 1; give each its sample_index"),
        (good | {"sample_index": -1}, "sample_index is no whole number"),
        ([1], "not a JSON object"),
        ("{", "invalid JSON"),
        ({"doc": {"question": SAM.question}, "resps": [["1", "2"]]}, "`resps` is not one text"),
    ]
    found = take_in(filled, tmp_path, [good, *(row for row, _ in bad)])
    assert found.new == 1
    assert [row.line for row in found.bad_rows] == list(range(2, len(bad) + 2))
    for row, (_, reason) in zip(found.bad_rows, bad, strict=True):
        assert row.reason.startswith(reason), row


def test_a_file_of_another_data_set_is_said_to_be_one(filled: Writer, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"No row of .* asks a question of d test: it is of another data set. Name its own"
    ):
        take_in(filled, tmp_path, [{"question": "What is 3 + 3?", "text": "6", "model": "m"}] * 2)
    with pytest.raises(DataError, match=r"is empty\. Rows need the question"):
        take_in(filled, tmp_path, [])
    with pytest.raises(DataError, match=r"Line 1: no `model`"):
        take_in(filled, tmp_path, [{"question": SAM.question, "text": "6"}])


def test_lema_eval_import_prints_the_table_of_the_models_that_the_file_names(
    db: Path, server: ScriptedServer, write_profile: Callable[..., Path]
) -> None:
    problems = [json.loads(line) for line in PROBLEMS.read_text().splitlines()]
    rows = [
        {"question": p["question"], "text": f"The answer is {p['answer'] if model == 'good' else 0}.", "model": model}
        for p in problems
        for model in ("bad", "good")
    ]
    file = db.parent / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("eval", "--db", db, "--profile", write_profile(), "--import", file)
    done = lema(*arguments, cwd=db.parent)
    assert (done.returncode, server.calls) == (0, 0), done.stderr
    assert "4 answers from" in done.stdout
    assert "good: 2 of 2 problems of tiny test" in done.stdout
    assert "good - bad" in done.stdout
    assert f"{file}:" in done.stderr  # the train problems of the file are not test problems
    bad, good = json.loads(lema(*arguments, "--json", cwd=db.parent).stdout)
    assert [(row["model"], row["correct"], row["n"]) for row in (bad, good)] == [("bad", 0, 2), ("good", 2, 2)]
    assert Store(db).rows("select count(*) as n from evaluation") == [{"n": 4}]


@pytest.mark.parametrize("first", [0, 1])
def test_lema_eval_import_of_several_answers_a_problem_says_pass_at_k(
    db: Path, write_profile: Callable[..., Path], first: int
) -> None:
    file = db.parent / "answers.jsonl"
    problems = [json.loads(line) for line in PROBLEMS.read_text().splitlines()]
    rows = [
        {"question": p["question"], "text": f"The answer is {(0, p['answer'])[k]}.", "model": "m"}
        | {"sample_index": first + k}
        for p in problems
        for k in (0, 1)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("eval", "--db", db, "--profile", write_profile(), "--import", file)
    done = lema(*arguments, cwd=db.parent)
    assert done.returncode == 0, done.stderr
    assert re.search(r"m +0 +0/2 +0\.0%", done.stdout)
    said = " ".join(done.stdout.split())
    assert re.search(r"m, 2 samples a problem: pass@1 50\.0% \(.*\), pass@2 100\.0%", said)
    (row,) = json.loads(lema(*arguments, "--json", cwd=db.parent).stdout)
    assert (row["correct"], row["n"], list(row["samples"]["pass_at"])) == (0, 2, ["1", "2"])
    assert Store(db).rows("select n, correct from pass_at_1") == [{"n": 2, "correct": 0}]


def test_lema_eval_names_who_has_not_answered_every_problem(
    db: Path, server: ScriptedServer, write_profile: Callable[..., Path]
) -> None:
    rows = [json.loads(line) | {"text": "0", "model": "whole"} for line in PROBLEMS.read_text().splitlines()]
    file = db.parent / "answers.jsonl"
    for _ in range(2):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = lema("eval", "--db", db, "--profile", write_profile(), "--import", file, cwd=db.parent)
        assert done.returncode == 0, done.stderr
        (first, *_) = Store(db).rows("select problem_id::varchar as problem_id from evaluation")
        rows.append(first | {"text": "0", "model": "part"})
    assert "\nNot yet whole: part (1 of 2).\n" in done.stdout
