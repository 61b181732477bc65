"""The problems of a profile: generated, read from a path or fetched from the Hub, then recorded. Train and test are
kept apart."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lema_local import gsm_symbolic
from lema_local.errors import DataError
from lema_local.problems import BadRow, fetch_from_hub, read_problems
from lema_local.profiles import DataProfile
from lema_local.records import Problem
from lema_local.store import Writer

BAD_ROWS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ProblemSet:
    """Train problems are sampled, corrected and trained on; test problems are only evaluated."""

    train: tuple[Problem, ...]
    test: tuple[Problem, ...]


def load_problems(data: DataProfile, store: Writer, notice: Callable[[str], None]) -> ProblemSet:
    """The problems of a profile, with the new ones added to the store. Train problems that stand in the test split
    are left out."""
    only_file = _only_file(data)
    if only_file is not None:
        train, test = _hold_out(only_file, data, notice)
    else:
        train, test = (_load(data, split, notice) for split in ("train", "test"))
    asked = {problem.question for problem in test}
    kept = tuple(problem for problem in train if problem.question not in asked)
    if len(kept) < len(train):
        notice(f"{len(train) - len(kept)} train problems left out: the test split has them too.")
    if not kept and train:
        raise DataError(f"Every train problem of {data.dataset} is in its test split too: give another --data-path.")
    new = store.missing("problem", [problem.id for problem in (*kept, *test)])
    for problem in (*kept, *test):
        if problem.id in new:
            store.add(problem)
    store.merge()
    return ProblemSet(kept, test)


def _load(data: DataProfile, split: str, notice: Callable[[str], None]) -> tuple[Problem, ...]:
    count = data.train_problems if split == "train" else data.test_problems
    path = data.train_path if split == "train" else data.test_path
    if data.dataset == "gsm-symbolic" and path is None:
        if count is None:
            raise DataError(
                "gsm-symbolic is generated: say how many with train_problems and test_problems, or --limit."
            )
        return gsm_symbolic.generate(
            "train" if split == "train" else "test", count=count, seed=data.seed, templates=data.templates
        )
    file = _split_path(Path(path), split) if path else None
    if file is None and data.train_path is not None:
        file = _split_path(Path(data.train_path), split)
    if file is None:
        file = fetch_from_hub(data.dataset, split)
    loaded = read_problems(file, dataset=data.dataset, split=split, kind=data.kind, limit=count)
    _report(loaded.bad_rows, notice)
    return tuple(replace(problem, split=split) for problem in loaded.problems)


def _only_file(data: DataProfile) -> Path | None:
    """The one file that both splits must come from, if that is all there is."""
    if data.train_path is None or data.test_path is not None or Path(data.train_path).is_dir():
        return None
    return Path(data.train_path)


def _hold_out(
    file: Path, data: DataProfile, notice: Callable[[str], None]
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Split one file by seed: test_problems of it (a fifth where none are named) are held out for evaluation."""
    loaded = read_problems(file, dataset=data.dataset, split="train", kind=data.kind)
    _report(loaded.bad_rows, notice)
    problems = list(loaded.problems)
    random.Random(data.seed).shuffle(problems)
    held = min(data.test_problems or math.ceil(len(problems) / 5), len(problems) // 2)
    notice(f"{file} is one file: {held} of its {len(problems)} problems are held out for evaluation.")
    test = tuple(replace(problem, split="test") for problem in problems[:held])
    return tuple(problems[held:][: data.train_problems]), test


def _split_path(path: Path, split: str) -> Path:
    """A file is itself; a folder has train.* and test.*."""
    if not path.is_dir():
        return path
    for suffix in ("jsonl", "parquet", "json"):
        if (path / f"{split}.{suffix}").is_file():
            return path / f"{split}.{suffix}"
    raise DataError(f"No {split}.jsonl or {split}.parquet in {path}.")


def _report(bad_rows: tuple[BadRow, ...], notice: Callable[[str], None]) -> None:
    for bad in bad_rows[:BAD_ROWS_SHOWN]:
        notice(f"{bad.file}:{bad.line}: {bad.reason}")
    if len(bad_rows) > BAD_ROWS_SHOWN:
        notice(
            f"... and {len(bad_rows) - BAD_ROWS_SHOWN} more bad rows in {bad_rows[0].file}; list them all: lema "
            f"problems"
        )
    if bad_rows:
        notice(f"{len(bad_rows)} bad rows left out.")
