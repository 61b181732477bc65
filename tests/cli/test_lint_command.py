"""lema train --lint and --strict: what would be left out or cut, by arm, with ids, before any weights are loaded."""

import json
from pathlib import Path

import pytest
from bulk_records import Counts, fill, write_files
from commands import lema
from needs import needs
from tiny_model import tiny_tokenizer

from lema_local.records.store import Store, Writer
from lema_local.stages.explain import explain

pytestmark = [needs("torch", "transformers"), pytest.mark.usefixtures("quick_python")]

COUNTS = Counts(gold=8, sampled=20, right=14, corrections=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database, a profile whose rows are all too long for it, and a model of a tokenizer without weights."""
    folder = tmp_path_factory.mktemp("lint")
    tiny_tokenizer().save_pretrained(folder / "tiny")
    (folder / "tiny" / "config.json").write_text('{"model_type": "llama", "vocab_size": 320}')
    profile = write_files(folder, COUNTS)
    with Writer(folder / "lema.duckdb") as store:
        fill(store, profile, COUNTS)
    profile.write_text(profile.read_text() + "[training]\nsource_max_length = 1000\ntarget_max_length = 40\n")
    return folder


def test_lint_counts_by_arm_and_names_the_longest_by_its_id(folder: Path) -> None:
    options = ("--profile", "bulk.toml", "--model", "tiny", "--lint")
    done = lema("train", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cot: ")
    assert "corrections left out with a target too long (longest: " in done.stdout
    longest = done.stdout.rpartition("(longest: ")[2].partition(",")[0]
    assert explain(Store(folder / "lema.duckdb"), longest).walk()
    arms = json.loads(lema("train", *options, "--json", cwd=folder).stdout)
    assert [arm["arm"] for arm in arms][:2] == ["cot", "lema"]
    assert all(arm["examples"] == arm["rows"] + arm["left_out"] for arm in arms)
    assert arms[1]["left_out"] > 0
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("options", [("--lint", "--strict"), ("--strict",)], ids=["lint", "train"])
def test_strict_stops_with_one_line_before_any_weights_are_read(folder: Path, options: tuple[str, ...]) -> None:
    done = lema("train", "--profile", "bulk.toml", "--model", "tiny", *options, cwd=folder)  # it has no weights
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: --strict: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seeds", ["3", "43-45", "7-7"])
def test_each_arm_is_looked_at_once_whatever_the_seeds(folder: Path, seeds: str) -> None:
    options = ("--profile", "bulk.toml", "--model", "tiny", "--lint", "--json", "--strict")
    plain, given = (lema("train", *options, *more, cwd=folder) for more in ((), ("--seeds", seeds)))
    assert json.loads(given.stdout) == json.loads(plain.stdout) != []
    assert given.returncode == plain.returncode == 1


def test_truncate_cuts_instead(folder: Path) -> None:
    done = lema(*("train", "--profile", "bulk.toml", "--model", "tiny", "--lint", "--json", "--truncate"), cwd=folder)
    assert sum(arm["cut"] for arm in json.loads(done.stdout)) > 0
