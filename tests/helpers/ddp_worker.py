"""One of several training processes that writes down what it saw: `torchrun ... ddp_worker.py JOB_FILE OUT`.

OUT.RANK.json    {"norms": [3.1, ...], "clipped": [0.3, ...], "gradients": [[0.01, ...], ...], "dropout": "9f2c..."}
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from lema_local.training import lora_linear
from lema_local.training import trainer as training
from lema_local.training.job import Job


def main(job_file: str, out: str) -> None:
    job = Job.read(Path(job_file))
    seen: dict[str, Any] = {"norms": [], "clipped": [], "gradients": [], "dropout": ""}
    build, draw = training.build_trainer, lora_linear.draw_mask

    def build_watched(loop: Any) -> Any:
        trainer = build(loop)
        trainer.add_callback(Callback())
        return trainer

    def draw_noted(shape: Any, share: float, seed: int) -> Any:
        mask = draw(shape, share, seed)
        seen["dropout"] = hashlib.sha256(mask[:2].numpy().tobytes()).hexdigest()  # the last: a probe draws the first
        return mask

    class Callback(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, _args: Any, _state: Any, _control: Any, *, model: Any, **_: Any) -> None:
            gradient = torch.cat([weights.grad.flatten() for weights in model.parameters() if weights.grad is not None])
            seen["clipped"].append(gradient.norm().item())
            seen["gradients"].append(gradient[:: max(len(gradient) // 50, 1)].tolist())

        def on_log(self, _args: Any, _state: Any, _control: Any, *, logs: dict[str, float], **_: Any) -> None:
            if "grad_norm" in logs:
                seen["norms"].append(logs["grad_norm"])

    training.build_trainer, lora_linear.draw_mask = build_watched, draw_noted
    training.train(
        examples=job.examples,
        base=job.base,
        settings=job.settings,
        directory=job.directory,
        on_checkpoint=lambda saved: None,
        on_progress=lambda progress: None,
    )
    Path(f"{out}.{os.environ.get('RANK', '0')}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
