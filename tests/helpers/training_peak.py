"""A process that trains two steps and prints what they took of its memory (GiB), for tests/training/test_memory.py.

    {"parameters": 0.57, "steps": 0.41, "baseline": 0.51}

`parameters` are the bytes of base and adapter as they lie in memory; `steps` is how far the peak of the resident set
(VmHWM) rises above the resident set with all of them touched. The kernel resets VmHWM by /proc/self/clear_refs.
"""

import json
import re
import sys
from pathlib import Path

import torch
import transformers

from lema_local.settings.training import TrainingSettings
from lema_local.training.base import BaseModel
from lema_local.training.collate import Row
from lema_local.training.loop import Loop, build_trainer

GIB = 2**30


def status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


def main(place: str, directory: str, given: str) -> None:
    """Rows are full: source_max_length - 1 prompt tokens after BOS, target_max_length with loss."""
    settings = TrainingSettings(max_steps=2, save_steps=100, **json.loads(given))
    assert settings.global_batch_size == settings.per_device_batch_size
    row = Row(tuple(3 + k % 200 for k in range(settings.source_max_length + settings.target_max_length)), 0)
    row = Row(row.input_ids, settings.source_max_length)
    measured: dict[str, float] = {"baseline": status("VmRSS") / GIB}
    trainer = build_trainer(
        Loop(
            place=place,
            base=BaseModel(name="base", path=Path(place)),
            rows=[row] * (2 * settings.global_batch_size),
            pad_id=0,
            settings=settings,
            accumulation=1,
            capacity=settings.per_device_batch_size * len(row.input_ids),
            directory=Path(directory),
            cache=Path(directory) / "cache",
            run="run",
            missing=settings.checkpoint_steps,
            on_checkpoint=lambda saved: None,
            on_progress=lambda progress: None,
        )
    )
    values = {p.untyped_storage().data_ptr(): p for p in trainer.model.parameters()}.values()
    measured["parameters"] = sum(p.numel() * p.element_size() for p in values) / GIB
    for value in values:  # the file is mapped: what no one has read yet is not resident
        value.sum()

    class Callback(transformers.TrainerCallback):
        def on_step_begin(self, args: object, state: object, control: object, **_: object) -> None:
            if "before" not in measured:
                measured["before"] = status("VmRSS")
                Path("/proc/self/clear_refs").write_text("5")

        def on_step_end(self, args: object, state: object, control: transformers.TrainerControl, **_: object) -> None:
            control.should_save = False
            measured["steps"] = (status("VmHWM") - measured["before"]) / GIB

    trainer.add_callback(Callback())
    trainer.train()
    del measured["before"]
    print(json.dumps(measured))


if __name__ == "__main__":
    torch.manual_seed(0)
    main(*sys.argv[1:])
