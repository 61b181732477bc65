"""Training runs on the tiny model that several tests start, and how two of them are held against each other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lema_local.settings.training import TrainingSettings
from lema_local.training.base import BaseModel
from lema_local.training.checkpoints import SavedCheckpoint
from lema_local.training.metrics import StepProgress, recorded
from lema_local.training.trainer import train

EXAMPLES = [
    (f"Question: {a} + {b}\nAnswer:\n", f"Step 1: {a} + {b} = {a + b}. The answer is {a + b}." + " Good." * (a % 4))
    for a in range(4)
    for b in range(5)
]
SETTINGS = TrainingSettings(
    learning_rate=1e-2,
    max_steps=6,
    save_steps=2,
    global_batch_size=4,
    per_device_batch_size=2,
    lora_r=4,
    lora_dropout=0.1,
    source_max_length=64,
    target_max_length=64,
    gradient_checkpointing=False,
    seed=7,
)


def run(
    base: BaseModel,
    directory: Path,
    settings: TrainingSettings = SETTINGS,
    examples: list[tuple[str, str]] = EXAMPLES,
    on_progress: Callable[[StepProgress], None] = lambda progress: None,
    **more: Any,
) -> list[SavedCheckpoint]:
    """Trains in this process."""
    return train(
        examples=examples,
        base=base,
        settings=settings,
        directory=directory,
        on_checkpoint=lambda saved: None,
        on_progress=on_progress,
        **more,
    )


def weights(saved: SavedCheckpoint) -> dict[str, Any]:
    """The adapter's arrays by name."""
    from safetensors.numpy import load_file

    return load_file(saved.path / "adapter_model.safetensors")


def assert_same_end(one: list[SavedCheckpoint], other: list[SavedCheckpoint]) -> None:
    """The same steps, losses and, bit for bit, last adapter; and each step that was recorded had the same loss."""
    import numpy

    assert [saved.step for saved in one] == [saved.step for saved in other]
    assert one[-1].loss == other[-1].loss
    theirs = weights(other[-1])
    assert weights(one[-1]).keys() == theirs.keys()
    for name, tensor in weights(one[-1]).items():
        numpy.testing.assert_array_equal(tensor, theirs[name], err_msg=name)
    curves = [[(p.step, p.loss, p.learning_rate) for p in recorded(of[0].path.parent)] for of in (one, other)]
    assert curves[0] == curves[1]
    assert [step for step, *_ in curves[0]] == list(range(1, one[-1].step + 1))
