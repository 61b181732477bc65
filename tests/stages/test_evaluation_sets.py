"""On what is evaluated: the dev split, other sets, repeats and samples; and what each costs in calls."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import facts as made
import pytest
from commands import PROBLEMS, lema
from scripted_server import Body, Say, ScriptedServer, completion

from lema_local.errors import DataError, ProfileError
from lema_local.records.queries import run_query
from lema_local.records.store import Writer
from lema_local.report.evaluation import set_reports
from lema_local.settings.evaluation import EvaluationProfile, check_evaluation, default_ks, with_options
from lema_local.settings.profiles import load_profile
from lema_local.settings.tables import DataProfile
from lema_local.stages.evaluate import evaluate, facts, result_rows, targets
from lema_local.stages.problems import ProblemSet, load_problems
from lema_local.stages.run import Run

Profile = Callable[..., Path]
SVAMP = [{"Body": f"Ann has {k} pens", "Question": "How many pens has she?", "Answer": f"{k}.0"} for k in range(1, 5)]


def quiet(_: str) -> None:
    """Notices are of no interest here."""


def answer(body: Body) -> Say:
    """The first number of the question, which is SVAMP's answer here and never that of the loop's problems."""
    return completion(f"The answer is {re.findall(r'[0-9]+', body['prompt'])[0]}.")


@contextmanager
def opened(db: Path, profile: Path, **changes: Any) -> Iterator[Run]:
    loaded = load_profile(str(profile), environment={})
    loaded = replace(loaded, evaluation=replace(loaded.evaluation, **changes))
    with Writer(db) as store:
        yield Run(loaded, store)


@pytest.fixture
def svamp(tmp_path: Path) -> Path:
    file = tmp_path / "svamp.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in SVAMP))
    return file


def test_the_keys_of_answers_that_were_evaluated_before_still_hold(db: Path, tmp_path: Path) -> None:
    """As lema of 2026-11-23 wrote them: a finished evaluation is not run again after an upgrade."""
    profile = tmp_path / "tiny.toml"
    endpoint = 'base_url = "http://127.0.0.1:9/v1"\nmodel = "scripted"\n'
    profile.write_text(
        f'description = "d"\n[data]\ndataset = "tiny"\ntrain_path = "{PROBLEMS}"\ntest_problems = 2\n'
        f"[endpoints.reasoner]\n{endpoint}[endpoints.corrector]\n{endpoint}"
        f'[endpoints.student]\n{endpoint}api = "completions"\n'
    )
    with opened(db, profile, repeats=2, samples=2, dev_problems=1) as run:
        (base,) = targets(run)
        ids = [call.id for call in base.calls]
    assert ids[:2] == ["d4665ae3-8391-4fba-3b06-bcf96211d996", "807cf689-bd1a-c23d-cf86-7e5bfbfb4e75"]
    assert len(set(ids)) == 2 + 1 + 2 + 4


def test_repeats_and_samples_ask_only_for_what_is_not_there(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = answer
    profile = write_profile()
    for changes, calls in [
        ({}, 2), ({}, 2), ({"repeats": 3}, 6), ({"samples": 2}, 10), ({"repeats": 3, "samples": 2}, 10), ({}, 10),
    ]:  # fmt: skip
        with opened(db, profile, **changes) as run:
            evaluate(run)
        assert server.calls == calls, changes
    assert {body["temperature"] for body in server.requests[:6]} == {0.0}
    assert [body["temperature"] for body in server.requests[6:]] == [0.7] * 4
    assert all("n" not in body for body in server.requests[:6])  # repeats of one request would be one computation


def test_repeats_that_differ_are_counted(db: Path, server: ScriptedServer, write_profile: Profile) -> None:
    server.script = [completion(f"The answer is {text}.") for text in ("1", "2", "1", "3")]
    with opened(db, write_profile(concurrency=1), repeats=2) as run:
        everything, _ = evaluate(run)
        (report,) = set_reports(result_rows(run, everything), margin=0.03)
    (repeats,) = report.repeats
    assert repeats is not None
    assert (repeats.problems, repeats.repeats, repeats.changed, report.checkpoints[0].n) == (2, 2, 1, 2)


def test_another_set_is_evaluated_beside_the_test_split_and_reported_by_itself(
    db: Path, server: ScriptedServer, write_profile: Profile, svamp: Path
) -> None:
    server.then = answer
    profile = write_profile()
    profile.write_text(f'{profile.read_text()}\n[[evaluation.also]]\ndataset = "svamp"\npath = "{svamp}"\n')
    with opened(db, profile) as run:
        everything, _ = evaluate(run)
        found = [
            (r.dataset, r.checkpoints[0].correct, r.problems)
            for r in set_reports(result_rows(run, everything), margin=0)
        ]
        said = facts(run, everything)
    assert found == [("svamp", 4, 4), ("tiny", 0, 2)]
    assert [line.split(";")[0] for line in said[:2]] == [
        "tiny, test split, 2 problems",
        "svamp, test split, 4 problems",
    ]
    assert said[2].startswith("the student is a server that lema did not start: what is not sent (a repeat penalty,")
    assert server.calls == 6


@pytest.mark.parametrize("space", [" ", "  "])
def test_a_set_that_holds_train_problems_is_asked_without_them(
    db: Path, write_profile: Profile, tmp_path: Path, space: str
) -> None:
    everything = tmp_path / "all.jsonl"
    rows = [json.loads(line) for line in PROBLEMS.read_text().splitlines()]
    copies = [row | {"question": row["question"].replace(" ", space, 1)} for row in rows]
    everything.write_text("".join(json.dumps(row) + "\n" for row in copies))
    notices: list[str] = []
    profile = write_profile()
    profile.write_text(f'{profile.read_text()}\n[[evaluation.also]]\ndataset = "other"\npath = "{everything}"\n')
    with Writer(db) as store:
        run = Run(load_profile(str(profile), environment={}), store, notices.append)
        assert len(targets(run)[0].calls) == 4
    assert sorted(problem.dataset for problem in run.evaluated.values()) == ["other", "other", "tiny", "tiny"]
    assert "other: 8 problems left out, they are train problems." in notices


def test_what_a_training_set_of_other_problems_holds_is_not_evaluated(db: Path, write_profile: Profile) -> None:
    profile, notices = load_profile(str(write_profile()), environment={}), list[str]()
    with Writer(db) as store:
        one, other = Run(profile, store).problems.test
        run = Run(profile, store, notices.append, trained=frozenset({one.question.replace(" ", "  ")}))
        assert list(run.evaluated) == [other.id]
        assert "tiny: 1 problems left out, they are train problems." in notices
        with pytest.raises(DataError, match="tiny has no problem to evaluate on"):
            targets(Run(profile, store, trained=frozenset({one.question, other.question})))


def test_the_dev_split_is_evaluated_once_and_greedily(db: Path, server: ScriptedServer, write_profile: Profile) -> None:
    server.then = answer
    with opened(db, write_profile(), dev_problems=3, repeats=2, samples=2) as run:
        everything, _ = evaluate(run)
        rows = result_rows(run, everything)
        assert facts(run, everything)[1].startswith(
            "tiny, dev split (chooses checkpoints, no test problem), 3 problems"
        )
    assert [(row["sample_index"], row["temperature"]) for row in rows if row["split"] == "dev"] == [(0, 0.0)] * 3
    assert server.calls == 3 + 2 * 2 + 2 * 2


def load(dev: int = 0, **more: Any) -> ProblemSet:
    data = DataProfile(**{"dataset": "tiny", "train_path": str(PROBLEMS), "test_problems": 2} | more)
    return load_problems(data, quiet, dev_problems=dev)


def test_dev_problems_come_from_the_train_side_and_are_not_trained_on() -> None:
    before, held = load(), load(dev=3)
    assert (len(before.train), before.dev, len(held.train), len(held.dev)) == (8, (), 5, 3)
    assert held.test == before.test
    questions = {problem.question for problem in held.dev}
    assert questions | {problem.question for problem in held.train} == {problem.question for problem in before.train}
    assert {problem.split for problem in held.dev} == {"dev"}
    assert held.dev == load(dev=3).dev != load(dev=3, seed=2).dev


def test_a_twin_of_a_dev_problem_is_not_trained_on(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in PROBLEMS.read_text().splitlines()]
    twins = [row | {"question": row["question"].upper()} for row in rows]
    file, said = tmp_path / "twins.jsonl", list[str]()
    file.write_text("".join(json.dumps(row) + "\n" for row in (*rows, *twins)))
    data = DataProfile(dataset="tiny", train_path=str(file), test_problems=2)
    held = load_problems(data, said.append, dev_problems=5)
    dev, train = ({problem.question.upper() for problem in each} for each in (held.dev, held.train))
    assert train
    assert dev.isdisjoint(train)
    overlap = held.left_out["train problem that overlaps the dev split: exact"]
    assert f"{overlap} train problems left out: they overlap the dev split (exact {overlap})." in said


def test_dev_problems_are_as_many_as_asked_though_train_problems_overlap_the_test_split(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in PROBLEMS.read_text().splitlines()]
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    test.write_text("".join(json.dumps(row) + "\n" for row in rows[::2]))
    data = DataProfile(dataset="own", train_path=str(train), test_path=str(test))
    for seed in range(5):
        held = load_problems(replace(data, seed=seed), lambda _: None, dev_problems=3)
        assert len(held.dev) == 3
        assert {p.question for p in held.dev}.isdisjoint(p.question for p in (*held.train, *held.test))
        assert len(held.train) == len(rows) - len(rows[::2]) - 3
    with pytest.raises(DataError, match="own has 5 train problems that do not overlap its test split"):
        load_problems(data, lambda _: None, dev_problems=5)


def test_what_training_leaves_over_is_taken_first_so_that_training_stays_as_it_was() -> None:
    before, held = load(train_problems=4), load(dev=3, train_problems=4)
    assert held.train == before.train
    assert len(held.dev) == 3
    assert {p.question for p in held.dev}.isdisjoint(p.question for p in (*held.train, *held.test))


def test_generated_dev_problems_are_fresh_ones() -> None:
    pytest.importorskip("reasoning_gym")
    generated: dict[str, Any] = {"dataset": "gsm-symbolic", "train_path": None, "templates": (43,), "train_problems": 6}
    before, held = load(**generated), load(dev=4, **generated)
    assert (held.train, held.test) == (before.train, before.test)
    assert len(held.dev) == 4
    assert {p.question for p in held.dev}.isdisjoint(p.question for p in (*held.train, *held.test))


def test_a_dev_split_as_large_as_the_train_side_is_refused() -> None:
    with pytest.raises(DataError, match="dev_problems = 8 leaves nothing to train on: tiny has 8 train problems"):
        load(dev=8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("samples = 2\npass_at = [1, 4]", r"pass@4 needs 4 samples or more, and samples = 2"),
        ("pass_at = [0]\nsamples = 2", r"pass@0 needs 0 samples"),
        ("samples = 2\ntemperature = 0.0", r"samples at temperature 0 are all the same"),
        ("repeats = 0", r"repeats must be 1 or more"),
        ("test = false", r"test = false needs a set in \[\[evaluation.also\]\]"),
        ("max_tokens = 0", r"max_tokens from 1"),
        ('[[evaluation.also]]\ndataset = "a"\n[[evaluation.also]]\ndataset = "a"', r"a stands twice in also"),
        ('[[evaluation.also]]\ndataset = "a"\npaht = "b"', r"unknown key 'paht' \(did you mean 'path'\?\)"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(write_profile: Profile, settings: str, message: str) -> None:
    profile = write_profile()
    profile.write_text(f"{profile.read_text()}\n[evaluation]\n{settings}\n")
    with pytest.raises(ProfileError, match=message):
        load_profile(str(profile), environment={})


@pytest.mark.parametrize("option", [{"samples": -3}, {"samples": 2, "temperature": -0.5}])
def test_options_below_zero_are_refused_as_the_profile_refuses_them(option: dict[str, Any]) -> None:
    with pytest.raises(ProfileError, match="samples and temperature must be 0 or more"):
        check_evaluation("tiny", with_options(EvaluationProfile(), **option))


def test_a_set_named_like_the_runs_own_is_refused(db: Path, write_profile: Profile, svamp: Path) -> None:
    profile = write_profile()
    profile.write_text(f'{profile.read_text()}\n[[evaluation.also]]\ndataset = "tiny"\npath = "{svamp}"\n')
    with opened(db, profile) as run, pytest.raises(DataError, match="tiny is evaluated already"):
        targets(run)


def test_the_usual_k_are_powers_of_two_and_the_number_of_samples() -> None:
    assert [default_ks(n) for n in (0, 1, 2, 6, 8)] == [(), (1,), (1, 2), (1, 2, 4, 6), (1, 2, 4, 8)]


def test_options_choose_sets_and_leave_the_rest() -> None:
    before = EvaluationProfile(max_tokens=9, dev_problems=3)
    assert with_options(before) == before
    after = with_options(before, on=["svamp", "math=~/MATH"], data_path="s", repeats=2)
    assert [(each.dataset, each.path) for each in after.also] == [("svamp", "s"), ("math", "~/MATH")]
    assert (after.test, after.repeats, after.max_tokens, after.dev_problems) == (False, 2, 9, 3)


def test_lema_eval_on_another_set_asks_only_that(
    db: Path, server: ScriptedServer, write_profile: Profile, svamp: Path
) -> None:
    server.then = answer
    arguments = ("eval", "--db", db, "--profile", write_profile(), "--on", "svamp", "--data-path", svamp)
    done = lema(*arguments, cwd=db.parent)
    assert (done.returncode, server.calls) == (0, 4), done.stderr
    assert "svamp, test split, 4 problems" in done.stdout
    assert "4/4" in done.stdout
    (row,) = json.loads(lema(*arguments, "--json", cwd=db.parent).stdout)
    assert (row["dataset"], row["n"], row["correct"], row["pass_at_1"], server.calls) == ("svamp", 4, 4, 1.0, 4)


def test_a_set_without_answers_or_with_an_empty_test_split_is_one_line(
    db: Path, write_profile: Profile, tmp_path: Path
) -> None:
    bare, empty = tmp_path / "bare.jsonl", tmp_path / "empty.jsonl"
    bare.write_text('{"question": "How many?"}\n')
    empty.write_text("")
    for file, message in ((bare, "line 1"), (empty, "it is empty")):
        done = lema("eval", "--db", db, "--profile", write_profile(), "--on", f"mine={file}", cwd=db.parent)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.strip().splitlines()[-1:]
        assert message in line
        assert "Traceback" not in done.stderr


def test_problems_that_nothing_solves_are_found_by_sql(store: Writer) -> None:
    asked = [made.problem(k) for k in range(3)]
    for k, (problem, right) in enumerate([(asked[0], False), (asked[1], False), (asked[1], True), (asked[2], False)]):
        store.add(problem)
        store.add(made.completion(problem, k))
        store.merge()
        store.derive("evaluation", [made.evaluation(problem, k, is_correct=right)])
    columns, found = run_query(store, "never_solved", {})
    assert [dict(zip(columns, row, strict=True))["question"] for row in found] == ["q0", "q2"]
