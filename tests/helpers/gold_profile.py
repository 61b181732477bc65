"""A profile by which gold solutions alone train a model of 50,000 weights: no endpoint is ever called."""

from pathlib import Path

from commands import PROBLEMS

_PROFILE = """
description = "gold solutions train a model of 50,000 weights"
[data]
dataset = "tiny"
train_path = "{problems}"
test_problems = 2
[endpoints.reasoner]
base_url = "http://127.0.0.1:9/v1"
model = "none"
[endpoints.corrector]
base_url = "http://127.0.0.1:9/v1"
model = "none"
[endpoints.student]
base_url = "http://127.0.0.1:9/v1"
model = "{model}"
[build]
arms = ["cot"]
[training]
max_steps = {steps}
save_steps = {save_steps}
global_batch_size = 4
per_device_batch_size = 2
lora_r = 4
gradient_checkpointing = false
"""


def write_gold_profile(folder: Path, model: Path, *, steps: int, save_steps: int, problems: Path = PROBLEMS) -> Path:
    """The profile's file in `folder`."""
    path = folder / "tiny.toml"
    path.write_text(_PROFILE.format(problems=problems, model=model, steps=steps, save_steps=save_steps))
    return path
