"""A dev split from the train side: it chooses among checkpoints, so that the test split only reports. Pure.

    hold_out(train, data, 40)             # (train problems, 40 dev problems)

Dev problems are never trained on and never test problems. Without dev_problems nothing changes: same problems, same
ids.
"""

import random
from collections.abc import Collection
from dataclasses import replace

from lema_local.errors import DataError
from lema_local.problems import gsm_symbolic
from lema_local.records.types import Problem
from lema_local.settings.tables import DataProfile


def with_spare(data: DataProfile, dev_problems: int) -> DataProfile:
    """The data to load so that dev problems can be drawn: all of the train side, or more that are generated (the same
    ones come first)."""
    if data.train_problems is None:
        return data
    generated = data.dataset == gsm_symbolic.DATASET and data.train_path is None
    return replace(data, train_problems=data.train_problems + dev_problems if generated else None)


def hold_out(
    train: tuple[Problem, ...], data: DataProfile, dev_problems: int, *, clean: Collection[Problem]
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Train problems (at most data.train_problems) and dev problems, which bear the split "dev" and are among `clean`.

    Where train_problems leaves enough over, dev is drawn from that and training is as it was without dev.
    """
    if not dev_problems:
        return train, ()
    if dev_problems >= len(clean):
        raise DataError(
            f"dev_problems = {dev_problems} leaves nothing to train on: {data.dataset} has {len(clean)} train problems"
            f"{'' if len(clean) == len(train) else ' that do not overlap its test split'}."
        )
    usable = {problem.id for problem in clean}
    spare = () if data.train_problems is None else train[data.train_problems :]
    pools = [[problem for problem in side if problem.id in usable] for side in (spare, train)]
    pool = pools[0] if len(pools[0]) >= dev_problems else pools[1]
    chosen = random.Random(f"dev/{data.seed}").sample(pool, dev_problems)
    held = {problem.id for problem in chosen}
    kept = tuple(problem for problem in train if problem.id not in held)[: data.train_problems]
    return kept, tuple(replace(problem, split="dev") for problem in chosen)
