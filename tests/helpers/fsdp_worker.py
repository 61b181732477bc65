"""One of two processes that shard the model: `torchrun ... tests/helpers/fsdp_worker.py MODEL_DIRECTORY OUT`.

OUT    {"compared": 28, "worst": 0.0, "largest": 0.13, "dtypes": ["torch.float32"]}

What accelerate does on GPUs is done here by torch's FSDP alone, since accelerate shards on no CPU: the model as
load_model() makes it for sharding, wrapped by peft's policy, trained weights and frozen ones apart.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft.utils.other import fsdp_auto_wrap_policy
from torch import distributed
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp._traversal_utils import _get_fsdp_handles

from lema_local.settings.training import TrainingSettings
from lema_local.training.base import BaseModel
from lema_local.training.collate import Collator
from lema_local.training.loss import output_loss
from lema_local.training.model import load_model
from lema_local.training.rows import Row

SETTINGS = TrainingSettings(lora_r=4, lora_dropout=0.0, gradient_checkpointing=False)
ROWS = [
    Row(tuple(3 + (number * 37 + place * 11) % 300 for place in range(tokens)), tokens // 3)
    for number, tokens in enumerate((23, 5, 31, 12))
]


def make_model(place: Path) -> Any:
    """With adapters that are no longer zero, so that every gradient is something."""
    model = load_model(str(place), BaseModel(name="tiny", path=place), SETTINGS)
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.copy_(torch.randn(weights.shape, generator=chance) * 0.05)
    return model


def main(place: str, out: str) -> None:
    distributed.init_process_group("gloo")
    collate = Collator(pad_id=0)
    batches = [collate([{"rows": (row,)} for row in ROWS[start : start + 2]]) for start in (0, 2)]
    wanted = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)

    def backward(model: Any, batch: dict[str, Any], scale: int) -> None:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        (output_loss(model(**inputs), batch["labels"], wanted) * scale).backward()

    whole = make_model(Path(place))
    for batch in batches:
        backward(whole, batch, 1)
    expected = [weights.grad.flatten() for weights in whole.parameters() if weights.grad is not None]

    model = make_model(Path(place))
    dtypes = sorted({str(weights.dtype) for weights in model.parameters()})
    policy = fsdp_auto_wrap_policy(model)
    cpu = torch.device("cpu")
    sharded = FullyShardedDataParallel(model, auto_wrap_policy=policy, use_orig_params=False, device_id=cpu)
    backward(sharded, batches[distributed.get_rank()], 2)  # gradients are averaged: the Trainer scales so as well

    trained = [handle.flat_param for handle in _get_fsdp_handles(sharded) if handle.flat_param.requires_grad]
    differences = []
    for flat, gradient in zip(trained, expected, strict=True):
        shard = flat._saved_grad_shard if flat.grad is None else flat.grad
        shards = [torch.empty_like(shard) for _ in range(2)]
        distributed.all_gather(shards, shard)
        differences.append((torch.cat(shards)[: gradient.numel()] - gradient).abs().max().item())
    if distributed.get_rank() == 0:
        seen = {"compared": len(differences), "worst": max(differences), "dtypes": dtypes}
        seen["largest"] = max(gradient.abs().max().item() for gradient in expected)
        Path(out).write_text(json.dumps(seen))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
