"""`lema train` with several seeds: one command, killed and started again, every step and checkpoint recorded once."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import PROBLEMS, kill_training, lema
from facts import completion
from gold_profile import write_gold_profile
from needs import needs

from lema_local.errors import DataError
from lema_local.records.keys import content_key
from lema_local.records.store import Store, Writer
from lema_local.records.types import Checkpoint, Evaluation
from lema_local.settings.profiles import Overrides, load_profile
from lema_local.stages import train
from lema_local.stages.evaluate import _without_removed, evaluation_calls
from lema_local.stages.run import Run
from lema_local.stages.sweep import Target
from lema_local.training.metrics import recorded

pytestmark = [needs("torch", "peft"), pytest.mark.usefixtures("quick_python")]

STEPS = 40


def write_profile(folder: Path, model: Path, problems: Path = PROBLEMS) -> Path:
    return write_gold_profile(folder, model, steps=STEPS, save_steps=10, problems=problems)


@contextmanager
def opened(db: Path, profile: Path, *, seeds: int | range) -> Iterator[Run]:
    with Writer(db) as store:
        yield Run(load_profile(str(profile), Overrides(seeds=seeds), environment={}), store)


def test_several_seeds_are_one_command_that_may_be_killed(db: Path, tmp_path: Path, tiny_model: Path) -> None:
    profile = write_profile(tmp_path, tiny_model)
    with opened(db, profile, seeds=1) as run:
        (alone,) = train.planned_runs(run)
    command = ("train", "--profile", profile, "--db", db, "--seeds", "2")
    kill_training(*command, run_directory=alone.directory, at_step=15, cwd=tmp_path)
    done = lema(*command, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cot seed 42: going on from step" in done.stderr
    saved = json.loads(done.stdout)
    assert [(row["seed"], row["step"]) for row in saved] == [(s, k) for s in (42, 43) for k in (10, 20, 30, 40)]
    assert {Path(row["path"]).parent.name for row in saved if row["seed"] == 42} == {alone.directory.name}

    curve = Store(db).rows("select seed, step, loss, learning_rate, memory_gib, run_id from training_curve")
    assert [(row["seed"], row["step"]) for row in curve] == [(s, k) for s in (42, 43) for k in range(1, STEPS + 1)]
    assert {row["run_id"] for row in curve if row["seed"] == 42} == {alone.id}
    losses = [[row["loss"] for row in curve if row["seed"] == seed] for seed in (42, 43)]
    assert losses[0] == [progress.loss for progress in recorded(alone.directory)]
    assert losses[0] != losses[1]
    sets = Store(db).rows("select count(distinct training_set_id) as n from checkpoint")
    assert sets == [{"n": 1}]  # the same data for each seed

    again = lema(*command, "--keep", "2", "--json", cwd=tmp_path)
    assert again.stdout == done.stdout
    assert again.stderr.count("the weights of step 10, 20 were removed (keep = 2)") == 2
    assert sorted(path.parent.name for path in alone.directory.glob("*/adapter_model.safetensors")) == [
        "step-000030",
        "step-000040",
    ]
    notices: list[str] = []
    with opened(db, profile, seeds=2) as run:
        run.notice = notices.append
        checkpoints = train.checkpoints(run, train.planned_runs(run))
        student = run.resolved("student").endpoint
        asked = [tuple(evaluation_calls(run, student, c.id)) for c in checkpoints]
        targets = [Target(c, calls, has_seed_in_label=True) for c, calls in zip(checkpoints, asked, strict=True)]
        assert len({target.label for target in targets}) == 8
        there = _without_removed(run, targets)
    assert [target.label for target in there] == ["cot-seed42-30", "cot-seed42-40", "cot-seed43-30", "cot-seed43-40"]
    said = "Not evaluated, because their weights were removed (training.keep): cot-seed42-10, "
    assert [notice.startswith(said) for notice in notices].count(True) == 1


def test_seeds_that_are_named_are_those_runs_and_no_others(db: Path, tmp_path: Path, tiny_model: Path) -> None:
    profile = write_profile(tmp_path, tiny_model)
    ids = {}
    for seeds in (3, range(43, 45)):
        with opened(db, profile, seeds=seeds) as run:
            ids[seeds] = {planned.settings.seed: planned.id for planned in train.planned_runs(run)}
    assert ids[range(43, 45)] == {seed: ids[3][seed] for seed in (43, 44)}


@pytest.mark.parametrize("given", ["44-43", "a", "43-", "-1", "1,2"])
def test_seeds_that_are_no_number_and_no_range_are_refused(db: Path, given: str) -> None:
    done = lema("train", "--db", db, "--seeds", given, cwd=db.parent)
    assert done.returncode != 0
    assert "Invalid value for '--seeds'" in done.stderr


def test_a_longer_run_goes_on_from_a_shorter_one_and_the_shorter_is_found_in_it(
    db: Path, tmp_path: Path, tiny_model: Path
) -> None:
    notices: list[str] = []

    def trained(run: Run, **changed: Any) -> list[int]:
        run.profile = replace(run.profile, training=replace(run.profile.training, save_steps=2, **changed))
        return [c.step for c in train.train(run)]

    with opened(db, write_profile(tmp_path, tiny_model), seeds=1) as run:
        run.notice = notices.append
        assert trained(run, max_steps=2, save_at=(1,)) == [1, 2]
        assert trained(run, max_steps=5) == [1, 2, 4, 5]
        assert any("going on from step 2 of 5" in notice for notice in notices)
        starts = sum("training cot" in notice for notice in notices)
        assert trained(run, max_steps=2) == [1, 2]
        assert sum("training cot" in notice for notice in notices) == starts


def test_a_run_goes_on_over_the_same_weights_by_another_name(db: Path, tmp_path: Path, tiny_model: Path) -> None:
    notices: list[str] = []
    renamed = tmp_path / "renamed"
    shutil.copytree(tiny_model, renamed)
    for model, steps in ((tiny_model, 2), (renamed, 4)):
        with opened(db, write_gold_profile(tmp_path, model, steps=steps, save_steps=2), seeds=1) as run:
            run.notice = notices.append
            assert [c.step for c in train.train(run)][-1] == steps
    assert "cot: going on from step 2 of 4" in notices


def test_a_run_that_was_evaluated_elsewhere_is_trained_again_unless_it_is_to_be_left(
    db: Path, tmp_path: Path, tiny_model: Path
) -> None:
    notices: list[str] = []
    with opened(db, write_gold_profile(tmp_path, tiny_model, steps=4, save_steps=2), seeds=1) as run:
        run.notice = notices.append
        trained = train.train(run)
        weights = run.directory / "checkpoints"

        def answer(checkpoint: Checkpoint) -> None:
            for problem in run.problems.test:
                id_ = content_key(checkpoint.id, problem.id)
                run.store.add(completion(problem, id=id_, purpose="evaluate", checkpoint_id=checkpoint.id))
                graded = Evaluation(id_, problem.id, "m", "b", checkpoint.id, 0, "1", True, True, "exact", False)
                run.store.derive("evaluation", [graded])

        def leaves_it(**wanted: bool) -> bool:
            shutil.rmtree(weights)
            assert train.train(run, **wanted) == trained
            return not weights.exists()

        answer(trained[-1])
        assert not leaves_it(skip_evaluated=True)  # the first checkpoint is still to be asked
        answer(trained[0])
        # problems of another profile, of the same data set, are none of its own
        run.store.add(replace(run.problems.test[0], question="How many are 2 and 2?", answer="4"))
        run.store.merge()
        assert leaves_it(skip_evaluated=True)
        assert notices[-1] == "cot is evaluated, and its weights are not here: it is not trained again"
        weights.mkdir()
        assert not leaves_it()
        assert any("it is trained again (--skip-evaluated leaves it" in notice for notice in notices)


def test_a_step_beyond_the_last_is_not_waited_for_where_a_run_was_evaluated_elsewhere(
    db: Path, tmp_path: Path, tiny_model: Path
) -> None:
    """training.match_beside gives an arm the length of another, which may be longer than it is trained."""
    with opened(db, write_gold_profile(tmp_path, tiny_model, steps=4, save_steps=2), seeds=1) as run:
        run.profile = replace(run.profile, training=replace(run.profile.training, save_at=(1, 9)))
        (planned,) = train.planned_runs(run, ("cot",))
    assert planned.ends == (4, 1)


def test_an_arm_without_examples_is_named_before_any_training(db: Path, tmp_path: Path, tiny_model: Path) -> None:
    rows = [json.loads(line) for line in PROBLEMS.read_text().splitlines()]
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(json.dumps({"question": r["question"], "answer": "7"}) + "\n" for r in rows))
    with opened(db, write_profile(tmp_path, tiny_model, bare), seeds=1) as run:
        with pytest.raises(DataError, match=r"^There is no CoT example to train on: run `make data` first"):
            train.train(run)
        assert not (run.directory / "checkpoints").exists()


@pytest.mark.parametrize("option", ["--seeds", "--keep"])
def test_counts_below_one_are_refused(db: Path, tmp_path: Path, tiny_model: Path, option: str) -> None:
    with Writer(db):
        pass
    done = lema("train", "--profile", write_profile(tmp_path, tiny_model), "--db", db, option, "0", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: training.seeds and training.keep must be 1 or more")


def test_more_seeds_than_anyone_trains_are_refused_at_once(db: Path, tmp_path: Path, tiny_model: Path) -> None:
    with Writer(db):
        pass
    profile = write_profile(tmp_path, tiny_model)
    done = lema("train", "--profile", profile, "--db", db, "--seeds", "1000000000", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: training.seeds is 1000000000: give 1000 or fewer")


def test_seeds_and_what_bounds_the_disk_do_not_make_another_run() -> None:
    settings = load_profile("laptop", environment={}).training
    same = replace(settings, seeds=3, first_seed=7, keep=2, tensorboard=True, report_to="wandb")
    assert same.identity == settings.identity
    assert replace(settings, seed=settings.seed + 1).identity != settings.identity
