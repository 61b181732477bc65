"""Checkpoint directories: written aside, sealed by a COMPLETE marker, renamed; without it they do not exist.

    RUN/step-000020/COMPLETE                                                               (removed: --keep 2)
    RUN/step-000040/COMPLETE  adapter_model.safetensors  adapter_config.json  optimizer.pt  rng_state.pth  ...
    RUN/step-000060/COMPLETE  adapter_model.safetensors  adapter_config.json  optimizer.pt  rng_state.pth  ...

COMPLETE is JSON with the hash and size of every file, and what the database wants to know:

    {"step": 40, "loss": 0.21, "tokens_seen": 35210, "samples_seen": 320, "run": "9f2c...", "is_resumable": true,
     "files": {"adapter_model.safetensors": ["e3b0c4...", 78188856], ...}}

Only the newest two keep the trainer's state (optimizer, scheduler, RNG: twice the adapter's size and more): one to go
on from, and one in case that one turns out broken. Older ones are adapters alone; or, where all weights were trained,
whole models (config.json, model.safetensors or its parts, tokenizer). Where the user bounds how many are kept, of the
oldest the marker alone stays, with `"is_removed": true`: the step was done, its weights are gone.
"""

import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from lema_local.errors import TrainingError
from lema_local.records.keys import file_sha256

COMPLETE = "COMPLETE"
PARTIAL = ".partial"  # where the Trainer writes
RESUMABLE = 2  # so many checkpoints keep the trainer's state
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
_MODEL_CONFIG = "config.json"  # of a whole model; its weights are one safetensors file or several
_UNWANTED_FILES = ("README.md", "training_args.bin")  # peft's empty model card; a pickle of the arguments
# What the Trainer saves beside the adapter to go on.
_STATE = re.compile(r"(optimizer|scheduler|scaler|rng_state|trainer_state|pytorch_model_fsdp)")
_STEP = re.compile(r"step-(\d{6,})")

Files = dict[str, tuple[str, int]]  # name -> SHA-256, size
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A whole adapter on disk. `loss` is the mean training loss (nats per output token) since the checkpoint before."""

    step: int
    path: Path
    loss: float
    tokens_seen: int  # of rows, without padding
    samples_seen: int


@dataclass(frozen=True, slots=True)
class Marker:
    """What a COMPLETE file says."""

    saved: SavedCheckpoint
    run: str
    is_resumable: bool
    files: Files
    is_removed: bool = False


@dataclass(frozen=True, slots=True)
class Survey:
    """The checkpoint directories of a run directory, by step: those that are whole, and what is wrong with the rest."""

    whole: tuple[Marker, ...]
    broken: tuple[tuple[Path, str], ...]

    def of(self, run: str) -> list[SavedCheckpoint]:
        """The checkpoints that a run wrote (settings, base and data the same), those since removed included."""
        return [marker.saved for marker in self.whole if marker.run == run]

    def resumable(self, run: str, *, before: int) -> SavedCheckpoint | None:
        """The latest of the run that still has its optimizer and RNG state, of a step under `before`.

        `before` is the first step whose checkpoint is wanted and not there: from a later one it would not be made.
        """
        states = [marker.saved for marker in self.whole if marker.run == run and marker.is_resumable]
        return next((saved for saved in reversed(states) if saved.step < before), None)


def survey(directory: Path, *, verify: bool = True) -> Survey:
    """Reads every marker in `directory` and, unless `verify` is False, every file that it names, for its SHA-256.

    Broken is what was read and differs, or is gone. TrainingError where something cannot be read.
    """
    whole, broken = [], []
    for path in _steps(directory):
        marker = _read_marker(path)
        if marker is None:
            broken.append((path, f"has no valid {COMPLETE} marker"))
        elif not (_has_sums if verify else _has_sizes)(path, marker.files):
            broken.append((path, "does not match its checksums" if verify else "lacks a file"))
        else:
            whole.append(marker)
    return Survey(tuple(whole), tuple(broken))


def checkpoint_path(directory: Path, step: int) -> Path:
    """The directory of a step's checkpoint, `directory/step-000020`."""
    return directory / f"step-{step:06d}"


def find_checkpoints(directory: Path, *, run: str | None = None) -> list[SavedCheckpoint]:
    """The complete checkpoints in `directory`, by step: marker present, every file there with its size and SHA-256.

    With `run`, only those that this run wrote (settings, base and data the same).
    """
    return [marker.saved for marker in survey(directory).whole if run in (None, marker.run)]


def has_adapter(path: Path) -> bool:
    """Whether a checkpoint has its marker, and its adapter's files their sizes: a look that reads no weights."""
    marker = _read_marker(path)
    return marker is not None and not marker.is_removed and _has_sizes(path, _weights_of(marker))


def is_whole_model(path: Path) -> bool:
    """Whether a checkpoint holds a model of its own (full fine-tuning), and no adapter."""
    return (path / _MODEL_CONFIG).is_file()


def is_removed(path: Path) -> bool:
    """Whether a checkpoint was whole once and its weights were removed to bound the disk."""
    marker = _read_marker(path)
    return marker is not None and marker.is_removed


def refuse_damaged(path: Path) -> None:
    """TrainingError where an adapter is not what was written. Its marker goes, so that training makes it anew; it stays
    where a file cannot be read."""
    marker = _read_marker(path)
    if marker is None or marker.is_removed or not _has_sums(path, _weights_of(marker)):
        (path / COMPLETE).unlink(missing_ok=True)
        raise TrainingError(f"The checkpoint {path} is damaged or gone: `lema train` makes it anew.")


def serving_files(path: Path) -> list[str]:
    """The files of a whole checkpoint that serve: the adapter, or the whole model with its tokenizer."""
    marker = _read_marker(path)
    return [] if marker is None else sorted(_weights_of(marker))


def seal(
    partial: Path, directory: Path, *, saved: SavedCheckpoint, run: str, keep: int | None = None
) -> SavedCheckpoint:
    """Makes `partial` the checkpoint of its step: hashes, marker last, rename; then frees what the older hold.

    `saved.path` is where it ends up. One that is there already, as its run passes by on the way to a missing one, keeps
    its weights, for they may have been evaluated, and gets the state to go on from. Returns what stands there. Killed
    at any moment, either the old state or the new one is whole.
    """
    there = _read_marker(saved.path)
    is_passed = there is not None and not there.is_removed and there.run == run
    for path in list(partial.iterdir()):
        if path.name in _UNWANTED_FILES or (is_passed and _STATE.match(path.name) is None):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    files = {
        file.relative_to(partial).as_posix(): (file_sha256(file), file.stat().st_size)
        for file in sorted(partial.rglob("*"))
        if file.is_file() and file.name != COMPLETE
    }
    for file in files:
        _fsync(partial / file)
    if there is not None and is_passed:
        saved = there.saved
        _add_state(partial, replace(there, is_resumable=True, files=_weights_of(there) | files))
    else:
        _write_marker(partial, Marker(saved, run, True, files))
        if saved.path.exists():  # a broken one that could not be removed before, or one whose weights were removed
            shutil.rmtree(saved.path)
        partial.rename(saved.path)
    _fsync(directory)
    # those that are newer lost one before them: what this one holds is to go on from, until the last of these is there
    whole = survey(directory, verify=False).whole
    _release([marker for marker in whole if marker.saved.step <= saved.step], keep)
    if keep is not None:
        bound(directory, keep=keep, until=saved.step)
    return saved


def _add_state(partial: Path, marker: Marker) -> None:
    # marker last: killed in between, the files are extra, not missing; tidy() removes them at the next start
    for path in list(partial.iterdir()):
        target = marker.saved.path / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)
    _write_marker(marker.saved.path, marker)
    partial.rmdir()


def bound(directory: Path, *, keep: int, until: int | None = None) -> list[int]:
    """Removes the weights of all but the newest `keep` checkpoints (up to the step `until`); returns their steps."""
    there = [m for m in survey(directory, verify=False).whole if not m.is_removed]
    there = [m for m in there if until is None or m.saved.step <= until]
    for marker in there[:-keep]:
        _trim(replace(marker, is_resumable=False, files={}, is_removed=True))
    return [marker.saved.step for marker in there[:-keep]]


def tidy(directory: Path, *, keep: int | None = None, verify: bool = True, wanted: Collection[int] = ()) -> list[str]:
    """Removes what interrupted saves left: half-written and broken checkpoint directories, files that no marker lists.

    The newest keep the state to go on from; where a step that is `wanted` is missing, so do the newest before it.
    Returns a line for people about each broken one. `verify` reads every file for its SHA-256. TrainingError where
    something cannot be read; then nothing was removed.
    """
    found = survey(directory, verify=verify)
    shutil.rmtree(directory / PARTIAL, ignore_errors=True)
    for path, _ in found.broken:
        shutil.rmtree(path, ignore_errors=True)
    for marker in found.whole:
        _remove_unlisted(marker)
    first = min(set(wanted) - {marker.saved.step for marker in found.whole}, default=0)
    for is_before in (True, False):
        _release([marker for marker in found.whole if (marker.saved.step < first) == is_before], keep)
    return [f"The checkpoint {path} {reason}: it is passed over and made anew." for path, reason in found.broken]


def _release(markers: Sequence[Marker], keep: int | None) -> None:
    """The trainer's state goes from all but the newest that may keep it."""
    states = [marker for marker in markers if marker.is_resumable]
    for marker in states[: -min(RESUMABLE, keep or RESUMABLE)]:
        _trim(replace(marker, is_resumable=False, files=_weights_of(marker)))


def _steps(directory: Path) -> Iterator[Path]:
    paths = [directory / name for name in _read(directory, os.listdir) or () if _STEP.fullmatch(name)]
    yield from sorted(filter(_is_folder, paths), key=lambda path: int(path.name.removeprefix("step-")))


def _read(path: Path, read: Callable[[Path], _T]) -> _T | None:
    """What `read` makes of a path; None where it is gone. TrainingError where it cannot be read: a stale handle, a disk
    that is away or too many open files pass, and say nothing of what was written."""
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        why = error.strerror or error
        raise TrainingError(f"Cannot read {path} ({why}): nothing was removed. Make it readable, run again.") from error


def _is_folder(path: Path) -> bool:
    status = _read(path, Path.stat)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _has_sizes(path: Path, files: Files) -> bool:
    return all(_read(path / name, _size) == size for name, (_, size) in files.items())


def _size(path: Path) -> int:
    return path.stat().st_size


def _has_sums(path: Path, files: Files) -> bool:
    return _has_sizes(path, files) and all(_read(path / name, file_sha256) == sum_ for name, (sum_, _) in files.items())


def _weights_of(marker: Marker) -> Files:
    """What serves: the adapter, or the whole model with its tokenizer; all but the trainer's state."""
    return {name: entry for name, entry in marker.files.items() if _STATE.match(name) is None}


def _has_weights(files: Files) -> bool:
    if _MODEL_CONFIG in files:
        return any(name.endswith(".safetensors") for name in files)
    return all(name in files for name in ADAPTER_FILES)


def _read_marker(path: Path) -> Marker | None:
    text = _read(path / COMPLETE, Path.read_bytes)
    if text is None:
        return None
    try:
        fields = json.loads(text)
        saved = SavedCheckpoint(
            step=int(fields["step"]),
            path=path,
            loss=float(fields["loss"]),
            tokens_seen=int(fields["tokens_seen"]),
            samples_seen=int(fields["samples_seen"]),
        )
        files = {str(name): (str(sha256), int(size)) for name, (sha256, size) in fields["files"].items()}
        is_gone = bool(fields.get("is_removed", False))
        marker = Marker(saved, str(fields["run"]), bool(fields["is_resumable"]), files, is_gone)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    is_whole = checkpoint_path(path.parent, saved.step) == path and (is_gone or _has_weights(files))
    return marker if is_whole else None


def _write_marker(path: Path, marker: Marker) -> None:
    fields = {
        "step": marker.saved.step,
        "loss": marker.saved.loss,
        "tokens_seen": marker.saved.tokens_seen,
        "samples_seen": marker.saved.samples_seen,
        "run": marker.run,
        "is_resumable": marker.is_resumable,
        "files": marker.files,
        **({"is_removed": True} if marker.is_removed else {}),
    }
    temporary = path / f".{COMPLETE}"
    temporary.write_text(json.dumps(fields, indent=1) + "\n")
    _fsync(temporary)
    temporary.replace(path / COMPLETE)


def _trim(marker: Marker) -> None:
    # Marker first: killed in between, the files are extra, not missing; tidy() removes them at the next start.
    _write_marker(marker.saved.path, marker)
    _remove_unlisted(marker)


def _remove_unlisted(marker: Marker) -> None:
    """Files of the trainer's state that the marker does not list; where the weights were removed, all files."""
    for path in list(marker.saved.path.iterdir()):
        listed = path.name == COMPLETE or any(
            name == path.name or name.startswith(f"{path.name}/") for name in marker.files
        )
        if not listed and (marker.is_removed or _STATE.match(path.name)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    if os.name == "nt":  # directories cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
