"""What becomes of grades: counts by corrector, agreement, a judge beside people, training data that they filter."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bulk_records import Counts, write_files
from bulk_records import fill as fill_bulk
from commands import lema
from review_records import an_id, fill, review
from scripted_server import ScriptedServer, chat

from lema_local.errors import DataError
from lema_local.records.store import Store, Writer
from lema_local.records.types import Review
from lema_local.review.summary import summarise
from lema_local.settings.profiles import load_profile
from lema_local.stages.build import build
from lema_local.stages.run import Run

Serve = Callable[[str], Any]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    db = tmp_path_factory.mktemp("filled") / "lema.duckdb"
    fill(db)
    return db


@pytest.fixture
def reader(filled: Path, db: Path) -> Store:
    return Store(shutil.copyfile(filled, db))


def give(store: Store, reviewer: str, grades: dict[int, Any], *, first: int = 0) -> None:
    """Grades of the corrections of these numbers."""
    for number, (correction, grade) in enumerate(grades.items(), first):
        store.add_review(review(number, correction, reviewer, grade))


# numbers of review_records: llama x gpt-4 has 0 to 5, llama x wizard 6 to 11
def test_counts_are_by_corrector_and_reviewer_as_excellent_good_poor(reader: Store) -> None:
    give(reader, "ada", dict.fromkeys(range(4), "excellent") | {4: "good", 5: "poor", 6: "poor"})
    with Writer(reader.path):
        pass
    found = {(t.corrector, t.reviewer): t for t in summarise(reader).tallies}
    assert list(found) == [("gpt-4", "ada"), ("gpt-4", "people"), ("wizard", "ada"), ("wizard", "people")]
    assert found["gpt-4", "ada"].counts == {"excellent": 4, "good": 1, "poor": 1}
    share, low, high = found["gpt-4", "ada"].shares["excellent"]
    assert (share, round(low, 3), round(high, 3)) == (4 / 6, 0.3, 0.903)  # Wilson, 4 of 6


def test_the_papers_study_is_counted_as_the_paper_prints_it(tmp_path: Path) -> None:
    fill(tmp_path / "a.duckdb", each=13)
    store = Store(tmp_path / "a.duckdb")
    grades = ["excellent"] * 35 + ["good"] * 11 + ["poor"] * 4
    numbers = [k for k in range(104) if k // 26 in (0, 2)]  # gpt-4's
    give(store, "ada", dict(zip(numbers, grades, strict=False)))
    (row, _) = summarise(store).as_dict()["correctors"]
    assert (row["corrector"], row["graded"], row["excellent"], row["good"], row["poor"]) == ("gpt-4", 50, 35, 11, 4)


def test_grades_that_wait_in_the_journal_are_counted(reader: Store) -> None:
    with Writer(reader.path):  # a run that is in the middle of something
        give(reader, "ada", {0: "good"})
        assert len(summarise(Store(reader.path)).tallies) == 2


def test_reviewers_are_compared_on_what_both_graded(reader: Store) -> None:
    give(reader, "ada", {0: "excellent", 1: "good", 2: "poor", 3: "poor"})
    give(reader, "bo", {0: "excellent", 1: "poor", 2: "poor"}, first=10)
    (pair,) = summarise(reader).pairs
    a = pair.agreement
    assert (pair.one, pair.other, a.n, a.agreed) == ("ada", "bo", 3, 2)
    assert a.matrix == ((1, 0, 0), (0, 0, 1), (0, 0, 1))
    assert a.kappa == pytest.approx((2 / 3 - 1 / 3) / (1 - 1 / 3))


def test_the_interval_of_kappa_is_over_problems(reader: Store) -> None:
    give(reader, "ada", {0: "excellent", 1: "good", 2: "poor", 3: "poor"})
    give(reader, "bo", {0: "excellent", 1: "poor", 2: "poor", 3: "good"}, first=10)
    (apart,) = summarise(reader).pairs
    assert apart.agreement.low != apart.agreement.high
    with reader.connect(write=True) as connection:
        connection.execute("update correction set problem_id = (select min(problem_id::varchar)::uuid from correction)")
    (together,) = summarise(reader).pairs
    assert together.agreement.low == together.agreement.high == pytest.approx(apart.agreement.kappa)


def test_a_judge_is_compared_with_the_middle_of_many_people(reader: Store) -> None:
    for name, grade in (("ada", "excellent"), ("bo", "good"), ("cy", "good")):
        give(reader, name, {0: grade, 1: "poor"}, first=10 * ord(name[0]))
    give(reader, "model:m", {0: "good", 1: "good"}, first=3_000)
    pairs = {(pair.one, pair.other): pair.agreement.agreed for pair in summarise(reader).pairs}
    assert pairs == {("ada", "bo"): 1, ("ada", "cy"): 1, ("bo", "cy"): 2, ("people", "model:m"): 1}


def test_the_summary_prints_counts_and_kappa_and_no_terminal_commands(reader: Store, tmp_path: Path) -> None:
    give(reader, "ada", {0: "excellent", 1: "good", 6: "poor"})
    give(reader, "bo", {0: "excellent", 1: "poor", 6: "poor"}, first=10)
    done = lema("review", "summary", "--db", reader.path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 / 1 / 0" in done.stdout
    assert "Cohen's kappa" in done.stdout
    rows = json.loads(lema("review", "summary", "--db", reader.path, "--json", cwd=tmp_path).stdout)
    assert rows["agreement"][0]["matrix"] == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_a_database_that_an_older_lema_wrote_last_is_summed_up_too(reader: Store, tmp_path: Path) -> None:
    give(reader, "ada", {0: "excellent"})
    with Writer(reader.path):
        pass
    with reader.connect(write=True) as connection:
        connection.execute("drop macro effective_n")
    done = lema("review", "summary", "--db", reader.path, cwd=tmp_path)
    assert (done.returncode, "1 / 0 / 0" in done.stdout) == (0, True), done.stderr


def test_a_database_that_nobody_graded_says_so(reader: Store, tmp_path: Path) -> None:
    done = lema("review", "summary", "--db", reader.path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Nobody has graded" in done.stderr


def test_options_before_a_subcommand_are_not_lost_in_silence(reader: Store, tmp_path: Path) -> None:
    done = lema("review", "--db", reader.path, "summary", cwd=tmp_path)
    assert done.returncode == 1
    assert "Options go after summary" in done.stderr


def test_a_port_that_is_taken_is_said_in_one_line(reader: Store, tmp_path: Path, server: ScriptedServer) -> None:
    port = server.base_url.rpartition(":")[2].removesuffix("/v1")
    done = lema("review", "--db", reader.path, "--port", port, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: Port {port} is taken, by another `lema review` perhaps. Stop it, or give --port.\n"


# ---- the judge


def judge(db: Path, server: ScriptedServer, *more: str) -> Any:
    options = ("--judge-url", server.base_url, "--judge-model", "critic", *more)
    return lema("review", "judge", "--db", db, *options, cwd=db.parent)


def test_a_judge_grades_the_sample_that_people_get_and_is_paid_once(reader: Store, server: ScriptedServer) -> None:
    give(reader, "ada", {0: "good", 1: "poor"})
    server.then = lambda body: chat("Reason: minor faults.\nGrade: good")
    done = judge(reader.path, server, "--sample", "5")
    assert done.returncode == 0, done.stderr
    assert "model:critic: 10 of 10 corrections graded, 10 replies new" in done.stdout
    assert server.calls == 10
    assert "0 replies new" in judge(reader.path, server, "--sample", "5").stdout
    assert server.calls == 10
    rows = reader.rows(
        "select distinct reviewer, grade, note, purpose from review join completion on completion_id = completion.id"
    )
    assert rows == [{"reviewer": "model:critic", "grade": "good", "note": "minor faults.", "purpose": "judge"}]


def test_a_judge_is_asked_by_the_rubric_and_is_told_nothing_of_the_corrector(
    reader: Store, server: ScriptedServer
) -> None:
    server.then = lambda body: chat("Grade: poor")
    judge(reader.path, server, "--sample", "2")
    for body in server.requests:
        text = json.dumps(body["messages"])
        assert "excellent" in body["messages"][0]["content"]
        assert "Incorrect Step: Step 3." in body["messages"][-1]["content"]
        assert not [name for name in ("gpt-4", "wizard", "llama") if name in text]
        assert body["temperature"] == 0


def test_a_reply_without_a_grade_is_kept_and_counted_but_grades_nothing(reader: Store, server: ScriptedServer) -> None:
    server.script = [chat("I like it."), chat("Grade: good", finish_reason="length")]
    server.then = lambda body: chat("Grade: good")
    done = judge(reader.path, server, "--sample", "2")
    assert "2 of 4 corrections graded" in done.stdout
    assert "2 have no grade" in done.stderr
    assert summarise(reader).unread == {"model:critic": 2}


def test_a_dry_run_of_the_judge_calls_nothing(reader: Store, server: ScriptedServer) -> None:
    done = judge(reader.path, server, "--sample", "5", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "judge" in done.stdout
    assert "10" in done.stdout
    assert server.calls == 0


def test_a_judge_that_nobody_named_is_asked_for_in_one_line(reader: Store) -> None:
    done = lema("review", "judge", "--db", reader.path, cwd=reader.path.parent)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Profile laptop has no judge: give --judge-url and --judge-model")


def test_the_environment_names_a_judge_too(reader: Store, server: ScriptedServer) -> None:
    server.then = lambda body: chat("Grade: good")
    environment = {"LEMA_JUDGE_BASE_URL": server.base_url, "LEMA_JUDGE_MODEL": "critic"}
    done = lema("review", "judge", "--db", reader.path, "--sample", "1", cwd=reader.path.parent, **environment)
    assert "2 of 2 corrections graded" in done.stdout, done.stderr
    assert os.environ.get("LEMA_JUDGE_MODEL") is None


# ---- training data


@pytest.fixture
def run_of(tmp_path: Path) -> Any:
    """A run with six kept corrections and the ids of these; `more` goes to its profile's [correction]."""
    counts = Counts(gold=6, sampled=0, right=0, corrections=6, samples=1)

    def make(store: Writer, more: str) -> tuple[Run, list[str]]:
        profile = write_files(tmp_path, counts)
        filled = fill_bulk(store, profile, counts)
        profile.write_text(f"{profile.read_text()}[correction]\n{more}\n")
        ids = [row["id"] for row in store.rows("select id from correction order by id")]
        return Run(load_profile(str(profile), environment={}), filled.store), ids

    return make


def grade_some(store: Writer, ids: list[str]) -> None:
    for number, (id_, reviewer, grade) in enumerate(
        [(ids[0], "ada", "excellent"), (ids[1], "ada", "good"), (ids[2], "ada", "poor"), (ids[3], "model:m", "poor"),
         (ids[4], "ada", "excellent"), (ids[4], "bo", "poor")]
    ):  # fmt: skip
        at = review(number, 0, "x", "good").created_at
        store.add_review(Review(an_id(number), id_, reviewer, grade, None, at))
    store.merge()


@pytest.mark.parametrize(
    ("more", "trains", "left_out"),
    [
        ("", [0, 1, 2, 3, 4, 5], {}),
        ('grades = ["excellent", "good"]', [0, 1, 3, 5], {"correction fails grade (poor)": 2}),
        ('grades = ["excellent"]\nungraded = "drop"', [0],
         {"correction fails grade (poor)": 2, "correction fails grade (good)": 1, "correction fails grade (none)": 2}),
        ('grades = ["excellent", "good"]\ngraded_by = "models"', [0, 1, 2, 4, 5], {"correction fails grade (poor)": 1}),
    ],
    ids=["no filter", "people's poor ones go", "only what is excellent", "by the judge"],
)  # fmt: skip
def test_grades_say_which_corrections_train(
    store: Writer, run_of: Any, more: str, trains: list[int], left_out: dict[str, int]
) -> None:
    run, ids = run_of(store, more)
    grade_some(store, ids)
    (built,) = build(run, ("lema",))
    assert {e.source_id for e in built.examples if e.kind == "correction"} == {ids[k] for k in trains}
    said = json.loads(built.training_set.manifest)["left_out"]
    assert {reason: n for reason, n in said.items() if "grade" in reason} == left_out


def test_a_filter_that_leaves_nothing_says_so(store: Writer, run_of: Any) -> None:
    run, _ = run_of(store, 'grades = ["excellent"]\nungraded = "drop"')
    with pytest.raises(DataError, match=r"grade \(none\) 6"):
        build(run, ("lema",))
