"""Whether bfloat16 trains as float32 does: the losses of the first steps of a run, seed by seed.

    python bench/curves.py runs/checkpoints/cot-9f2c41aa/job.json --steps 100 --seeds 3

Three trainings of each seed: float32, float32 with other micro-batches (other dropout masks, another order of sums),
and bfloat16. The mean absolute difference of the losses, step by step, of the third to the first is to be within three
times that of the second to the first. A run that is there already gives the examples and settings; its files are not
touched.
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


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("job", type=Path, help="the job.json of a run")
    options.add_argument("--steps", type=int, default=100)
    options.add_argument("--seeds", type=int, default=1)
    given = options.parse_args()
    job = Job.read(given.job)
    print(f"{given.job.parent.name}: {given.steps} steps, mean absolute difference of losses")
    print(f"{'seed':>6}{'float32':>12}{'bfloat16':>12}{'ratio':>8}{'mean loss':>12}")
    for seed in range(job.settings.seed, job.settings.seed + given.seeds):
        plain = replace(job.settings, seed=seed, max_steps=given.steps, save_steps=given.steps, save_at=())
        plain = replace(plain, compute_dtype="float32", packing=False)
        other = max(size for size in range(1, plain.per_device_batch_size + 1) if _is_another(size, plain))
        exact = _losses(job, plain)
        noise = _distance(exact, _losses(job, replace(plain, per_device_batch_size=other)))
        found = _distance(exact, _losses(job, replace(plain, compute_dtype="bfloat16")))
        print(f"{seed:>6}{noise:>12.5f}{found:>12.5f}{found / noise:>8.2f}{statistics.mean(exact):>12.4f}", flush=True)


def _is_another(size: int, settings: TrainingSettings) -> bool:
    """Whether it divides the global batch; of one row a micro-batch nothing is smaller."""
    return settings.global_batch_size % size == 0 and (size < settings.per_device_batch_size or size == 1)


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
