"""Adapters with random weights, which change what SmolLM2 writes, as checkpoints, and a run that serves them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lema_local.records.store import Writer
from lema_local.records.types import Checkpoint
from lema_local.settings.profiles import load_profile
from lema_local.stages.run import Run
from lema_local.training.checkpoints import SavedCheckpoint, seal

HERE = """
[endpoints.student]
recipe = "llama_cpp"
model = "smollm2-135m-instruct"
api = "completions"
context_length = 256
max_retries = 1
[evaluation]
max_tokens = 6
"""


def adapter(folder: Path, *, strength: float, width: int = 576, rank: int = 4, seed: int = 0) -> Path:
    """A LoRA adapter over the queries of SmolLM2's first three layers, as peft writes one."""
    import numpy
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    random = numpy.random.default_rng(seed)
    tensors = {}
    for layer in range(3):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{name}.lora_A.weight"] = random.normal(size=(rank, width)).astype("float32")
        tensors[f"{name}.lora_B.weight"] = (strength * random.normal(size=(width, rank))).astype("float32")
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "base_model_name_or_path": "smollm2-135m-instruct"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def checkpoint(directory: Path, step: int, **made: Any) -> Checkpoint:
    """A sealed checkpoint and its record."""
    path = directory / f"step-{step:06d}"
    saved = SavedCheckpoint(step=step, path=path, loss=1.0, tokens_seen=1, samples_seen=1)
    seal(adapter(directory / ".partial", **made), directory, saved=saved, run="r")
    id_ = f"{step:032d}"
    where = str(path.relative_to(directory.parent))
    return Checkpoint(
        *(id_, "r", "smollm2-135m-instruct", "none", id_, "cot", "tiny", 1, step, "{}", where, 1.0, 1, 1),
        created_at=datetime.now(UTC),
    )


@contextmanager
def served_here(db: Path, profile: Path, notices: list[str]) -> Iterator[Run]:
    text = profile.read_text().partition("[endpoints.student]")[0] + HERE
    profile.write_text(text)
    with Writer(db) as store:
        yield Run(load_profile(str(profile), environment={}), store, notices.append)
