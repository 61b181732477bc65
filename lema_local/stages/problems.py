"""The problems of a profile: generated, read from a path or fetched from the Hub; then recorded. Train and test are
kept apart."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lema_local import gsm_symbolic
from lema_local.errors import DataError
from lema_local.problems import BadRow, Loaded, fetch_from_hub, read_problems
from lema_local.profiles import DataProfile
from lema_local.records import Problem
from lema_local.store import Writer

BAD_ROWS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ProblemSet:
    """Train problems are sampled, corrected and trained on; test problems are only evaluated."""

    train: tuple[Problem, ...]
    test: tuple[Problem, ...]


def load_problems(
    data: DataProfile, notice: Callable[[str], None], *, bad_rows_shown: int = BAD_ROWS_SHOWN
) -> ProblemSet:
    """The problems of a profile. Train problems that stand in the test split too are left out."""
    loaded: dict[str, Loaded] = {}
    if _only_file(data) is None:
        loaded = {split: _load(data, split) for split in ("train", "test")}
        train, test = (loaded[split].problems for split in ("train", "test"))
    else:
        loaded = {
            "train": read_problems(Path(str(data.train_path)), dataset=data.dataset, split="train", kind=data.kind)
        }
        train, test = _hold_out(loaded["train"].problems, data, notice)
    for each in loaded.values():
        _report(each.bad_rows, notice, bad_rows_shown)
    asked = {problem.question for problem in test}
    kept = tuple(problem for problem in train if problem.question not in asked)
    if len(kept) < len(train):
        notice(f"{len(train) - len(kept)} train problems left out: the test split has them too.")
    if not kept or not test:
        raise DataError(f"{data.dataset} gives {len(kept)} train and {len(test)} test problems: both are needed.")
    return ProblemSet(kept, test)


def record_problems(problems: ProblemSet, store: Writer) -> None:
    """Add those that the store does not have yet."""
    everything = (*problems.train, *problems.test)
    new = store.missing("problem", [problem.id for problem in everything])
    for problem in everything:
        if problem.id in new:
            store.add(problem)
    store.merge()


def _load(data: DataProfile, split: str) -> Loaded:
    count = data.train_problems if split == "train" else data.test_problems
    path = data.train_path if split == "train" else data.test_path
    if data.dataset == "gsm-symbolic" and path is None:
        if count is None:
            raise DataError(
                "gsm-symbolic is generated: say how many with train_problems and test_problems, or --limit."
            )
        name: Literal["train", "test"] = "train" if split == "train" else "test"
        return Loaded(gsm_symbolic.generate(name, count=count, seed=data.seed, templates=data.templates), ())
    file = _split_path(Path(path), split) if path else None
    if file is None and data.train_path is not None:
        file = _split_path(Path(data.train_path), split)
    if file is None:
        file = fetch_from_hub(data.dataset, split)
    return read_problems(file, dataset=data.dataset, split=split, kind=data.kind, limit=count)


def _only_file(data: DataProfile) -> Path | None:
    """The one file that both splits must come from, if that is all there is."""
    if data.train_path is None or data.test_path is not None or Path(data.train_path).is_dir():
        return None
    return Path(data.train_path)


def _hold_out(
    problems: tuple[Problem, ...], data: DataProfile, notice: Callable[[str], None]
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Split one file by seed: test_problems of it (a fifth where none are named) are held out for evaluation."""
    shuffled = list(problems)
    random.Random(data.seed).shuffle(shuffled)
    held = min(data.test_problems or math.ceil(len(shuffled) / 5), len(shuffled) // 2)
    notice(f"{data.train_path} is one file: {held} of its {len(shuffled)} problems are held out for evaluation.")
    test = tuple(replace(problem, split="test") for problem in shuffled[:held])
    return tuple(shuffled[held:][: data.train_problems]), test


def _split_path(path: Path, split: str) -> Path:
    """A file is itself; a folder has train.* and test.*."""
    if not path.is_dir():
        return path
    for suffix in ("jsonl", "parquet", "json"):
        if (path / f"{split}.{suffix}").is_file():
            return path / f"{split}.{suffix}"
    raise DataError(f"No {split}.jsonl or {split}.parquet in {path}.")


def _report(bad_rows: tuple[BadRow, ...], notice: Callable[[str], None], shown: int) -> None:
    for bad in bad_rows[:shown]:
        notice(f"{bad.file}:{bad.line}: {bad.reason}")
    if len(bad_rows) > shown:
        notice(f"... and {len(bad_rows) - shown} more in {bad_rows[0].file}; `lema problems` lists them all")
    if bad_rows:
        notice(f"{len(bad_rows)} bad rows left out.")
