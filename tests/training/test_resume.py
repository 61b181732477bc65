"""Training that is killed goes on to the weights and losses that it would have had: real SIGKILLs, at any moment."""

import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from needs import needs
from training_process import at_step, run_until
from training_runs import EXAMPLES, SETTINGS, assert_same_end, run

from lema_local.training.base import BaseModel
from lema_local.training.checkpoints import SavedCheckpoint, find_checkpoints, has_adapter, is_removed
from lema_local.training.job import Job
from lema_local.training.metrics import StepProgress, recorded

pytestmark = [needs("torch", "peft", "bitsandbytes"), pytest.mark.usefixtures("quick_python")]

COSINE = replace(SETTINGS, schedule="cosine", warmup_steps=2)
Moment = dict[str, Any]


class Stopped(BaseException):
    """Like KeyboardInterrupt, but pytest does not take it for its own."""


@pytest.fixture(scope="module")
def uninterrupted(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> list[SavedCheckpoint]:
    return run(base, tmp_path_factory.mktemp("uninterrupted"), COSINE)


def job_in(directory: Path, base: BaseModel) -> Path:
    return Job(examples=tuple(EXAMPLES), base=base, settings=COSINE, directory=directory).write()


STEP_4 = "checkpoint-4/"
MOMENTS: dict[str, Moment] = {
    "at a step between two saves": at_step(random.Random(5).choice([3, 5])),
    "while the Trainer writes": {"event": "open", "name": f"{STEP_4}trainer_state.json", "mode": "w", "count": 1},
    "before the marker": {"event": "os.rename", "name": f"{STEP_4}COMPLETE", "count": 1},
    "before the directory has its name": {"event": "os.rename", "name": "step-000004", "count": 1},
    "before the oldest state is let go": {"event": "os.rename", "name": "step-000002/COMPLETE", "count": 1},
    "while the oldest state is let go": {"event": "os.remove", "name": "step-000002/optimizer.pt", "count": 1},
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
def test_killed_at_any_moment_training_goes_on_to_the_same_weights(
    base: BaseModel, uninterrupted: list[SavedCheckpoint], tmp_path: Path, moment: Moment
) -> None:
    assert run_until(job_in(tmp_path, base), at=moment) == -signal.SIGKILL
    whole = [saved.step for saved in find_checkpoints(tmp_path)]
    first: list[int] = []
    notices: list[str] = []
    resumed = run(base, tmp_path, COSINE, on_progress=lambda p: first.append(p.step), on_notice=notices.append)
    assert first[:1] == ([whole[-1] + 1] if whole[-1] < 6 else [])
    assert_same_end(resumed, uninterrupted)
    assert not (tmp_path / ".partial").exists()
    assert_files_are_listed(tmp_path)


def assert_files_are_listed(directory: Path) -> None:
    states = [path.parent.name for path in sorted(directory.glob("step-*/optimizer.pt"))]
    assert states == ["step-000004", "step-000006"]


def test_killed_twice_in_a_row_training_goes_on_to_the_same_weights(
    base: BaseModel, uninterrupted: list[SavedCheckpoint], tmp_path: Path
) -> None:
    job = job_in(tmp_path, base)
    assert run_until(job, at=at_step(4)) == -signal.SIGKILL
    assert [saved.step for saved in find_checkpoints(tmp_path)] == [2]
    assert run_until(job, at=at_step(3)) == -signal.SIGKILL  # the third step from 2 on: step 5
    assert [saved.step for saved in find_checkpoints(tmp_path)] == [2, 4]
    assert run_until(job) == 0
    assert_same_end(find_checkpoints(tmp_path), uninterrupted)


@pytest.mark.parametrize("stop_at", [1, 6], ids=["before-any-checkpoint", "before-the-last-save"])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_training_goes_on_as_if_it_had_not_stopped(
    base: BaseModel, tmp_path: Path, stop_at: int, schedule: Any
) -> None:
    def stop(progress: StepProgress) -> None:
        if progress.step == stop_at:
            raise Stopped

    settings = replace(SETTINGS, schedule=schedule, per_device_batch_size=1)
    with pytest.raises(Stopped):
        run(base, tmp_path / "stopped", settings, on_progress=stop)
    steps: list[int] = []
    resumed = run(base, tmp_path / "stopped", settings, on_progress=lambda progress: steps.append(progress.step))
    assert steps[0] == (stop_at - 1) // 2 * 2 + 1
    assert_same_end(resumed, run(base, tmp_path / "whole", settings))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / "COMPLETE").unlink(), "has no valid COMPLETE marker"),
        (lambda path: (path / "COMPLETE").write_text("{"), "has no valid COMPLETE marker"),
        (lambda path: os.truncate(path / "optimizer.pt", 99), "does not match its checksums"),
        (lambda path: flip(path / "adapter_model.safetensors"), "does not match its checksums"),
    ],
    ids=["no-marker", "half-a-marker", "cut-state", "flipped-bit"],
)
def test_a_broken_checkpoint_is_passed_over_with_a_word_and_the_one_before_goes_on(
    base: BaseModel,
    uninterrupted: list[SavedCheckpoint],
    tmp_path: Path,
    damage: Callable[[Path], None],
    reason: str,
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(uninterrupted[0].path.parent, directory)
    damage(directory / "step-000006")
    (directory / ".partial" / "checkpoint-6").mkdir(parents=True)
    assert [saved.step for saved in find_checkpoints(directory)] == [2, 4]
    notices: list[str] = []
    steps: list[int] = []
    again = run(base, directory, COSINE, on_progress=lambda p: steps.append(p.step), on_notice=notices.append)
    assert steps == [5, 6]
    assert notices == [
        f"The checkpoint {directory / 'step-000006'} {reason}: it is passed over and made anew.",
        "going on from step 4 of 6",
    ]
    assert_same_end(again, uninterrupted)


def test_where_both_states_are_broken_training_begins_anew_and_says_so(
    base: BaseModel, uninterrupted: list[SavedCheckpoint], tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(uninterrupted[0].path.parent, directory)
    for step in (4, 6):
        flip(directory / f"step-{step:06d}" / "optimizer.pt")
    notices: list[str] = []
    again = run(base, directory, COSINE, on_notice=notices.append)
    assert notices[-1] == "going on from step 0 of 6"
    assert_same_end(again, uninterrupted)


@pytest.mark.parametrize(
    ("damaged", "save_at", "trained"),
    [(None, 3, [1, 2, 3]), (None, 5, [5]), (2, 6, [1, 2]), (2, 5, [1, 2, 3, 4, 5])],
    ids=["one-more", "one-more-behind-a-state", "a-damaged-one", "both"],
)
def test_only_missing_checkpoints_are_made_and_the_others_stay_as_they_are(
    base: BaseModel,
    uninterrupted: list[SavedCheckpoint],
    tmp_path: Path,
    damaged: int | None,
    save_at: int,
    trained: list[int],
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(uninterrupted[0].path.parent, directory)
    if damaged is not None:
        flip(directory / f"step-{damaged:06d}" / "adapter_model.safetensors")
    others = [saved.path.name for saved in uninterrupted if saved.step != damaged]
    files = [directory / name / "adapter_model.safetensors" for name in others]
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]
    progress: list[StepProgress] = []
    notices: list[str] = []
    settings = replace(COSINE, save_at=(save_at,))
    again = run(base, directory, settings, on_progress=progress.append, on_notice=notices.append)
    assert [p.step for p in progress] == trained
    assert (progress[-1].max_steps, progress[-1].seconds_left) == (trained[-1], 0)
    assert f"going on from step {trained[0] - 1} of 6, as far as step {trained[-1]}: the rest is there" in notices
    assert [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files] == before
    assert_same_end([saved for saved in again if saved.step in (2, 4, 6)], uninterrupted)
    curve = {p.step: p.loss for p in recorded(uninterrupted[0].path.parent)}
    assert {saved.step: saved.loss for saved in again} == pytest.approx(
        {2: (curve[1] + curve[2]) / 2, 4: (curve[3] + curve[4]) / 2, 6: (curve[5] + curve[6]) / 2}
        | ({save_at: curve[save_at]} if save_at < 6 else {})
    )
    assert len(list(directory.glob("step-*/optimizer.pt"))) == 2
    assert run(base, directory, settings) == again


@pytest.mark.parametrize(
    ("damaged", "stop_at", "from_step"), [((4, 6), 3, 2), ((5,), 5, 4)], ids=["both-states", "behind-a-missing-one"]
)
def test_stopped_on_the_way_to_a_missing_checkpoint_a_run_goes_on_from_the_last_that_it_passed(
    base: BaseModel, tmp_path: Path, damaged: tuple[int, ...], stop_at: int, from_step: int
) -> None:
    settings = replace(COSINE, save_steps=1 if damaged == (5,) else 2)
    whole = run(base, tmp_path, settings)
    for step in damaged:
        flip(tmp_path / f"step-{step:06d}" / "adapter_model.safetensors")
    files = [saved.path / "adapter_model.safetensors" for saved in whole if saved.step not in damaged]
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]

    def stop(progress: StepProgress) -> None:
        if progress.step == stop_at:
            raise Stopped

    with pytest.raises(Stopped):
        run(base, tmp_path, settings, on_progress=stop)
    notices: list[str] = []
    again = run(base, tmp_path, settings, on_notice=notices.append)
    assert notices[-1].startswith(f"going on from step {from_step} of 6")
    assert [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files] == before
    assert_same_end(again, whole)
    assert len(list(tmp_path.glob("step-*/optimizer.pt"))) == 2


def test_a_curve_that_cannot_be_read_for_a_moment_is_not_begun_anew(
    uninterrupted: list[SavedCheckpoint], tmp_path: Path
) -> None:
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "metrics.jsonl")
    with pytest.raises(OSError, match=r"metrics\.jsonl"):
        recorded(tmp_path)


def test_a_run_begun_by_the_name_of_its_base_goes_on_where_the_content_counts(base: BaseModel, tmp_path: Path) -> None:
    run(base, tmp_path, replace(SETTINGS, max_steps=2))
    steps: list[int] = []
    known = replace(base, identity="hf:0f3a")
    run(known, tmp_path, replace(SETTINGS, max_steps=4), on_progress=lambda progress: steps.append(progress.step))
    assert steps == [3, 4]
    assert [saved.step for saved in run(base, tmp_path, replace(SETTINGS, max_steps=4))] == [2, 4]  # one run of both


@pytest.mark.parametrize("keep", [1, 2])
def test_keep_bounds_the_disk_and_a_killed_run_still_goes_on(
    base: BaseModel, uninterrupted: list[SavedCheckpoint], tmp_path: Path, keep: int
) -> None:
    settings = replace(COSINE, keep=keep)
    assert settings.identity == COSINE.identity
    job = Job(examples=tuple(EXAMPLES), base=base, settings=settings, directory=tmp_path)
    assert run_until(job.write(), at=at_step(5)) == -signal.SIGKILL
    steps: list[int] = []
    again = run(base, tmp_path, settings, on_progress=lambda progress: steps.append(progress.step))
    assert steps == [5, 6]
    assert_same_end(again, uninterrupted)
    paths = [saved.path for saved in again]
    assert [has_adapter(path) for path in paths] == [step in (4, 6)[-keep:] for step in (2, 4, 6)]
    assert [is_removed(path) for path in paths] == [not has_adapter(path) for path in paths]
    assert [len(list(path.iterdir())) for path in paths if is_removed(path)] == [1] * (3 - keep)
    assert len(list(tmp_path.glob("step-*/optimizer.pt"))) == keep
    assert run(base, tmp_path, settings, on_progress=lambda progress: steps.append(-1)) == again
    assert -1 not in steps


def test_every_step_is_recorded_with_what_was_measured(uninterrupted: list[SavedCheckpoint]) -> None:
    curve = recorded(uninterrupted[0].path.parent)
    assert [progress.step for progress in curve] == [1, 2, 3, 4, 5, 6]
    assert [progress.samples_seen for progress in curve] == [4, 8, 12, 16, 20, 24]
    assert curve[-1].tokens_seen == uninterrupted[-1].tokens_seen
    assert uninterrupted[-1].loss == pytest.approx((curve[-1].loss + curve[-2].loss) / 2)
    assert curve[1].learning_rate == pytest.approx(0.005)  # half way up the warm-up
    assert curve[2].learning_rate == pytest.approx(0.01)
    assert curve[5].learning_rate < curve[3].learning_rate
    assert all(p.grad_norm > 0 and 0.05 < p.memory_gib < 64 and p.step_tokens_per_second > 1 for p in curve)
