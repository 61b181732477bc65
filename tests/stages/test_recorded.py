"""A training set as a database holds it: exported and trained on from the file alone."""

import json
import shutil
from pathlib import Path

import duckdb
import pytest
from bulk_records import Counts, fill, write_files
from commands import ROOT, lema

from lema_local.errors import StoreError, TrainingError
from lema_local.records.store import Store, Writer
from lema_local.settings.profiles import Overrides, load_profile
from lema_local.stages.build import Built, build
from lema_local.stages.export_arm import export_arm
from lema_local.stages.opening import open_run
from lema_local.stages.recorded import is_part, recorded_set
from lema_local.stages.run import Run
from lema_local.stages.train import planned_runs

COUNTS = Counts(gold=8, sampled=20, right=14, corrections=6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A database whose problem files are gone."""
    with Writer(tmp_path / "lema.duckdb") as store:
        run = fill(store, write_files(tmp_path, COUNTS), COUNTS)
        build(run, ("lema", "cot-matched-tokens"))
        export_arm(run, "lema", tmp_path / "before", shape="trl", form="jsonl")
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / name).unlink()
    return tmp_path


def built_of(db: Path, name: str) -> Built:
    return recorded_set(Store(db), name)


def test_a_recorded_set_is_exported_from_the_file_alone(folder: Path) -> None:
    done = lema("export", "--training-set", "lema", "--shape", "trl", "--output", "after", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "28 rows written to after\n")
    for name in ("train.jsonl", "README.md"):
        assert (folder / "after" / name).read_text() == (folder / "before" / name).read_text()


def test_an_arm_that_cannot_be_built_says_that_it_is_recorded(folder: Path) -> None:
    given = ("export", "--profile", "bulk.toml", "--output", "lema.jsonl")
    done = lema(*given, "--arm", "lema", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.endswith("The arm as it was built is in lema.duckdb: --training-set lema\n")
    assert len(done.stderr.splitlines()) == 1
    assert "--training-set" not in lema(*given, "--arm", "cot", cwd=folder).stderr


def test_a_set_is_found_by_the_beginning_of_its_id_and_holds_what_trains_twice_twice(folder: Path) -> None:
    db = folder / "lema.duckdb"
    by_arm = built_of(db, "cot-matched-tokens")
    assert built_of(db, by_arm.training_set.id[:6].upper()) == by_arm
    ids = [example.id for example in by_arm.examples]
    assert len(ids) > len(set(ids))


def test_each_shipped_database_gives_away_its_arms(tmp_path: Path) -> None:
    for name in ("sample", "study", "earlier_study"):
        shutil.copy(ROOT / "examples" / f"{name}.duckdb", tmp_path)
    for name, arm, rows in (("earlier_study", "lema", 393), ("study", "9d5bb50f", 582)):
        given = ("--db", f"{name}.duckdb", "--training-set", arm, "--output", f"{name}.jsonl")
        done = lema("export", *given, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, f"{rows} rows written to {name}.jsonl\n")
    part = ("--db", "sample.duckdb", "--training-set", "0609", "--output", "part")
    done = lema("export", *part, cwd=tmp_path)
    assert done.stderr.splitlines() == [
        "sample.duckdb holds a part of this training set: 188 of 544 examples.",
        "188 rows written to part",
    ]
    assert "**A part: 188 of its 544 examples.**" in (tmp_path / "part" / "README.md").read_text()
    done = lema("export", "--db", "sample.duckdb", "--training-set", "lema", "--output", "x.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert "2 training sets lema: give the id of one: 0609175c (lema of gsm-symbolic, 319 CoT + 225" in done.stderr


def test_what_is_not_there_is_said_in_a_line(folder: Path) -> None:
    db = folder / "lema.duckdb"
    with pytest.raises(StoreError, match=r"no training set evolved: .* \(cot-matched-tokens, lema\)"):
        built_of(db, "evolved")
    with duckdb.connect(str(db)) as connection:
        connection.execute("delete from training_set_example using training_set t where t.id = training_set_id")
    with pytest.raises(StoreError, match="holds no example of training set"):
        built_of(db, "lema")


def test_a_set_whose_texts_were_changed_is_refused(folder: Path) -> None:
    db = folder / "lema.duckdb"
    with duckdb.connect(str(db)) as connection:
        connection.execute("update example set output = output || ' Sure?' where kind = 'correction'")
    with pytest.raises(StoreError, match="are not those that it was built of"):
        built_of(db, "lema")


def test_a_manifest_that_lema_did_not_write_is_refused(folder: Path) -> None:
    db = folder / "lema.duckdb"
    for change in ("'[]'", "'{}'", 'replace(manifest, \'"examples": 28\', \'"examples": "many"\')'):
        with duckdb.connect(str(db)) as connection:
            connection.execute(f"update training_set set manifest = {change}")
        with pytest.raises(StoreError, match="none that lema wrote"):
            built_of(db, "lema")


def test_a_run_on_a_recorded_set_is_the_run_on_the_arm_and_needs_no_problem(folder: Path, tiny_model: Path) -> None:
    def planned(db: Path, profile: str, *names: str) -> list[str]:
        loaded = load_profile(profile, Overrides(model=str(tiny_model), arms=("lema",)), environment={})
        with Writer(db) as store:
            return [each.id for each in planned_runs(Run(loaded, store, training_sets=names))]

    recorded = planned(folder / "lema.duckdb", str(folder / "bulk.toml"), "lema")
    (folder / "again").mkdir()
    profile = write_files(folder, COUNTS)
    with Writer(folder / "again" / "lema.duckdb") as store:
        fill(store, profile, COUNTS)
    assert recorded == planned(folder / "again" / "lema.duckdb", str(profile))


def test_a_run_on_a_recorded_set_knows_the_questions_that_it_trains_on(folder: Path) -> None:
    loaded, db = load_profile(str(folder / "bulk.toml"), environment={}), folder / "lema.duckdb"
    with open_run(loaded, db, print, training_sets=("lema",)) as run:
        found = run.store.rows("select distinct question from training_example join problem on problem.id = problem_id "
                               "where arm = 'lema'")  # fmt: skip
        assert run.trained == {row["question"] for row in found} != set()
    with open_run(loaded, db, print, training_sets=("cot-matched-tokens",)) as run:
        assert run.trained
    with (
        pytest.raises(StoreError, match="no training set evolved"),
        open_run(loaded, db, print, training_sets=("evolved",)),
    ):
        pass


def test_the_dry_run_plans_the_very_set_that_would_train(folder: Path, tiny_model: Path) -> None:
    db = folder / "lema.duckdb"
    lema_set, matched = (built_of(db, name).training_set for name in ("lema", "cot-matched-tokens"))
    given = ("train", "--profile", "bulk.toml", "--model", tiny_model, "--dry-run", "--json", "--gpus", "cpu")
    done = lema(*given, "--training-set", lema_set.id[:8], "--training-set", "cot-matched-tokens", cwd=folder)
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    assert planned["arms"] == ["lema", "cot-matched-tokens"]
    assert planned["runs"]["lema"]["examples"] == 28
    assert planned["runs"]["cot-matched-tokens"]["examples"] == len(matched.example_ids)
    assert planned["sizes_from"] == f"lema.duckdb, training set {lema_set.id[:8]}, {matched.id[:8]}"
    assert planned["dataset"] == lema_set.dataset


def test_the_dry_run_refuses_what_training_would_refuse(folder: Path, tiny_model: Path) -> None:
    given = ("train", "--profile", "bulk.toml", "--model", tiny_model, "--training-set", "lema")
    with duckdb.connect(str(folder / "lema.duckdb")) as connection:
        connection.execute("delete from example where kind = 'correction'")
    planned, trained = (lema(*given, *more, cwd=folder) for more in (("--dry-run",), ()))
    assert (planned.returncode, planned.stderr) == (1, trained.stderr)
    assert "holds 22 of the 28 examples" in planned.stderr
    missing = lema(*given, "--dry-run", "--db", "none.duckdb", cwd=folder)
    assert missing.stderr.startswith("Error: No database at none.duckdb")


def test_a_part_never_trains_and_no_arm_twice(folder: Path, tiny_model: Path) -> None:
    db = folder / "lema.duckdb"
    with Writer(db) as store:
        profile = load_profile(str(folder / "bulk.toml"), Overrides(model=str(tiny_model)), environment={})
        with pytest.raises(TrainingError, match="one training set trains at a time"):
            planned_runs(Run(profile, store, training_sets=("lema", built_of(db, "lema").training_set.id)))
    with duckdb.connect(str(db)) as connection:
        connection.execute("delete from example where kind = 'correction'")
    assert is_part(built_of(db, "lema"))
    given = ("--profile", "bulk.toml", "--model", tiny_model)
    done = lema("train", *given, "--training-set", "lema", "--json", cwd=folder)
    assert done.returncode == 1
    assert "holds 22 of the 28 examples" in done.stderr
    assert len(done.stderr.splitlines()) == 1
