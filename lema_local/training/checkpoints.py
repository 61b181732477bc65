"""Checkpoint directories: written aside, sealed by a COMPLETE marker, renamed; without it they do not exist.

    RUN/step-000020/adapter_model.safetensors  adapter_config.json  COMPLETE
    RUN/step-000040/adapter_model.safetensors  adapter_config.json  COMPLETE  optimizer.pt  rng_state.pth  ...

COMPLETE is JSON with the hash and size of every file, and what the database wants to know:

    {"step": 40, "loss": 0.21, "tokens_seen": 35210, "samples_seen": 320, "run": "9f2c...", "is_resumable": true,
     "files": {"adapter_model.safetensors": ["e3b0c4...", 78188856], ...}}

Only the newest keeps the trainer's state (optimizer, scheduler, RNG: twice the adapter's size and more). Older ones are
adapters alone; or, where all weights were trained, whole models (config.json, weights, tokenizer).
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lema_local.errors import TrainingError
from lema_local.keys import file_sha256

COMPLETE = "COMPLETE"
PARTIAL = ".partial"  # where the Trainer writes
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
_MODEL_CONFIG = "config.json"  # of a whole model; its weights are one safetensors file or several
_UNWANTED_FILES = ("README.md", "training_args.bin")  # peft's empty model card; a pickle of the arguments
# What the Trainer saves beside the adapter to go on.
_STATE = re.compile(r"(optimizer|scheduler|scaler|rng_state|trainer_state|pytorch_model_fsdp)")
_STEP = re.compile(r"step-(\d{6,})")

Files = dict[str, tuple[str, int]]  # name -> SHA-256, size

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A whole adapter on disk. `loss` is the mean training loss (nats per output token) since the checkpoint before."""

    step: int
    path: Path
    loss: float
    tokens_seen: int  # of rows, without padding
    samples_seen: int


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Where a run stands after a step. `loss` is that step's mean in nats per output token."""

    step: int
    max_steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class _Marker:
    saved: SavedCheckpoint
    run: str
    is_resumable: bool
    files: Files


def checkpoint_path(directory: Path, step: int) -> Path:
    """The directory of a step's checkpoint, `directory/step-000020`."""
    return directory / f"step-{step:06d}"


def find_checkpoints(directory: Path, *, run: str | None = None) -> list[SavedCheckpoint]:
    """The complete checkpoints in `directory`, by step: marker present, every file there with its size and SHA-256.

    With `run`, only those that this run wrote (settings, base and data the same). Broken ones are named in the log.
    """
    return [marker.saved for marker in _complete(directory) if run in (None, marker.run)]


def find_resumable(directory: Path, *, run: str, before: int) -> SavedCheckpoint | None:
    """The latest complete checkpoint of the run that still has its optimizer and RNG state, of a step under `before`.

    `before` is the first step whose checkpoint is wanted and not there: from a later one it would not be made again.
    """
    found = [marker.saved for marker in _complete(directory) if marker.run == run and marker.is_resumable]
    return next((saved for saved in reversed(found) if saved.step < before), None)


def has_adapter(path: Path) -> bool:
    """Whether a checkpoint has its marker, and its adapter's files their sizes: a look that reads no weights."""
    marker = _read_marker(path)
    return marker is not None and _has_sizes(path, _weights_of(marker))


def refuse_damaged(path: Path) -> None:
    """TrainingError where an adapter is not what was written. Its marker goes, so that training makes it anew."""
    marker = _read_marker(path)
    if marker is None or not _has_sums(path, _weights_of(marker)):
        (path / COMPLETE).unlink(missing_ok=True)
        raise TrainingError(f"The checkpoint {path} is damaged or gone: `lema train` makes it anew.")


def seal(partial: Path, directory: Path, *, saved: SavedCheckpoint, run: str) -> None:
    """Makes `partial` the checkpoint of its step: hashes, marker last, rename; then frees the older ones' state.

    `saved.path` is where it ends up. Killed at any moment, either the old state or the new one is whole.
    """
    for name in _UNWANTED_FILES:
        (partial / name).unlink(missing_ok=True)
    files = {
        file.relative_to(partial).as_posix(): (file_sha256(file), file.stat().st_size)
        for file in sorted(partial.rglob("*"))
        if file.is_file() and file.name != COMPLETE
    }
    for file in files:
        _fsync(partial / file)
    _write_marker(partial, _Marker(saved, run, True, files))
    if saved.path.exists():  # a broken one, or an adapter whose later checkpoints were lost
        shutil.rmtree(saved.path)
    partial.rename(saved.path)
    _fsync(directory)
    for marker in _complete(directory, verify=False):
        if marker.is_resumable and marker.saved.step < saved.step:
            _drop_state(marker)


def tidy(directory: Path) -> None:
    """Removes what interrupted saves left: half-written and broken checkpoint directories, state no marker lists."""
    shutil.rmtree(directory / PARTIAL, ignore_errors=True)
    whole = {marker.saved.path: marker for marker in _complete(directory)}
    for path in list(directory.iterdir()) if directory.is_dir() else []:
        if _STEP.fullmatch(path.name) is None or not path.is_dir():
            continue
        if path not in whole:
            logger.warning("checkpoint %s is not whole: removed", path)
            shutil.rmtree(path, ignore_errors=True)
        else:
            _remove_unlisted_state(whole[path])


def _complete(directory: Path, *, verify: bool = True) -> Iterator[_Marker]:
    names = sorted(path for path in directory.glob("step-*") if _STEP.fullmatch(path.name) and path.is_dir())
    for path in sorted(names, key=lambda path: int(path.name.removeprefix("step-"))):
        marker = _read_marker(path)
        if marker is None:
            logger.warning("checkpoint %s has no valid %s marker: passed over", path, COMPLETE)
        elif verify and not _has_sums(path, marker.files):
            logger.warning("checkpoint %s does not match its checksums: passed over", path)
        else:
            yield marker


def _has_sizes(path: Path, files: Files) -> bool:
    try:
        return all((path / name).stat().st_size == size for name, (_, size) in files.items())
    except OSError:
        return False


def _has_sums(path: Path, files: Files) -> bool:
    try:
        return _has_sizes(path, files) and all(file_sha256(path / name) == sum_ for name, (sum_, _) in files.items())
    except OSError:
        return False


def _weights_of(marker: _Marker) -> Files:
    """What serves: the adapter, or the whole model with its tokenizer; all but the trainer's state."""
    return {name: entry for name, entry in marker.files.items() if _STATE.match(name) is None}


def _has_weights(files: Files) -> bool:
    if _MODEL_CONFIG in files:
        return any(name.endswith(".safetensors") for name in files)
    return all(name in files for name in ADAPTER_FILES)


def _read_marker(path: Path) -> _Marker | None:
    try:
        fields = json.loads((path / COMPLETE).read_text())
        saved = SavedCheckpoint(
            step=int(fields["step"]),
            path=path,
            loss=float(fields["loss"]),
            tokens_seen=int(fields["tokens_seen"]),
            samples_seen=int(fields["samples_seen"]),
        )
        files = {str(name): (str(sha256), int(size)) for name, (sha256, size) in fields["files"].items()}
        marker = _Marker(saved, str(fields["run"]), bool(fields["is_resumable"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    is_whole = checkpoint_path(path.parent, saved.step) == path and _has_weights(files)
    return marker if is_whole else None


def _write_marker(path: Path, marker: _Marker) -> None:
    fields = {
        "step": marker.saved.step,
        "loss": marker.saved.loss,
        "tokens_seen": marker.saved.tokens_seen,
        "samples_seen": marker.saved.samples_seen,
        "run": marker.run,
        "is_resumable": marker.is_resumable,
        "files": marker.files,
    }
    temporary = path / f".{COMPLETE}"
    temporary.write_text(json.dumps(fields, indent=1) + "\n")
    _fsync(temporary)
    temporary.replace(path / COMPLETE)


def _drop_state(marker: _Marker) -> None:
    # Marker first: killed in between, the files are extra, not missing; tidy() removes them at the next start.
    trimmed = _Marker(marker.saved, marker.run, False, _weights_of(marker))
    _write_marker(marker.saved.path, trimmed)
    _remove_unlisted_state(trimmed)


def _remove_unlisted_state(marker: _Marker) -> None:
    for path in list(marker.saved.path.iterdir()):
        listed = any(name == path.name or name.startswith(f"{path.name}/") for name in marker.files)
        if _STATE.match(path.name) and not listed:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    if os.name == "nt":  # directories cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
