"""Whether bfloat16 trains as float32 does: the losses of the first steps of a run, seed by seed.

    python bench/curves.py runs/checkpoints/cot-9f2c41aa/job.json --steps 100 --seeds 3

Three trainings of each seed: float32, float32 row by row (other dropout masks, another order of sums), and bfloat16.
The mean absolute difference of the losses, step by step, of the third to the first is to be within three times that of
the second to the first. A run that is there already gives the examples and settings; its files are not touched.
"""

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from lema_local.settings.training import TrainingSettings
from lema_local.training.job import Job
from lema_local.training.metrics import recorded
from lema_local.training.trainer import train

TEN = 10  # steps of which a curve is a mean


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("job", type=Path, help="the job.json of a run")
    options.add_argument("--steps", type=int, default=100)
    options.add_argument("--seeds", type=int, default=1)
    given = options.parse_args()
    job = Job.read(given.job)
    print(f"{given.job.parent.name}: {given.steps} steps, losses (means of {TEN} steps), mean absolute difference")
    for seed in range(job.settings.seed, job.settings.seed + given.seeds):
        plain = replace(job.settings, seed=seed, max_steps=given.steps, save_steps=given.steps, save_at=())
        plain = replace(plain, compute_dtype="float32", packing=False)
        ways = {
            "float32": plain,
            "bfloat16": replace(plain, compute_dtype="bfloat16"),
            "float32, row by row": replace(plain, per_device_batch_size=1),
        }
        losses: dict[str, list[float]] = {}
        for name, settings in ways.items():
            losses[name] = _losses(job, settings)
            curve = " ".join(f"{statistics.mean(part):.4f}" for part in _tens(losses[name]))
            print(f"{seed:>6}  {name:<22}{_distance(losses['float32'], losses[name]):.5f}  {curve}", flush=True)
        fast, noise = (_distance(losses["float32"], losses[name]) for name in list(ways)[1:])
        print(
            f"{seed:>6}  bfloat16 is {fast / noise:.2f} times as far from float32 as float32 row by row is", flush=True
        )


def _tens(losses: list[float]) -> list[list[float]]:
    return [losses[at : at + TEN] for at in range(0, len(losses), TEN)]


def _losses(job: Job, settings: TrainingSettings) -> list[float]:
    with tempfile.TemporaryDirectory() as directory:
        train(
            examples=job.examples,
            base=job.base,
            settings=settings,
            directory=Path(directory),
            on_checkpoint=lambda saved: None,
            on_progress=lambda progress: None,
        )
        return [step.loss for step in recorded(Path(directory))]


def _distance(one: list[float], other: list[float]) -> float:
    return statistics.mean(abs(a - b) for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    main()
