"""lema explain: from a problem to the checkpoints that trained on what it gave, and from a test answer back."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import facts
import pytest
from bulk_records import Counts, fill, write_files
from commands import lema

from lema_local.errors import DataError
from lema_local.records.journal import row_of
from lema_local.records.keys import content_key
from lema_local.records.store import Writer
from lema_local.records.types import Checkpoint
from lema_local.stages.build import Built, build
from lema_local.stages.explain import Node, explain
from lema_local.stages.run import Run

COUNTS = Counts(gold=8, sampled=20, right=14, corrections=6)


def checkpoint(built: Built) -> Checkpoint:
    return Checkpoint(
        id=content_key("checkpoint", built.training_set.id),
        run_id=content_key("run", 1),
        base_model="tiny",
        quantization="nf4",
        training_set_id=built.training_set.id,
        arm=built.training_set.arm,
        dataset="bulk",
        seed=1,
        step=40,
        settings="{}",
        path="runs/checkpoints/lema-40",
        loss=0.25,
        tokens_seen=1,
        samples_seen=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Two arms, a checkpoint of `lema`, its answer and the base's to a test problem of subject "shelf 1"."""
    folder = tmp_path_factory.mktemp("life")
    with Writer(folder / "lema.duckdb") as store:
        made = fill(store, write_files(folder, COUNTS), COUNTS)
        trained = checkpoint(build(made, ("cot", "lema"))[1])
        (asked,) = [problem for problem in made.problems.test if problem.subject == "shelf 1"]
        store.add(trained)
        for index, checkpoint_id in ((1, trained.id), (2, None)):
            store.add(facts.completion(asked, index, checkpoint_id=checkpoint_id))
        store.merge()
        answers = [facts.evaluation(asked, index, is_correct=index == 1) for index in (1, 2)]
        rows = [row_of(answer) for answer in answers]
        rows[0][4] = trained.id
        with store.connect(write=True) as connection:
            for row in rows:
                connection.execute(f"insert into evaluation values ({', '.join('?' * len(row))})", row)
        yield made


def kinds(node: Node) -> list[tuple[int, str]]:
    return [(depth, child.kind) for depth, child in node.walk()]


def first(run: Run, table: str) -> str:
    return str(run.store.rows(f"select min(id::varchar) as id from {table}")[0]["id"])


def test_a_correction_leads_up_to_its_problem_and_down_to_the_checkpoint(run: Run) -> None:
    tree = explain(run.store, first(run, "correction"))
    assert kinds(tree) == [
        (0, "problem"),
        (1, "rationale"),
        (2, "correction"),
        (3, "example"),
        (4, "training_set"),
        (5, "checkpoint"),
    ]
    nodes = [node for _, node in tree.walk()]
    assert [node.is_asked for node in nodes] == [False, False, True, False, False, False]
    assert nodes[2].facts["corrector"] == "bulk-corrector"
    assert nodes[4].facts["arm"] == "lema"
    assert nodes[5].facts["step"] == 40
    assert (nodes[5].facts["evaluated"], nodes[5].facts["right_answers"]) == (1, 1)


def test_a_problem_shows_all_that_came_of_it(run: Run) -> None:
    tree = explain(run.store, run.problems.train[0].id)
    assert tree.is_asked
    below = [child.kind for child in tree.children]
    counted = run.store.rows("select count(*) as n from rationale where problem_id = $id", id=tree.id)
    assert below.count("rationale") == counted[0]["n"] > 3  # paths and mistakes
    assert below.count("example") == 1  # its gold rationale
    gold = next(child for child in tree.children if child.kind == "example")
    assert sorted(node.facts["arm"] for node in gold.children) == ["cot", "lema"]


def test_a_test_answer_leads_back_to_the_examples_like_its_problem(run: Run) -> None:
    answer, base = (facts.completion(run.problems.test[0], index).id for index in (1, 2))
    tree = explain(run.store, answer)
    assert kinds(tree)[:4] == [(0, "problem"), (1, "evaluation"), (2, "checkpoint"), (3, "training_set")]
    training_set = next(node for _, node in tree.walk() if node.kind == "training_set")
    subjects = {child.facts["subject"] for child in training_set.children}
    assert subjects == {"shelf 1"}
    shown = len(training_set.children) + training_set.not_shown
    assert training_set.facts["examples_like_the_problem"] == shown > 0
    assert kinds(explain(run.store, base)) == [(0, "problem"), (1, "evaluation")]  # the base model trained on nothing


def test_any_record_is_found_by_the_start_of_its_id(run: Run) -> None:
    for table in ("problem", "rationale", "correction", "example", "training_set", "checkpoint", "evaluation"):
        id_ = first(run, table)
        for given in (id_, id_.upper(), f" {id_} "):
            asked = [node for _, node in explain(run.store, given).walk() if node.is_asked]
            assert [(node.kind, node.id) for node in asked] == [(table, id_)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ffffffff-ffff", "No record has an id that begins with ffffffff-ffff"),
        ("00000000-0000", "More than one record begins with 00000000-0000: evaluation 00000000-0000-4000-8000-0"),
        ("'; drop table problem; --", "first four characters"),
        ("%", "first four characters"),
        ("ab", "first four characters"),
    ],
    ids=["unknown", "two of them", "SQL", "pattern", "too short"],
)
def test_an_id_that_names_no_record_or_two_is_one_line(run: Run, given: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        explain(run.store, given)


def test_the_command_prints_a_tree_or_json_and_no_control_characters(tmp_path: Path) -> None:
    with Writer(tmp_path / "lema.duckdb") as store:
        run = fill(store, write_files(tmp_path, COUNTS), COUNTS)
        build(run, ("lema",))
        id_ = first(run, "correction")
        with store.connect(write=True) as connection:
            connection.execute("update completion set text = text || chr(27) || '[2J' where id = $id", {"id": id_})
    done = lema("explain", id_[:20], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if "|" not in line] == [
        "problem", "rationale", "correction", "example", "training_set",
    ]  # fmt: skip
    assert "<- asked for" in lines[2]
    assert "\x1b" not in done.stdout
    tree = json.loads(lema("explain", id_, "--json", cwd=tmp_path).stdout)
    assert tree["kind"] == "problem"
    assert tree["children"][0]["children"][0]["text"].endswith("\x1b[2J")
