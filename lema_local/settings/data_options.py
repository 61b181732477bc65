"""What `--dataset`, `--data-path` and `--limit` make of a profile's `[data]`. Pure.

    raw = {"data": {"dataset": "mine", "kind": "choice", "seed": 2}}
    forget_own_data(raw, dataset="gsm8k", data_path=None)    # {"data": {"dataset": "mine", "seed": 2}}
    with_data_options(data, dataset="gsm8k", data_path=None, limit=4)

What is forgotten are words of the profile, before `--set`: that speaks of the data which the options name.
"""

from dataclasses import replace
from typing import Any

from lema_local.errors import ProfileError
from lema_local.settings.tables import DataProfile

_OF_DATASET = ("templates", "train_path", "test_path", "kind", "hub", "revision", "files", "fields")
_OF_PATH = ("templates", "test_path", "train_problems", "test_problems")


def forget_own_data(raw: dict[str, Any], *, dataset: str | None, data_path: str | None) -> dict[str, Any]:
    """A profile as parsed, without what in its `[data]` belongs to its own data set or files, where others are
    named."""
    data = raw.get("data")
    if not isinstance(data, dict):
        return raw
    of_dataset = _OF_DATASET if dataset not in (None, data.get("dataset")) else ()
    forgotten = {*of_dataset, *(() if data_path is None else _OF_PATH)}
    return raw | {"data": {key: value for key, value in data.items() if key not in forgotten}}


def with_data_options(
    data: DataProfile, *, dataset: str | None, data_path: str | None, limit: int | None
) -> DataProfile:
    """The data as the options have them. Raises ProfileError for a path of generated problems and a limit below 1."""
    if dataset is not None:
        data = replace(data, dataset=dataset)
    if data_path is not None:
        if data.dataset == "gsm-symbolic":
            raise ProfileError("gsm-symbolic is generated: name your own problems too, --dataset NAME.")
        data = replace(data, train_path=data_path)
    if limit is not None:
        if limit < 1:
            raise ProfileError("--limit must be 1 or more.")
        counts = (data.train_problems, data.test_problems)
        train, test = (limit if count is None else min(count, limit) for count in counts)
        data = replace(data, train_problems=train, test_problems=test)
    return data
