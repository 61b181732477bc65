"""The problems of a profile: generated, read from a path or fetched from the Hub; then recorded. Train and test are
kept apart: a train problem that overlaps the test split is neither sampled nor trained on.

    load_split(profile.data, "test", notice)           # one split by itself, with its bad rows
    load_problems(profile.data, notice)                # both, decontaminated
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lema_local.errors import DataError
from lema_local.problems import gsm_symbolic, hub
from lema_local.problems.datasets import Preset, presets
from lema_local.problems.decontamination import LEFT_OUT, Overlap, OverlapKind, leave_out, normal, overlaps
from lema_local.problems.reading import BadRow, Loaded, read_files, read_problems
from lema_local.records.store import Writer
from lema_local.records.types import Problem
from lema_local.settings.tables import DataProfile
from lema_local.stages.dev_split import hold_out, with_spare

BAD_ROWS_SHOWN = 10
Notice = Callable[[str], None]
Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True, slots=True)
class ProblemSet:
    """Train problems are sampled, corrected and trained on; test and dev problems are only evaluated."""

    train: tuple[Problem, ...]
    test: tuple[Problem, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)  # reason -> train problems, for manifests
    dev: tuple[Problem, ...] = ()  # of the train side, never trained on: they choose among checkpoints


def load_problems(
    data: DataProfile, notice: Notice, *, bad_rows_shown: int = BAD_ROWS_SHOWN, dev_problems: int = 0
) -> ProblemSet:
    """The problems of a profile. Train problems that overlap the test split are left out, counted and named.

    `dev_problems` are drawn by seed from the train side: from what `train_problems` leaves over, where that is enough,
    else from all of it. DataError where none would be left to train on.
    """
    whole = data if not dev_problems else with_spare(data, dev_problems)
    loaded = load_splits(whole, SPLITS, notice)
    for split in SPLITS:
        report_bad_rows(loaded[split].bad_rows, notice, bad_rows_shown)
        if "differs" in (loaded[split].published or ""):
            notice(f"{data.dataset} {split} {loaded[split].published}.")
    train, test = (loaded[split].problems for split in SPLITS)
    clean = _decontaminate(train, test, data)[0] if dev_problems else train
    train, dev = hold_out(train, data, dev_problems, clean=clean)
    kept, left_out = train, dict[str, int]()
    for split, held in (("test", test), ("dev", dev)):
        before = len(kept)
        kept, counts = _decontaminate(kept, held, data)
        left_out |= {f"{OVERLAP}{split} split: {kind}": count for kind, count in counts.items()}
        if counts:
            kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items())
            shown = "; `lema problems check` shows them" if split == "test" else ""
            notice(f"{before - len(kept)} train problems left out: they overlap the {split} split ({kinds}){shown}.")
    if not kept or not test:
        raise DataError(f"{data.dataset} gives {len(kept)} train and {len(test)} test problems: both are needed.")
    return ProblemSet(kept, test, left_out, dev)


def load_split(data: DataProfile, split: Split, notice: Notice) -> Loaded:
    """One split by itself. Raises DataError where the data set, or its path, has no such split."""
    return load_splits(data, (split,), notice)[split]


def load_splits(data: DataProfile, splits: tuple[Split, ...], notice: Notice) -> dict[Split, Loaded]:
    """Several splits, without decontamination; one file is read once and cut by seed."""
    preset = presets().get(data.dataset)
    if preset and preset.is_for_evaluation and "train" in splits and data.test_path is None:
        raise DataError(
            f"{data.dataset} is for evaluation and has no train split: train on gsm8k, math, csqa, gsm-symbolic or "
            "problems of your own; `lema problems --split test` reads it."
        )
    one_file = data.train_path is not None and data.test_path is None and not Path(data.train_path).is_dir()
    if one_file and not (preset and preset.is_for_evaluation):
        return _cut(data, notice)
    return {split: _load(data, split, preset) for split in splits}


def find_overlaps(
    data: DataProfile, notice: Notice, *, against: Sequence[tuple[str, Path]] = ()
) -> tuple[tuple[Problem, ...], tuple[Overlap, ...]]:
    """The train problems, and where they overlap the test split, or the test splits of other data sets (name, path)."""
    if not against:
        loaded = load_splits(data, SPLITS, notice)
        return loaded["train"].problems, overlaps(loaded["train"].problems, loaded["test"].problems)
    train = load_split(data, "train", notice).problems
    tests = [read_problems(path, dataset=name, split="test").problems for name, path in against]
    return train, overlaps(train, [problem for problems in tests for problem in problems])


def kinds_left_out(data: DataProfile) -> frozenset[OverlapKind]:
    """The kinds of overlap that keep a train problem out; none for gsm-symbolic, whose splits share templates."""
    return LEFT_OUT if data.decontaminate and data.dataset != gsm_symbolic.DATASET else frozenset()


def record_problems(problems: ProblemSet, store: Writer) -> None:
    """Add those that the store does not have yet."""
    everything = (*problems.train, *problems.test, *problems.dev)
    new = store.missing("problem", [problem.id for problem in everything])
    for problem in everything:
        if problem.id in new:
            store.add(problem)
    store.merge()


def report_bad_rows(bad_rows: tuple[BadRow, ...], notice: Notice, shown: int) -> None:
    """The first of them with file, line and reason, and how many there are."""
    for bad in bad_rows[:shown]:
        notice(f"{bad.file}:{bad.line}: {bad.reason}")
    if len(bad_rows) > shown:
        notice(f"... and {len(bad_rows) - shown} more in {bad_rows[0].file}; `lema problems` lists them all")
    if bad_rows:
        notice(f"{len(bad_rows)} bad rows left out.")


OVERLAP = "train problem that overlaps the "  # test split: near


def _decontaminate(
    train: tuple[Problem, ...], held: tuple[Problem, ...], data: DataProfile
) -> tuple[tuple[Problem, ...], dict[OverlapKind, int]]:
    """The train problems to use, and how many overlap those that are held out, by kind. The same question, white space
    aside, never stays, whatever the switch."""
    asked = {normal(problem.question) for problem in held}
    kept = tuple(problem for problem in train if normal(problem.question) not in asked)
    left_out: Counter[OverlapKind] = Counter({"exact": len(train) - len(kept)})
    if kinds := kinds_left_out(data):
        kept, more = leave_out(kept, overlaps(kept, held), kinds)
        left_out.update(more)
    return kept, {kind: count for kind, count in left_out.items() if count}


def _load(data: DataProfile, split: Split, preset: Preset | None) -> Loaded:
    count = data.train_problems if split == "train" else data.test_problems
    path = data.train_path if split == "train" else data.test_path or data.train_path
    if path is not None:
        return read_problems(
            Path(path), dataset=data.dataset, split=split, kind=data.kind, fields=data.fields, limit=count
        )
    if data.dataset == gsm_symbolic.DATASET:
        if count is None:
            raise DataError(
                "gsm-symbolic is generated: say how many with train_problems and test_problems, or --limit."
            )
        problems = gsm_symbolic.generate(split, count=count, seed=data.seed, templates=data.templates)
        return Loaded(problems, rows=len(problems))
    files = _from_hub(data, split, preset)
    return read_files(files, dataset=data.dataset, split=split, kind=data.kind, fields=data.fields, limit=count)


def _from_hub(data: DataProfile, split: Split, preset: Preset | None) -> tuple[Path, ...]:
    if data.hub is not None:
        names = (data.files or {}).get(split, ())
        if not names:
            raise DataError(f'Say which files of {data.hub} are its {split} split: [data.files] {split} = ["..."].')
        return hub.fetch(data.hub, names, revision=data.revision)
    if preset is None:
        fetched = ", ".join(name for name, known in presets().items() if known.hub)
        raise DataError(
            f"No download is known for {data.dataset!r} (known: {fetched}): give a file with --data-path, or hub and "
            "files in the profile's [data]."
        )
    if preset.hub is None or split not in preset.files:
        raise DataError(f"{data.dataset} cannot be fetched; give it with --data-path. {preset.note}.")
    return hub.fetch(preset.hub, preset.files[split], revision=preset.revision)


def _cut(data: DataProfile, notice: Notice) -> dict[Split, Loaded]:
    """Cut one file by seed: test_problems of it (a fifth where none are named) are held out for evaluation."""
    file = Path(str(data.train_path))
    loaded = read_problems(file, dataset=data.dataset, split="train", kind=data.kind, fields=data.fields)
    shuffled = list(loaded.problems)
    random.Random(data.seed).shuffle(shuffled)
    held = min(data.test_problems or math.ceil(len(shuffled) / 5), len(shuffled) // 2)
    notice(f"{file} is one file: {held} of its {len(shuffled)} problems are held out for evaluation.")
    train = tuple(shuffled[held:][: data.train_problems])
    test = tuple(replace(problem, split="test") for problem in shuffled[:held])
    return {"train": Loaded(train, loaded.bad_rows, len(train)), "test": Loaded(test, rows=len(test))}
