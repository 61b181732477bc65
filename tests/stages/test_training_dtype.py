"""The compute dtype is part of a run: what is there goes on as it was, and what belongs together computes alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from needs import needs
from test_training_seeds import write_profile
from tiny_model import write_tiny_model

from lema_local.hardware import Gpu
from lema_local.records.store import Writer
from lema_local.settings.profiles import Overrides, load_profile
from lema_local.settings.training import ComputeDtype
from lema_local.stages import train
from lema_local.stages.run import Run

pytestmark = needs("torch", "peft")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return write_profile(tmp_path, write_tiny_model(tmp_path / "model"))


@contextmanager
def opened(db: Path, profile: Path, dtype: ComputeDtype = "auto", *, seeds: int = 1) -> Iterator[Run]:
    loaded = load_profile(str(profile), Overrides(seeds=seeds), environment={})
    with Writer(db) as store:
        yield Run(replace(loaded, training=replace(loaded.training, compute_dtype=dtype)), store)


@pytest.fixture
def is_fast(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the measurement says; a test may change it."""
    says = [True]
    monkeypatch.setattr(train, "multiplies_bfloat16", lambda: says[0])
    monkeypatch.setattr(train, "gpus", list)
    return says


def planned(db: Path, profile: Path, dtype: ComputeDtype = "auto", *, seeds: int = 1) -> list[train.TrainingRun]:
    with opened(db, profile, dtype, seeds=seeds) as run:
        return train.planned_runs(run)


def test_auto_is_bfloat16_where_it_is_fast_and_another_run(db: Path, profile: Path, is_fast: list[bool]) -> None:
    (fast,), (named,) = planned(db, profile), planned(db, profile, "bfloat16")
    is_fast[0] = False
    (slow,) = planned(db, profile)
    assert (fast.settings.compute_dtype, slow.settings.compute_dtype) == ("bfloat16", "auto")
    assert fast.id == named.id != slow.id


def test_a_run_that_began_before_goes_on_in_its_dtype(db: Path, profile: Path, is_fast: list[bool]) -> None:
    is_fast[0] = False
    (old,) = planned(db, profile)
    is_fast[0] = True
    old.directory.mkdir(parents=True)
    after = planned(db, profile, seeds=2)
    assert after[0].id == old.id
    assert [each.settings.compute_dtype for each in after] == ["auto", "auto"]  # seeds are compared: in one dtype


def test_a_run_in_bfloat16_is_found_where_that_is_slow(db: Path, profile: Path, is_fast: list[bool]) -> None:
    (fast,) = planned(db, profile)
    fast.directory.mkdir(parents=True)
    is_fast[0] = False
    assert [each.id for each in planned(db, profile)] == [fast.id]


def test_a_run_in_bfloat16_is_found_where_there_are_gpus(
    db: Path, profile: Path, is_fast: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    (fast,) = planned(db, profile)
    fast.directory.mkdir(parents=True)
    monkeypatch.setattr(train, "gpus", lambda: [Gpu("NVIDIA A100", 80.0)])
    assert [each.id for each in planned(db, profile)] == [fast.id]


def test_auto_stays_auto_where_gpus_begin(
    db: Path, profile: Path, is_fast: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "gpus", lambda: [Gpu("NVIDIA A100", 80.0)])
    assert [each.settings.compute_dtype for each in planned(db, profile)] == ["auto"]


def test_what_is_said_is_done_whatever_is_fast(db: Path, profile: Path, is_fast: list[bool]) -> None:
    (said,) = planned(db, profile, "float32")
    assert said.settings.compute_dtype == "float32"
