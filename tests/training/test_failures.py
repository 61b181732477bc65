"""What stops a training run is one line that says what to do, and no checkpoint is lost by it."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from needs import needs
from tiny_model import tiny_tokenizer
from training_process import run_until
from training_runs import EXAMPLES, SETTINGS, assert_same_end, run, weights

from lema_local.errors import TrainingError
from lema_local.training.base import BaseModel
from lema_local.training.checkpoints import SavedCheckpoint, find_checkpoints
from lema_local.training.failures import out_of_memory, smaller_batch
from lema_local.training.job import Job, _reason
from lema_local.training.metrics import StepProgress
from lema_local.training.watch import checkpoint_bytes

pytestmark = [needs("torch", "peft", "bitsandbytes"), pytest.mark.usefixtures("quick_python")]

HUB = {  # repository -> status and the Hub's own code for it
    "closed/gated": (403, "GatedRepo"),
    "closed/gated-to-strangers": (401, "GatedRepo"),
    "nobody/missing": (404, "RepoNotFound"),
    "nobody/missing-or-private": (401, "RepoNotFound"),
    "closed/forbidden": (403, ""),
}


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does for repositories that it does not give; hangs up on all others."""

    def do_GET(self) -> None:
        name = next((name for name in HUB if f"/{name}/" in f"{self.path}/"), None)
        if name is None:
            self.close_connection = True
            return
        status, code = HUB[name]
        self.send_response(status)
        if code:
            self.send_header("x-error-code", code)
        self.send_header("content-length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 (the name is the base class's)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        """Silent."""


@pytest.fixture(scope="module")
def hub() -> Iterator[None]:
    """Where the processes of `quick_python` look for the Hub."""
    http = ThreadingHTTPServer(("127.0.0.1", int(os.environ["LEMA_TESTS_HUB_PORT"])), Hub)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield
    http.shutdown()
    http.server_close()


@pytest.fixture(scope="module")
def uninterrupted(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> list[SavedCheckpoint]:
    return run(base, tmp_path_factory.mktemp("uninterrupted"))


def fails(job: Job, **at: object) -> str:
    """The line that the job's process ends with."""
    code = run_until(job.write(), **at)  # type: ignore[arg-type]
    log = job.directory / "training.log"
    said = _reason(code, log, job)
    assert code == 1
    assert log.read_text().count("\n") == 1, log.read_text()
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("closed/gated", "is gated: accept its licence on its Hub page, then `hf auth login` or set HF_TOKEN"),
        ("closed/gated-to-strangers", "is gated: accept its licence"),
        ("nobody/missing", "is not on the Hub, or is private: check the name"),
        ("nobody/missing-or-private", "is not on the Hub, or is private: check the name"),
        ("closed/forbidden", "is refused by the Hub (HTTP 403)"),
        (
            "down/model",
            "is not on this machine, and the Hub is switched off or cannot be reached: go online, or give a folder",
        ),
    ],
)
def test_a_model_that_the_hub_does_not_give_is_one_line(hub: None, tmp_path: Path, name: str, words: str) -> None:
    job = Job(examples=tuple(EXAMPLES), base=BaseModel(name=name, hub_id=name), settings=SETTINGS, directory=tmp_path)
    said = fails(job)
    assert said.startswith(f"The base model {name} ")
    assert words in said


@pytest.mark.slow  # how much an allocator holds in reserve depends on what ran before: run it by itself
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bounds the address space, read from /proc")
def test_memory_that_runs_out_names_the_next_smaller_batch_and_keeps_the_checkpoints(
    base: BaseModel, tmp_path: Path
) -> None:
    """A real allocation fails: address space is bounded in the midst of the run, before its largest batch."""
    short = replace(SETTINGS, group_by_length=False, target_max_length=2048, max_steps=8)
    long = [("Question: 1 + 1\nAnswer:\n", "12 + 7 = 19. " * 300)] * 4
    job = Job(examples=(*EXAMPLES, *long), base=base, settings=short, directory=tmp_path)
    said = fails(job, at={"event": "open", "name": "/.metrics.jsonl", "mode": "w", "count": 1}, then="starve")
    assert said == (
        "Out of memory at training.per_device_batch_size 2: try 1, or training.gradient_checkpointing = true; "
        "training goes on from its last checkpoint."
    )


def test_cuda_memory_that_runs_out_is_the_same_line(base: BaseModel, tmp_path: Path) -> None:
    import torch

    def exhaust(progress: StepProgress) -> None:
        if progress.step == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with pytest.raises(TrainingError, match=r"^Out of memory .* try 1, or .* goes on from its last checkpoint\.$"):
        run(base, tmp_path, on_progress=exhaust)
    assert [saved.step for saved in find_checkpoints(tmp_path)] == [2]
    steps: list[int] = []
    smaller = replace(SETTINGS, per_device_batch_size=1)
    run(base, tmp_path, smaller, on_progress=lambda progress: steps.append(progress.step))
    assert steps == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("whole", "at_once", "processes", "smaller"),
    [(96, 6, 4, 4), (96, 8, 4, 6), (8, 8, 1, 4), (12, 4, 3, 2), (6, 1, 2, None)],
)
def test_the_next_smaller_batch_divides_the_global_one(
    whole: int, at_once: int, processes: int, smaller: int | None
) -> None:
    settings = replace(SETTINGS, global_batch_size=whole, per_device_batch_size=at_once, gradient_checkpointing=True)
    assert smaller_batch(settings, processes) == smaller
    said = out_of_memory(settings, processes=processes)
    assert (f"try {smaller};" if smaller else "a smaller model") in said


def test_the_kernels_kill_for_memory_names_the_next_smaller_batch(base: BaseModel, tmp_path: Path) -> None:
    job = Job(examples=tuple(EXAMPLES), base=base, settings=SETTINGS, directory=tmp_path)
    log = tmp_path / "training.log"
    log.write_text("")
    assert "when memory runs out. Out of memory at training.per_device_batch_size 2: try 1" in _reason(
        -signal.SIGKILL, log, job
    )
    log.write_text("RuntimeError: x\n  traceback : Signal 9 (SIGKILL) received by PID 71\n")  # what a launcher says
    assert "try 1" in _reason(1, log, job, processes=2)


def test_a_disk_without_room_is_named_before_anything_is_written(
    base: BaseModel, uninterrupted: list[SavedCheckpoint], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"^No room for the checkpoint of step 2: .* nothing is trained yet\.$"):
        run(base, tmp_path, free=lambda path: 1000)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["lint.json"]
    free = iter([2**30, 2**30, 1000])  # before the start, before step 2, before step 4
    with pytest.raises(TrainingError, match=r"step 4: it takes 0\.00 GiB .* training goes on from step 2\.$"):
        run(base, tmp_path, free=lambda path: next(free))
    assert [saved.step for saved in find_checkpoints(tmp_path)] == [2]
    assert not (tmp_path / ".partial" / "checkpoint-4").exists()
    assert_same_end(run(base, tmp_path), uninterrupted)


def test_the_room_asked_for_is_what_a_checkpoint_takes(uninterrupted: list[SavedCheckpoint]) -> None:
    trained = sum(array.size for array in weights(uninterrupted[-1]).values())
    taken = sum(file.stat().st_size for file in uninterrupted[-1].path.iterdir())
    assert taken <= checkpoint_bytes(4 * trained, trained) <= taken + 2**20


@contextmanager
def small_disk(folder: Path, *, kilobytes: int) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_stops_between_checkpoints_and_training_goes_on_after(
    base: BaseModel, uninterrupted: list[SavedCheckpoint], tmp_path: Path
) -> None:
    size = sum(file.stat().st_size for file in uninterrupted[-1].path.iterdir()) // 1024
    with small_disk(tmp_path / "disk", kilobytes=2 * size + 1100) as disk:
        with pytest.raises(
            TrainingError, match=r"^No room for the checkpoint of step [46]: .* goes on from step [24]\.$"
        ):
            run(base, disk / "run")
        kept = [saved.step for saved in find_checkpoints(disk / "run")]
        assert kept[-1] in (2, 4)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert_same_end(run(base, disk / "run"), uninterrupted)


def test_a_gradient_that_is_no_number_stops_before_it_is_saved(base: BaseModel, tmp_path: Path) -> None:
    wild = replace(SETTINGS, learning_rate=1e30, max_grad_norm=1e30, save_steps=1)
    with pytest.raises(
        TrainingError, match=r"the checkpoint of step 1 is good and stays\. Lower training\.learning_rate"
    ):
        run(base, tmp_path, wild)
    assert [saved.step for saved in find_checkpoints(tmp_path)] == [1]


def test_the_directory_of_another_base_is_named_and_left_alone(
    base: BaseModel, uninterrupted: list[SavedCheckpoint], tmp_path: Path
) -> None:
    shutil.copytree(uninterrupted[0].path.parent, tmp_path / "run")
    other = replace(base, name="other")
    with pytest.raises(
        TrainingError, match=r"holds the checkpoints of another training run \(over tiny\): move it away"
    ):
        run(other, tmp_path / "run")
    assert len(find_checkpoints(tmp_path / "run")) == 3


def test_without_a_pad_token_padding_is_eos_and_eos_is_still_learned(
    base: BaseModel, uninterrupted: list[SavedCheckpoint], tmp_path: Path
) -> None:
    """Labels go by position: with EOS for padding the weights come out the same, bit for bit."""
    assert base.path is not None
    shutil.copytree(base.path, tmp_path / "padless")
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "padless")
    padless = replace(base, path=tmp_path / "padless")
    assert_same_end(run(padless, tmp_path / "run"), uninterrupted)
