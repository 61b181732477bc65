"""A training set as a database holds it: an arm that was built, with every text, from the file alone.

Neither the problem files nor the models that it came from need to be at hand:

    recorded_set(Store(Path("study.duckdb")), "lema")        # by its arm, where one training set is of this arm
    recorded_set(Store(Path("study.duckdb")), "5edb3e05")    # by the beginning of its id
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lema_local.errors import StoreError, TrainingError
from lema_local.examples.arms import training_set_id
from lema_local.prompts import is_alpaca
from lema_local.records.store import Store, stage_sql
from lema_local.records.types import Example, TrainingSet
from lema_local.settings.chat import ChatFrame
from lema_local.stages.build import Built
from lema_local.stages.run import Experiment
from lema_local.stages.student import student_frame, student_prompt

_MOST_REPEATS = 1_000  # of one example: a manifest from elsewhere takes no more memory than its texts can bear
_ID = re.compile(r"[0-9a-f][0-9a-f-]{3,35}")


def recorded_set(store: Store, name: str, *, whole: bool = False) -> Built:
    """The training set of this id (its first four characters, or more) or of this arm, its examples by id.

    A database may hold a part of a set, as examples/sample.duckdb does: `is_part` tells. StoreError where there is no
    such set or more than one; where its texts are not those that its id was made from; with `whole`, of a part.
    """
    found = _find(store, name)
    linked = [Example(**row) for row in store.rows(stage_sql("recorded_examples"), id=found["id"])]
    repeats = _manifest(found).get("repeats", {})  # examples/arms.py: how often beside the first time
    examples = tuple(e for e in linked for _ in range(1 + min(repeats.get(e.id, 0), _MOST_REPEATS)))
    built = Built(
        TrainingSet(
            id=found["id"],
            arm=found["arm"],
            dataset=found["dataset"],
            seed=found["seed"],
            cot_examples=found["cot_examples"],
            correction_examples=found["correction_examples"],
            manifest=found["manifest"],
            example_ids=tuple(example.id for example in examples),
        ),
        examples,
    )
    known = built.training_set
    if not examples:
        raise StoreError(f"{store.path} holds no example of training set {known.id} ({known.arm}).")
    if is_part(built):
        if whole:
            raise StoreError(
                f"{store.path} holds {len(examples)} of the {size_of(built)} examples of training set {known.id}: only "
                "a whole one trains. Take the database that it was built in."
            )
    elif training_set_id(known.arm, known.seed, known.example_ids) != known.id:
        raise StoreError(f"The examples of training set {known.id} in {store.path} are not those that it was built of.")
    return built


def recorded_sets(experiment: Experiment, names: Sequence[str], *, with_frame: bool = True) -> list[Built]:
    """The whole training sets of these names, as they train. TrainingError for two of one arm; StoreError as
    recorded_set raises it, and for texts that have another input than the student trains and is evaluated by (without
    `with_frame` its chat frame, which the model's tokenizer has, is not asked for)."""
    found = [recorded_set(experiment.store, name, whole=True) for name in names]
    for built in found:
        _refuse_other_input(experiment, built, with_frame=with_frame)
    if len({built.training_set.arm for built in found}) < len(found):
        raise TrainingError("Of each arm one training set trains at a time: give --training-set one of each.")
    return found


def recorded_questions(store: Store, names: Sequence[str]) -> frozenset[str]:
    """The questions that the training sets of these names have examples of. StoreError as recorded_set raises it."""
    ids = [_find(store, name)["id"] for name in names]
    return frozenset(row["question"] for id_ in ids for row in store.rows(stage_sql("recorded_questions"), id=id_))


def _refuse_other_input(experiment: Experiment, built: Built, *, with_frame: bool) -> None:
    wanted, prompt = student_prompt(experiment), built.examples[0].prompt
    frame = student_frame(experiment) if with_frame else None
    chat = json.loads(built.training_set.manifest).get("chat")
    found = "chat" if chat else "alpaca" if is_alpaca(prompt) else "cot"
    if found != wanted or (frame is not None and (asdict(frame) != chat or not frame.holds(prompt))):
        which = "another chat template" if found == wanted else f'the input "{found}"'
        raise StoreError(
            f"Training set {built.training_set.id} ({built.training_set.arm}) has {which}, the student has "
            f'"{wanted}": set prompt of [endpoints.student], or export the set and train elsewhere.'
        )


def is_part(built: Built) -> bool:
    """Whether the database holds fewer of its examples than it was built of."""
    return len(built.examples) < size_of(built)


def size_of(built: Built) -> int:
    """How many examples it was built of."""
    return built.training_set.cot_examples + built.training_set.correction_examples


def is_recorded(db: Path, arm: str) -> bool:
    """Whether there is a database that holds a training set of this arm."""
    return db.exists() and bool(Store(db).rows("select 1 as one from training_set where arm = $arm limit 1", arm=arm))


def _manifest(row: Mapping[str, Any]) -> dict[str, Any]:
    """How a set was put together, as far as its data card tells it; it may have been written by anybody."""
    try:
        manifest = json.loads(row["manifest"])
        counts = [manifest[name] for name in ("examples", "cot", "corrections", "reference_derived", "seed")]
        counts += [*manifest["sources"].values(), *manifest["left_out"].values(), *manifest.get("repeats", {}).values()]
        counts += [manifest["tokens"][name] for name in ("prompt", "output", "longest_prompt", "longest_output")]
        is_sound = all(type(count) is int for count in counts)
        if "chat" in manifest:
            is_sound &= all(type(text) is str for text in asdict(ChatFrame(**manifest["chat"])).values())
        is_sound &= (manifest["training_set"], manifest["arm"]) == (row["id"], row["arm"])
    except (ValueError, KeyError, TypeError, AttributeError):
        is_sound = False
    if not is_sound:
        raise StoreError(f"The manifest of training set {row['id']} is none that lema wrote: build the arm anew.")
    return manifest  # type: ignore[no-any-return]


def _find(store: Store, name: str) -> dict[str, Any]:
    rows = store.rows("from training_set order by arm, dataset, seed, id")
    prefix = name.strip().lower()
    found = [row for row in rows if row["arm"] == name]
    if not found and _ID.fullmatch(prefix):
        found = [row for row in rows if row["id"].startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if not found:
        arms = ", ".join(dict.fromkeys(row["arm"] for row in rows)) or "none: `lema data` builds them"
        raise StoreError(f"{store.path} has no training set {name}: give the id or the arm of one ({arms}).")
    some = ", ".join(f"{row['id'][:8]} ({row['arm']} of {row['dataset']}, {_size(row)})" for row in found[:5])
    more = ", ..." if len(found) > 5 else ""
    raise StoreError(f"{store.path} has {len(found)} training sets {name}: give the id of one: {some}{more}.")


def _size(row: dict[str, Any]) -> str:
    return f"{row['cot_examples']} CoT + {row['correction_examples']} corrections"
