"""The trainer on a tiny random Llama: checkpoints, resuming after real interruptions, the process of its own."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from needs import needs
from training_runs import EXAMPLES, SETTINGS, assert_same_end, run, weights

from lema_local.errors import DataError, TrainingError
from lema_local.training import checkpoints
from lema_local.training.base import BaseModel
from lema_local.training.checkpoints import (
    SavedCheckpoint,
    find_checkpoints,
    has_adapter,
    refuse_damaged,
    tidy,
)
from lema_local.training.job import Job, _reason, read_examples, run_job, saved_checkpoint
from lema_local.training.lint import Lint, read_lint

pytestmark = needs("torch", "peft", "bitsandbytes")


@pytest.fixture(scope="module")
def uninterrupted(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> list[SavedCheckpoint]:
    return run(base, tmp_path_factory.mktemp("uninterrupted"))


def test_training_saves_adapters_that_learned(uninterrupted: list[SavedCheckpoint]) -> None:
    assert [saved.step for saved in uninterrupted] == [2, 4, 6]
    assert uninterrupted[-1].loss < uninterrupted[0].loss
    assert [saved.samples_seen for saved in uninterrupted] == [8, 16, 24]
    assert 0 < uninterrupted[0].tokens_seen < uninterrupted[1].tokens_seen
    assert any(tensor.any() for name, tensor in weights(uninterrupted[0]).items() if "lora_B" in name)
    config = json.loads((uninterrupted[0].path / "adapter_config.json").read_text())
    attention, feed_forward = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}
    assert {name.rsplit(".", 1)[-1] for name in config["target_modules"]} == attention | feed_forward
    assert config["base_model_name_or_path"] == "tiny"


def test_only_the_newest_two_checkpoints_keep_the_trainer_state(uninterrupted: list[SavedCheckpoint]) -> None:
    files = [sorted(path.name for path in saved.path.iterdir()) for saved in uninterrupted]
    assert files[0] == ["COMPLETE", "adapter_config.json", "adapter_model.safetensors"]
    assert files[1] == files[2]
    assert {"optimizer.pt", "rng_state.pth", "trainer_state.json"} <= set(files[2])
    assert not (uninterrupted[0].path.parent / ".partial").exists()


def test_a_damaged_adapter_is_refused_and_no_longer_counts(
    uninterrupted: list[SavedCheckpoint], tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(uninterrupted[0].path.parent, directory)
    step = directory / "step-000002"
    refuse_damaged(step)
    adapter = step / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"x")
    assert has_adapter(step)  # by its size; its sum is only asked for before it is used
    with pytest.raises(TrainingError, match="`lema train` makes it anew"):
        refuse_damaged(step)
    assert not has_adapter(step)
    with pytest.raises(TrainingError, match="`lema train` makes it anew"):
        refuse_damaged(directory / "step-000009")


@contextmanager
def unreadable(path: Path, aside: Path) -> Iterator[None]:
    """What is there is a link that leads to itself: not missing, and not to be read."""
    path.rename(aside)
    path.symlink_to(path)
    try:
        yield
    finally:
        path.unlink()
        aside.rename(path)


@pytest.mark.parametrize("name", [".", "COMPLETE", "adapter_model.safetensors", "optimizer.pt"])
def test_a_checkpoint_that_cannot_be_read_for_a_moment_is_not_damaged_and_stays(
    base: BaseModel, uninterrupted: list[SavedCheckpoint], tmp_path: Path, name: str
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(uninterrupted[0].path.parent, directory)
    (directory / ".partial").mkdir()
    path, before = directory / "step-000006" / name, sorted(directory.rglob("*"))
    said = rf"^Cannot read {re.escape(str(path))} \(.+\): nothing was removed\. [^\n]+$"
    with unreadable(path, tmp_path / "aside"):
        with pytest.raises(TrainingError, match=said):
            tidy(directory)
        with pytest.raises(TrainingError, match=said):
            run(base, directory)
        if name != "optimizer.pt":  # whoever serves an adapter reads no state
            with pytest.raises(TrainingError, match=said if name != "." else "^Cannot read .*nothing was removed"):
                refuse_damaged(directory / "step-000006")
    assert sorted(directory.rglob("*")) == before
    assert len(find_checkpoints(directory)) == 3


def test_an_adapter_that_a_failing_disk_does_not_give_is_not_damaged(
    uninterrupted: list[SavedCheckpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    shutil.copytree(uninterrupted[-1].path, tmp_path / "step-000006")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "file_sha256", fail)
        for read in (tidy, find_checkpoints, lambda directory: refuse_damaged(directory / "step-000006")):
            with pytest.raises(TrainingError, match=r"Input/output error\): nothing was removed"):
                read(tmp_path)
    refuse_damaged(tmp_path / "step-000006")


def test_an_adapter_without_its_trainer_state_is_still_one(
    uninterrupted: list[SavedCheckpoint], tmp_path: Path
) -> None:
    shutil.copytree(uninterrupted[-1].path, tmp_path / "step-000006")
    (tmp_path / "step-000006" / "optimizer.pt").unlink()  # someone needed the room
    assert has_adapter(tmp_path / "step-000006")
    refuse_damaged(tmp_path / "step-000006")


def test_less_memory_goes_on_with_the_same_run(base: BaseModel, tmp_path: Path) -> None:
    smaller = replace(SETTINGS, per_device_batch_size=1, gradient_checkpointing=True)
    assert smaller.identity == SETTINGS.identity != replace(SETTINGS, learning_rate=1e-3).identity
    run(base, tmp_path, replace(SETTINGS, max_steps=4))
    steps: list[int] = []
    run(base, tmp_path, smaller, on_progress=lambda progress: steps.append(progress.step))
    assert steps == [5, 6]


def test_training_that_is_done_loads_no_torch(base: BaseModel, uninterrupted: list[SavedCheckpoint]) -> None:
    job = Job(examples=tuple(EXAMPLES), base=base, settings=SETTINGS, directory=uninterrupted[0].path.parent).write()
    code = (
        "import sys; from pathlib import Path; from lema_local.training.job import Job, run_job\n"
        "say = lambda event: print(event['event'], event['step'])\n"
        f"run_job(Job.read(Path({str(job)!r})), num_gpus=0, on_event=say)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    recorded = [f"recorded {step}" for step in range(1, 7)]
    assert done.stdout.splitlines() == [*recorded, *(f"checkpoint {step}" for step in (2, 4, 6)), "False"]


def test_micro_batches_do_not_change_the_loss(base: BaseModel, tmp_path: Path) -> None:
    plain = replace(SETTINGS, lora_dropout=0.0, max_steps=3, save_steps=3)
    by_one = run(base, tmp_path / "1", replace(plain, per_device_batch_size=1))
    by_four = run(base, tmp_path / "4", replace(plain, per_device_batch_size=4, gradient_checkpointing=True))
    assert by_one[0].loss == pytest.approx(by_four[0].loss, abs=1e-5)


def test_a_longer_run_goes_on_from_a_shorter_one(
    base: BaseModel, uninterrupted: list[SavedCheckpoint], tmp_path: Path
) -> None:
    run(base, tmp_path, replace(SETTINGS, max_steps=4))
    steps: list[int] = []
    assert_same_end(run(base, tmp_path, on_progress=lambda progress: steps.append(progress.step)), uninterrupted)
    assert steps == [5, 6]


def test_another_run_does_not_take_over_a_directory(base: BaseModel, uninterrupted: list[SavedCheckpoint]) -> None:
    with pytest.raises(TrainingError, match="another training run"):
        run(base, uninterrupted[0].path.parent, replace(SETTINGS, seed=8))
    assert len(find_checkpoints(uninterrupted[0].path.parent)) == 3


def test_a_loss_that_is_no_number_stops_training(base: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no checkpoint was reached\. Lower training\.learning_rate"):
        run(base, tmp_path, replace(SETTINGS, learning_rate=1e30, max_grad_norm=1e30))
    assert find_checkpoints(tmp_path) == []


@pytest.mark.parametrize(
    ("examples", "reason"),
    [([], "0 given"), ([("Question: 1\n", "Step " * 90)], "1 left out")],
    ids=["none", "all-too-long"],
)
def test_nothing_to_train_on_is_an_error(
    base: BaseModel, tmp_path: Path, examples: list[tuple[str, str]], reason: str
) -> None:
    with pytest.raises(TrainingError, match=reason):
        run(base, tmp_path, examples=examples)


def processes_of(directory: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(directory) in (process / "cmdline").read_text():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_a_job_reports_its_events_and_nothing_else(base: BaseModel, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    examples = (*EXAMPLES, ("Question: 1\n", "Step " * 90))
    job = Job(examples=examples, base=base, settings=replace(SETTINGS, max_steps=2), directory=tmp_path)
    run_job(job, num_gpus=0, on_event=events.append)
    assert [event["event"] for event in events] == ["lint", "progress", "progress", "checkpoint"]
    assert (events[0]["rows"], events[0]["left_out"], events[0]["findings"][0]["longest"]) == (20, 1, 20)
    assert read_lint(tmp_path) == Lint.from_dict(events[0])
    assert saved_checkpoint(events[-1]) == find_checkpoints(tmp_path)[-1]
    assert (tmp_path / "training.log").read_text() == ""


def test_a_failed_job_says_why_in_one_line(base: BaseModel, tmp_path: Path) -> None:
    nowhere = replace(base, path=tmp_path / "nowhere")
    job = Job(examples=tuple(EXAMPLES), base=nowhere, settings=SETTINGS, directory=tmp_path)
    with pytest.raises(TrainingError, match=r"No model in .*nowhere") as caught:
        run_job(job, num_gpus=0, on_event=lambda event: None)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line_that_says_so(base: BaseModel, tmp_path: Path) -> None:
    """What a real full disk gave: safetensors raises an error of its own, which is no OSError."""
    job = Job(examples=tuple(EXAMPLES), base=base, settings=SETTINGS, directory=tmp_path)
    full = "Traceback (most recent call last):\nSafetensorError: I/O error: No space left on device (os error 28)\n"
    (tmp_path / "training.log").write_text(full)
    assert _reason(1, tmp_path / "training.log", job).startswith(f"No room on the disk of {tmp_path}: make some")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ctrl_c_ends_a_job_within_two_seconds(base: BaseModel, tmp_path: Path) -> None:
    stopped = 0.0

    def interrupt(event: dict[str, Any]) -> None:
        nonlocal stopped
        assert processes_of(tmp_path)
        stopped = time.monotonic()
        raise KeyboardInterrupt

    job = Job(examples=tuple(EXAMPLES), base=base, settings=replace(SETTINGS, max_steps=5000), directory=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_job(job, num_gpus=0, on_event=interrupt)
    assert time.monotonic() - stopped < 2
    assert processes_of(tmp_path) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's death signal is Linux's")
def test_a_job_dies_with_its_parent(base: BaseModel, tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_steps=5000)
    job = Job(examples=tuple(EXAMPLES), base=base, settings=settings, directory=tmp_path / "run").write()
    code = (
        "from pathlib import Path; from lema_local.training.job import Job, run_job\n"
        f"run_job(Job.read(Path({str(job)!r})), num_gpus=0, on_event=lambda event: print(event, flush=True))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while processes_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(tmp_path) == []


def test_a_job_file_is_read_back_as_written(base: BaseModel, tmp_path: Path) -> None:
    job = Job(examples=tuple(EXAMPLES), base=base, settings=SETTINGS, directory=tmp_path, cache=tmp_path / "cache")
    assert Job.read(job.write()) == job


@pytest.mark.parametrize("line", ["{", '{"prompt": "x"}', '{"prompt": "x", "output": 3}', "[]"])
def test_a_bad_line_of_examples_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "examples.jsonl").write_text('{"prompt": "p", "output": "o"}\n' + line + "\n")
    with pytest.raises(DataError, match=r"examples\.jsonl:2"):
        read_examples(tmp_path / "examples.jsonl")
