"""Data sets by name and by mapping: MATH's folder, options of a choice, ASDiv's numbers, checksums, the Hub, splits."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commands import PROBLEMS, lema

from lema_local.errors import DataError, MissingPackageError, ProfileError
from lema_local.problems import hub
from lema_local.problems.datasets import Fields, checksum, compare_with_published, presets
from lema_local.problems.files import find_files
from lema_local.problems.reading import Loaded, read_problems
from lema_local.records.store import Writer
from lema_local.records.types import AnswerKind, Problem
from lema_local.settings.profiles import Overrides, load_profile
from lema_local.settings.tables import DataProfile
from lema_local.stages.build import build
from lema_local.stages.problems import load_problems, load_split
from lema_local.stages.run import Run

Rows = list[dict[str, Any]]


def quiet(message: str) -> None:
    """No notices."""


def write_jsonl(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, dataset: str, split: str = "test", **more: Any) -> Loaded:
    return read_problems(path, dataset=dataset, split=split, **more)


def math_row(k: int, level: Any = "Level 2", subject: str = "Number Theory") -> dict[str, Any]:
    solution = f"Twice ${k}$ is \\boxed{{{2 * k}}}."
    return {"problem": f"What is twice ${k}$?", "level": level, "type": subject, "solution": solution}


@pytest.fixture
def math_folder(tmp_path: Path) -> Path:
    """The original layout, with rows of our own: SPLIT/SUBJECT/NUMBER.json, each printed over several lines."""
    for split, numbers in (("train", (2, 10, 100)), ("test", (7, 8))):
        for k in numbers:
            file = tmp_path / "MATH" / split / ("number_theory" if k < 50 else "algebra") / f"{k}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(math_row(k), indent=4))
    return tmp_path / "MATH"


def test_maths_folder_is_read_by_split_in_the_order_of_its_numbers(math_folder: Path) -> None:
    train = read(math_folder, "math", "train")
    assert [problem.answer for problem in train.problems] == ["200", "4", "20"]
    assert {(p.kind, p.level, p.subject) for p in train.problems} == {("latex", "Level 2", "Number Theory")}
    assert all(problem.solution and "boxed" in problem.solution for problem in train.problems)
    assert len(read(math_folder, "math", "test").problems) == 2


def test_a_broken_file_of_maths_folder_is_named_and_the_rest_load(math_folder: Path) -> None:
    (math_folder / "test" / "number_theory" / "9.json").write_text("{\n")
    loaded = read(math_folder, "math")
    assert len(loaded.problems) == 2
    ((file, line, reason),) = [(bad.file, bad.line, bad.reason) for bad in loaded.bad_rows]
    assert (file.endswith("9.json"), line, "invalid JSON" in reason) == (True, 1, True)


def test_checksum_does_not_hang_on_the_form_order_or_white_space(math_folder: Path, tmp_path: Path) -> None:
    rows = [math_row(k) for k in (100, 2, 10)]
    rows[0]["problem"] = rows[0]["problem"].replace(" ", "\n ")
    jsonl = write_jsonl(tmp_path / "own" / "train.jsonl", [*rows, rows[1]])
    parquet = tmp_path / "it.parquet"
    with duckdb.connect(":memory:") as connection:
        connection.read_json(str(jsonl)).write_parquet(str(parquet))
    sums = {read(path, "math", "train").checksum for path in (math_folder, jsonl, jsonl.parent, parquet)}
    assert len(sums) == 1
    rows[2] = math_row(11)
    assert read(write_jsonl(tmp_path / "other.jsonl", rows), "math", "train").checksum not in sums


def test_a_split_is_compared_with_what_was_published(math_folder: Path) -> None:
    assert read(math_folder, "math").published == "differs from the published split: 2 usable rows, published 5000"
    assert read(math_folder, "math", limit=1).published is None
    assert read(math_folder, "mine").published is None
    math = presets()["math"]
    sum_ = math.checksums["test"]
    assert compare_with_published(math, "test", rows=5000, content=sum_).startswith("is the published split")
    assert "other text (0, not" in compare_with_published(math, "test", rows=5000, content="0")
    assert "no checksum is known" in compare_with_published(math, "train", rows=7500, content="0")


def test_checksum_tells_a_moved_answer() -> None:
    assert checksum([("a", "1"), ("b", "2")]) == checksum([("b", " 2"), ("a\n", "1"), ("a", "1")])
    assert checksum([("a", "1"), ("b", "2")]) != checksum([("a", "2"), ("b", "1")])


@pytest.mark.parametrize(
    ("level", "kept"),
    [("Level 5", "Level 5"), (3, "Level 3"), ("level 4", "Level 4"), ("Level ?", None), (None, None), ("hard", "hard")],
)
def test_levels_are_written_as_math_writes_them(tmp_path: Path, level: Any, kept: str | None) -> None:
    file = write_jsonl(tmp_path / "test.jsonl", [math_row(1, level)])
    assert read(file, "math").problems[0].level == kept


@pytest.mark.parametrize(
    ("below", "says"),
    [("test", "it is itself a split of MATH: give the folder above it"), ("test/algebra", "No test split in")],
)
def test_a_wrong_folder_of_math_says_which_is_right(math_folder: Path, below: str, says: str) -> None:
    (math_folder / below).mkdir(exist_ok=True)
    with pytest.raises(DataError, match=says):
        read(math_folder / below, "math")


OPTIONS = {"label": ["A", "B", "C"], "text": ["a pan", "a lake", "the moon"]}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"question": "Where is an egg fried?", "choices": OPTIONS, "answerKey": "A"}, id="as-on-the-hub"),
        pytest.param(
            {
                "question": {
                    "stem": "Where is an egg fried?",
                    "choices": [
                        dict(zip(("label", "text"), pair, strict=True)) for pair in zip(*OPTIONS.values(), strict=True)
                    ],
                },
                "answerKey": "A",
            },
            id="as-its-authors-publish-it",
        ),
    ],
)
def test_options_stand_in_the_question_and_the_answer_is_a_letter(tmp_path: Path, row: dict[str, Any]) -> None:
    (problem,) = read(write_jsonl(tmp_path / "dev_rand_split.jsonl", [row]).parent, "csqa").problems
    assert problem.question == "Where is an egg fried?\n(A) a pan\n(B) a lake\n(C) the moon"
    assert (problem.answer, problem.kind, problem.solution) == ("A", "choice", None)


def test_the_dev_split_of_csqa_is_the_test_split_for_its_test_has_no_labels(tmp_path: Path) -> None:
    unlabelled = {"question": "Where is a boat?", "choices": OPTIONS, "answerKey": ""}
    write_jsonl(tmp_path / "test.jsonl", [unlabelled])
    with pytest.raises(DataError, match="no final answer"):
        read(tmp_path, "csqa")
    write_jsonl(tmp_path / "dev.jsonl", [unlabelled | {"answerKey": "B"}])
    assert read(tmp_path, "csqa").problems[0].answer == "B"


@pytest.mark.parametrize(
    ("choices", "answer", "outcome"),
    [
        pytest.param(["red", "blue"], "blue", "B", id="answer-by-its-text"),
        pytest.param({"label": ["1", "2"], "text": ["red", "blue"]}, "2", "B", id="numbered-options"),
        pytest.param(["red", "blue"], "green", "none of its options", id="no-such-option"),
        pytest.param(["red", "red"], "red", "or several", id="the-same-option-twice"),
        pytest.param(["red"], "red", "1 options", id="one-option"),
        pytest.param(list("abcdef"), "a", "6 options", id="too-many-options"),
        pytest.param("red or blue", "red", "options are str", id="options-as-text"),
        pytest.param({"label": ["A"], "text": ["x", "y"]}, "A", "other labels than texts", id="ragged-options"),
        pytest.param([["red"], ["blue"]], "A", "option is list", id="nested-options"),
    ],
)
def test_options_of_any_data_set_by_mapping(tmp_path: Path, choices: Any, answer: str, outcome: str) -> None:
    good = {"q": "Which first?", "options": ["this", "that"], "a": "A"}
    file = write_jsonl(tmp_path / "mine.jsonl", [{"q": "Which?", "options": choices, "a": answer}, good])
    loaded = read(file, "mine", fields=Fields(question="q", answer="a", choices="options"))
    said = [bad.reason for bad in loaded.bad_rows] or [loaded.problems[0].answer]
    assert outcome in said[0]
    assert {problem.kind for problem in loaded.problems} == {"choice"}


FOUR = ["1", "2", "3", "4"]


def read_one(tmp_path: Path, row: dict[str, Any], dataset: str = "mine", **more: Any) -> Problem | str:
    """The problem of a row, or why there is none."""
    good = {"question": "Which first?", "choices": ["this", "that"], "answer": "A", "answerKey": "A"}
    loaded = read(write_jsonl(tmp_path / "test.jsonl", [row, good]), dataset, **more)
    return loaded.bad_rows[0].reason if loaded.bad_rows else loaded.problems[0]


@pytest.mark.parametrize("name", ["choices", "options"])
@pytest.mark.parametrize("asked", ["question", "problem"])
@pytest.mark.parametrize("answer", ["B", "2"], ids=["letter", "text"])
@pytest.mark.parametrize("kind", [None, "choice"])
def test_rows_with_options_need_no_mapping(
    tmp_path: Path, name: str, asked: str, answer: str, kind: AnswerKind | None
) -> None:
    row = {asked: "1+1?", name: FOUR, "answer": answer, "level": 2, "subject": "sums", "solution": "Two."}
    question = "1+1?\n(A) 1\n(B) 2\n(C) 3\n(D) 4"
    expected = Problem("mine", "test", question, "B", "choice", "Two.", "Level 2", "sums")
    assert read_one(tmp_path, row, kind=kind) == expected


def test_options_of_a_problem_with_a_body_stand_after_both(tmp_path: Path) -> None:
    row = {"body": "Lena has a kite.", "question": "How many?", "options": FOUR, "answer": "A"}
    problem = read_one(tmp_path, row)
    assert isinstance(problem, Problem)
    assert problem.question == "Lena has a kite. How many?\n(A) 1\n(B) 2\n(C) 3\n(D) 4"


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        pytest.param({"choices": FOUR}, "number", id="a-number-is-wanted"),
        pytest.param({"choices": None, "options": []}, None, id="no-options"),
        pytest.param({"choices": {"label": None, "text": None}}, None, id="struct-of-nulls"),
        pytest.param({"options": "1, 2, 3 or 4"}, None, id="text"),
    ],
)
def test_a_row_without_options_is_no_choice_nor_one_of_which_a_number_is_wanted(
    tmp_path: Path, row: dict[str, Any], kind: AnswerKind | None
) -> None:
    file = write_jsonl(tmp_path / "test.jsonl", [row | {"question": "1+1?", "answer": 2}])
    assert read(file, "mine", kind=kind).problems == (Problem("mine", "test", "1+1?", "2"),)


@pytest.mark.parametrize("dataset", ["mine", "csqa"])
def test_a_place_among_options_is_not_taken_for_a_number_or_a_text(tmp_path: Path, dataset: str) -> None:
    for answer in (1, 1.0):
        reason = read_one(tmp_path, {"question": "1+1?", "choices": FOUR, "answer": answer}, dataset)
        assert 'its answer 1 is a number and no label of an option: give answer_form = "index"' in str(reason)
        mapped = Fields(question="question", answer="answer", choices="choices")
        assert read_one(tmp_path, {"question": "1+1?", "choices": FOUR, "answer": answer}, fields=mapped) == reason


@pytest.mark.parametrize(
    ("choices", "answer"),
    [
        pytest.param({"label": [1, 2, 3], "text": FOUR[:0:-1]}, 2, id="number-that-is-a-label"),
        pytest.param({"label": ["1", "2"], "text": ["two", "one"]}, 2, id="number-that-is-a-label-as-text"),
        pytest.param(FOUR, "2", id="text-of-digits"),
        pytest.param(["0.5", "1.5"], 1.5, id="number-that-is-no-place"),
    ],
)
def test_a_number_that_can_be_no_place_names_its_option(tmp_path: Path, choices: Any, answer: Any) -> None:
    problem = read_one(tmp_path, {"question": "1+1?", "choices": choices, "answer": answer})
    assert isinstance(problem, Problem)
    assert problem.answer == "B"


INDEX = Fields(question="question", answer="answer", choices="choices", answer_form="index")


@pytest.mark.parametrize("place", [1, 1.0, "1"], ids=repr)
@pytest.mark.parametrize("choices", [FOUR, {"label": list("1234"), "text": FOUR}], ids=["texts", "struct"])
def test_an_index_counts_options_from_0(tmp_path: Path, place: Any, choices: Any) -> None:
    row = {"question": "1+1?", "choices": choices, "answer": place}
    good = {"question": "1+0?", "choices": FOUR, "answer": 0}
    (problem, first) = read(write_jsonl(tmp_path / "test.jsonl", [row, good]), "mine", fields=INDEX).problems
    assert problem == Problem("mine", "test", "1+1?\n(A) 1\n(B) 2\n(C) 3\n(D) 4", "B", "choice")
    assert first.answer == "A"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (4, "its answer '4' is no place of its 4 options, 0 to 3"),
        (-1, "its answer '-1' is no place"),
        (1.5, "its answer '1.5' is no place"),
        ("B", "its answer 'B' is no place"),
        (True, "answer is bool"),
        (None, "no final answer"),
    ],
)
def test_an_index_that_is_no_place_of_an_option_is_refused(tmp_path: Path, answer: Any, reason: str) -> None:
    row = {"question": "1+1?", "choices": FOUR, "answer": answer}
    file = write_jsonl(tmp_path / "test.jsonl", [row, row | {"question": "1+0?", "answer": 0}])
    (bad,) = read(file, "mine", fields=INDEX).bad_rows
    assert bad.reason.startswith(reason)


@pytest.mark.parametrize("kind", [None, "number", "choice"])
def test_an_index_without_options_says_what_to_give(tmp_path: Path, kind: AnswerKind | None) -> None:
    file = write_jsonl(tmp_path / "test.jsonl", [{"question": "1+1?", "answer": 1}])
    with pytest.raises(DataError, match=r'answer_form = "index" is for options: give choices in \[data.fields\]'):
        read(file, "mine", fields=Fields(question="question", answer="answer", answer_form="index"), kind=kind)


def test_a_mapping_of_options_gives_choices_whatever_the_name_of_the_set(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "test.jsonl", [{"question": "1+1?", "choices": FOUR, "answer": 1}])
    (problem,) = read(file, "gsm8k", fields=INDEX).problems
    assert (problem.answer, problem.kind) == ("B", "choice")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param({}, "no options (it has no field 'choices'; its fields: question, answer)", id="missing"),
        pytest.param(
            {"choises": FOUR},
            "no options (it has no field 'choices' (did you mean 'choises'?); its fields: question, answer, choises)",
            id="misspelt",
        ),
        pytest.param({"choices": None}, "no options", id="null"),
        pytest.param({"choices": float("nan")}, "no options", id="nan"),
        pytest.param({"choices": []}, "no options", id="empty"),
    ],
)
def test_a_choice_without_its_mapped_options_is_refused(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    fields = Fields(question="question", answer="answer", choices="choices")
    assert read_one(tmp_path, {"question": "1+1?", "answer": "B"} | row, fields=fields) == reason


def test_a_row_of_csqa_without_options_is_refused(tmp_path: Path) -> None:
    for dataset in ("csqa", "mine"):
        reason = read_one(tmp_path, {"question": "Where is a boat?", "choices": None, "answerKey": "A"}, dataset)
        assert reason == "no options"


@pytest.mark.parametrize("kind", [None, "choice"])
def test_mapped_options_that_stand_in_another_field_are_found_past_a_null(
    tmp_path: Path, kind: AnswerKind | None
) -> None:
    fields = Fields(question="question", answer="answer", choices="choices | options")
    nulls: tuple[Any, ...] = (None, [], {"label": None, "text": None})
    for nothing in nulls:
        row = {"question": "1+1?", "choices": nothing, "options": FOUR, "answer": "B"}
        assert isinstance(read_one(tmp_path, row, fields=fields, kind=kind), Problem)


@pytest.mark.parametrize("answer", ["B", "(B)", "b", "B.", "(b)."])
def test_a_choice_whose_options_stand_in_the_question_is_a_letter(tmp_path: Path, answer: str) -> None:
    row = {"question": "1+1? (A) 1 (B) 2", "answer": answer}
    expected = Problem("mine", "test", "1+1? (A) 1 (B) 2", "B", "choice")
    assert read_one(tmp_path, row, kind="choice") == expected


@pytest.mark.parametrize("answer", ["F", "two", "2", 1, "AB", "B or C"])
def test_a_choice_that_is_no_letter_and_has_no_options_is_refused(tmp_path: Path, answer: Any) -> None:
    reason = read_one(tmp_path, {"question": "1+1? (A) 1 (B) 2", "answer": answer}, kind="choice")
    assert reason == f"its answer {str(answer)!r} is no letter A to E, and it has no options"


@pytest.mark.parametrize("dataset", ["mine", "gsm8k", "csqa"])
def test_kind_choice_takes_the_options_of_a_row_of_any_set(tmp_path: Path, dataset: str) -> None:
    problem = read_one(tmp_path, {"question": "1+1?", "options": FOUR, "answer": "B"}, dataset, kind="choice")
    assert isinstance(problem, Problem)
    assert problem.question.endswith("(D) 4")


def asdiv_row(answer: str) -> dict[str, str]:
    return {"body": f"Mo has {answer}.", "question": "How many?", "answer": answer, "solution_type": "Sum"}


def test_asdiv_keeps_the_decimal_answers_that_the_paper_counts(tmp_path: Path) -> None:
    answers = [
        "9 (apples)",
        "1,200",
        "7.5 (cups of tea)",
        "5/2",
        "-(1/3)",
        "5:6",
        "3:30 p.m.",
        "Yes",
        "6th",
        "9 (a) (b)",
    ]
    file = write_jsonl(tmp_path / "test.jsonl", [asdiv_row(answer) for answer in answers])
    loaded = read(file, "asdiv")
    assert [problem.answer for problem in loaded.problems] == ["9", "1200", "7.5"]
    reasons = [bad.reason for bad in loaded.bad_rows]
    assert [("fraction" in reason) for reason in reasons] == [True, True, False, False, False, False, False]
    assert {"5/2", "-1/3"} <= {problem.answer for problem in read(file, "mine").problems}


def test_a_question_that_comes_again_counts_as_published_and_is_asked_once(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "test.jsonl", [asdiv_row("1"), asdiv_row("1"), asdiv_row("2")])
    loaded = read(file, "asdiv")
    assert (len(loaded.problems), loaded.rows) == (2, 3)


def test_a_mapping_joins_looks_inside_and_takes_what_is_there(tmp_path: Path) -> None:
    row = {"ctx": "Two cats", "q": {"text": "How many legs?"}, "gold": 8, "why": "2*4=8", "difficulty": 1, "a.b": "zoo"}
    fields = Fields(
        question="ctx + q.text", answer="answer | gold", solution="why", level="difficulty", subject="topic | a.b"
    )
    (problem,) = read(write_jsonl(tmp_path / "x.jsonl", [row]), "mine", fields=fields).problems
    assert problem == Problem("mine", "test", "Two cats. How many legs?", "8", "number", "2*4=8", "Level 1", "zoo")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            Fields(question="Boddy + Q", answer="A"),
            "it has no field 'Boddy' (did you mean 'Body'?); its fields: Body, Q, A",
        ),
        (Fields(question="Body", answer="gold"), "no final answer (it has no field 'gold'"),
        (Fields(question="Body", answer="A", solution="Why"), 'has the field of solution = "Why": mend [data.fields]'),
    ],
)
def test_a_mapping_to_a_missing_field_is_one_line_that_names_it(tmp_path: Path, fields: Fields, says: str) -> None:
    file = write_jsonl(tmp_path / "x.jsonl", [{"Body": "One", "Q": "Two?", "A": "3"}])
    with pytest.raises(DataError) as caught:
        read(file, "mine", fields=fields)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_profile_maps_the_fields_of_its_own_data(tmp_path: Path) -> None:
    text = (
        f'[data]\ndataset = "mine"\ntrain_path = "{tmp_path}"\n[data.fields]\nquestion = "q"\nanswer = "a"\n'
        '[endpoints.reasoner]\nmodel = "m"\nbase_url = "http://x/v1"\n[endpoints.corrector]\nmodel = "m"\n'
        'base_url = "http://x/v1"\n[endpoints.student]\nmodel = "m"\nbase_url = "http://x/v1"\n'
    )
    profile = tmp_path / "p.toml"
    profile.write_text('description = "d"\n' + text)
    write_jsonl(tmp_path / "train.jsonl", [{"q": "What is 1 + 1?", "a": 2.0}])
    data = load_profile(str(profile)).data
    assert load_split(data, "train", quiet).problems[0].answer == "2"
    assert load_profile(str(profile), Overrides(dataset="gsm8k")).data.fields is None
    profile.write_text(profile.read_text().replace("answer =", "anwser ="))
    with pytest.raises(ProfileError, match="did you mean 'answer'"):
        load_profile(str(profile))


def test_every_preset_says_what_a_user_must_know() -> None:
    assert set(presets()) == {"gsm8k", "math", "svamp", "asdiv", "csqa", "gsm-symbolic"}
    for name, preset in presets().items():
        assert preset.licence
        assert preset.note
        assert set(preset.checksums) <= set(preset.counts), name
        assert not preset.files or set(preset.files) == set(preset.counts), name
    assert presets()["math"].hub is None


def test_math_without_a_path_says_why_it_cannot_be_fetched() -> None:
    with pytest.raises(DataError, match=r"--data-path.*taken down.*train/SUBJECT") as caught:
        load_split(DataProfile(dataset="math"), "test", quiet)
    assert "\n" not in str(caught.value)


def test_a_set_for_evaluation_gives_its_test_split_and_no_train_split(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "SVAMP.json", [{"Body": "Bo has 2 nuts", "Question": "How many?", "Answer": 2.0}])
    for path in (file, tmp_path):
        data = DataProfile(dataset="svamp", train_path=str(path))
        assert load_split(data, "test", quiet).problems[0].question == "Bo has 2 nuts. How many?"
        with pytest.raises(DataError, match="svamp is for evaluation and has no train split: train on gsm8k"):
            load_problems(data, quiet)


def test_train_problems_that_overlap_are_counted_and_left_out_unless_the_profile_says_no(tmp_path: Path) -> None:
    story = "Every morning Ida walks to the old mill by the river and buys {} loaves of warm bread, then gives {} away."
    train = [{"question": story.format(5, 2), "answer": "3"}, {"question": "What is 4 + 4?", "answer": "8"}]
    train.append({"question": "WHAT is 2 + 2", "answer": "4"})
    write_jsonl(tmp_path / "train.jsonl", train)
    tests = [
        {"question": "On Mondays " + story.format(5, 1), "answer": "4"},
        {"question": "What is 2 + 2?", "answer": "4"},
    ]
    write_jsonl(tmp_path / "test.jsonl", tests)
    said: list[str] = []
    loaded = load_problems(DataProfile(dataset="mine", train_path=str(tmp_path)), said.append)
    assert [problem.question for problem in loaded.train] == ["What is 4 + 4?"]
    assert sum(loaded.left_out.values()) == 2
    assert "2 train problems left out: they overlap the test split" in said[0]
    kept = load_problems(DataProfile(dataset="mine", train_path=str(tmp_path), decontaminate=False), said.append)
    assert (len(kept.train), dict(kept.left_out)) == (3, {})


def test_files_of_a_sharded_split_are_taken_in_order(tmp_path: Path) -> None:
    names = [f"train-0000{k}-of-00003.parquet" for k in (2, 0, 1)]
    for name in names:
        (tmp_path / name).touch()
    assert [file.name for file in find_files(tmp_path, "train")] == sorted(names)


Hub = Callable[[dict[str, bytes]], dict[str, str]]


@pytest.fixture
def serve_hub(tmp_path: Path) -> Iterator[Hub]:
    """A Hub on 127.0.0.1 that has these files (path after /datasets/ -> bytes); gives the environment that uses it."""
    pytest.importorskip("huggingface_hub")
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            body = files.get(self.path.removeprefix("/datasets/"))
            self.send_response(404 if body is None else 200)
            if body is not None:
                self.send_header("ETag", f'"{abs(hash(body)):x}"')
                self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(files.get(self.path.removeprefix("/datasets/"), b""))

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is the base class's)
            """Silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()

    def serve(more: dict[str, bytes]) -> dict[str, str]:
        files.update(more)
        url = f"http://127.0.0.1:{http.server_address[1]}"
        return {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}

    yield serve
    http.shutdown()
    http.server_close()
    thread.join()


def test_a_preset_is_fetched_from_the_hub_file_by_file(serve_hub: Hub, tmp_path: Path) -> None:
    files = {}
    for k, name in enumerate(presets()["svamp"].files["test"]):
        parquet = tmp_path / "part.parquet"
        with duckdb.connect(":memory:") as connection:
            query = f"select 'Bo has {k} nuts' as Body, 'How many?' as Question, '{k}' as Answer, 'Sum' as \"Type\""
            connection.sql(query).write_parquet(str(parquet))
        files[f"ChilleD/SVAMP/resolve/main/{name}"] = parquet.read_bytes()
    done = lema("problems", "--profile", "a100", "--dataset", "svamp", cwd=tmp_path, **serve_hub(files))
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "svamp test: 2 problems (number), 0 with a solution")
    assert "differs from the published split: 2 usable rows, published 1000" in done.stdout


def test_a_file_that_the_hub_has_not_is_one_line_with_a_way_out(serve_hub: Hub, tmp_path: Path) -> None:
    done = lema("problems", "--dataset", "gsm8k", cwd=tmp_path, **serve_hub({}))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Cannot fetch main/train-00000-of-00001.parquet of openai/gsm8k" in done.stderr
    assert "--data-path" in done.stderr


def test_hub_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'lema-local\[hub\]'.*--data-path"):
        hub.fetch("openai/gsm8k", ("main/test.parquet",))


def test_a_data_set_that_nobody_knows_points_to_a_file() -> None:
    with pytest.raises(DataError, match=r"known: gsm8k.*--data-path"):
        load_split(DataProfile(dataset="no-such-set"), "test", quiet)
    with pytest.raises(DataError, match=r'\[data.files\] test = \["\.\.\."\]'):
        load_split(DataProfile(dataset="mine", hub="me/mine"), "test", quiet)


def test_the_manifest_of_a_training_set_counts_what_was_left_out(
    store: Writer, write_profile: Callable[..., Path], tmp_path: Path
) -> None:
    solved = {"answer": "2 * 2 = 4\n#### 4"}
    rows = [solved | {"question": question} for question in ("What is 2 + 2?", "Twice two makes how many?")]
    write_jsonl(tmp_path / "train.jsonl", rows)
    write_jsonl(tmp_path / "test.jsonl", [rows[0] | {"question": "what IS 2 + 2"}])
    profile = write_profile()
    text = profile.read_text().replace(str(PROBLEMS), str(tmp_path)).replace("test_problems = 2\n", "")
    profile.write_text(text)
    (built,) = build(Run(load_profile(str(profile)), store), ("cot",))
    assert built.training_set.cot_examples == 1
    assert json.loads(built.training_set.manifest)["left_out"] == {
        "train problem that overlaps the test split: exact": 1
    }
