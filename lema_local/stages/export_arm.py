"""Exporting an arm: its examples in the shape that a trainer reads, to one file, or to a folder with its data card."""

import json
from dataclasses import replace
from pathlib import Path

from lema_local.errors import StoreError
from lema_local.examples.pairs import Pairs
from lema_local.examples.shapes import CARD_MARK, CHAT_SHAPES, PAIR_SHAPES, Shape, card, sidecars
from lema_local.records import bulk
from lema_local.records.exports import Form, copy_rows, refuse_own_files, writing_rows
from lema_local.records.store import Store, stage_sql
from lema_local.settings.chat import ChatFrame
from lema_local.settings.tables import Arm
from lema_local.stages.build import Built, build
from lema_local.stages.preference import preference_pairs
from lema_local.stages.run import Run

_EXAMPLES = "position integer, kind varchar, prompt varchar, output varchar, source_id varchar, problem_id varchar"
_PAIRS = "position integer, prompt varchar, chosen varchar, rejected varchar"


def export_arm(run: Run, arm: Arm, output: Path, *, shape: Shape, form: Form) -> int:
    """The same as export_set, of an arm as its records are now: built if it is not there."""
    refuse_own_files(run.store, output)
    (built,) = build(run, (arm,))
    return export_set(run.store, built, output, shape=shape, form=form)


def export_set(store: Store, built: Built, output: Path, *, shape: Shape, form: Form) -> int:
    """Write the examples of a training set; returns the rows.

    A path with a suffix (`lema.jsonl`) is the file. One without, or the form "datasets" (Parquet), is a folder:
    train.jsonl, README.md (the data card) and the trainer's configuration. Raises StoreError where that cannot be
    written, or the folder holds another's files.
    """
    refuse_own_files(store, output)
    built = _for_shape(built, shape)
    pairs = preference_pairs(store, built) if shape in PAIR_SHAPES else None
    if not is_folder(output, form):
        if shape == "llama-factory":
            raise StoreError(f"LLaMA-Factory reads a folder: give --output {output.with_suffix('')} for one.")
        return _write(store, pairs or built, output, shape, form)
    _refuse_anothers(output)
    data, other = output / _data_name(form), output / ("train.parquet" if form == "jsonl" else "train.jsonl")
    of = built.training_set
    manifest = json.loads(of.manifest)
    files = {
        "README.md": card(
            shape, manifest, dataset=of.dataset, data_file=data.name, rows=len(built.examples), pairs=pairs
        ),
        **sidecars(shape, _set_name(of.arm), data.resolve()),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        other.unlink(missing_ok=True)  # what an export in the other format left: both would be read
        rows = _write(store, pairs or built, data, shape, form)
        for name, text in files.items():
            (output / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"Cannot export to {output}: {error.strerror}.") from error
    return rows


def is_folder(output: Path, form: Form) -> bool:
    """Whether an arm exported there is a folder with its card, not the one file."""
    return form == "datasets" or not output.suffix or output.is_dir()


def files_to_push(folder: Path, arm: str, *, shape: Shape, form: Form) -> dict[str, Path | bytes]:
    """What an export wrote to a folder, for others: a configuration names the data relative to itself, not by a path of
    this machine."""
    data = _data_name(form)
    beside = sidecars(shape, _set_name(arm), Path(data))
    return {
        "README.md": folder / "README.md",
        data: folder / data,
        **{name: text.encode() for name, text in beside.items()},
    }


def _data_name(form: Form) -> str:
    return "train.jsonl" if form == "jsonl" else "train.parquet"


def _set_name(arm: str) -> str:
    return f"lema_{arm}".replace("-", "_")


def _for_shape(built: Built, shape: Shape) -> Built:
    """The examples of a chat student's arm for a shape that a trainer puts a template around: without ours."""
    chat = json.loads(built.training_set.manifest).get("chat")
    if chat is None or shape == "plain":
        return built
    if shape not in CHAT_SHAPES:
        raise StoreError(
            f"This arm is in a chat template, which --shape {shape} does not put around texts: take --shape trl-chat, "
            "messages, dpo-chat, or plain with the texts as they train."
        )
    frame = ChatFrame(**chat)
    inside = tuple(replace(example, prompt=frame.inside(example.prompt)) for example in built.examples)
    return replace(built, examples=inside)


def _refuse_anothers(folder: Path) -> None:
    """A folder that holds anything and is no earlier export is somebody's own."""
    readme = folder / "README.md"
    if readme.is_file() and CARD_MARK in readme.read_text(encoding="utf-8", errors="replace"):
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise StoreError(f"{folder} holds files and no data card of lema's: export to another folder.")


def _write(store: Store, content: Built | Pairs, file: Path, shape: Shape, form: Form) -> int:
    """From memory, not from the tables: an example that trains twice is exported twice."""
    if isinstance(content, Pairs):
        columns, rows = _PAIRS, [[p.prompt, p.chosen, p.rejected] for p in content.pairs]
    else:
        columns = _EXAMPLES
        rows = [[e.kind, e.prompt, e.output, e.source_id, e.problem_id] for e in content.examples]
    with writing_rows(store, file) as (connection, part):
        connection.execute(f"create or replace temp table export_row ({columns})")
        bulk.append(connection, "export_row", ([position, *row] for position, row in enumerate(rows)))
        shaped = connection.sql(stage_sql(f"shape_{shape.replace('-', '_')}"))
        return copy_rows(shaped, part, form="json" if form == "jsonl" else "parquet")
