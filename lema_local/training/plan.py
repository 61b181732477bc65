"""plan(): what a training run would do, without a GPU, weights or torch. The dry run prints it.

    {"model": "llama-2-70b", "dataset": "gsm8k", "arms": ["cot", "lema"], "max_steps": 2000, "global_batch_size": 96,
     "per_device_batch_size": 6, "gradient_accumulation_steps": 4, "num_gpus": 4, "epochs": {"cot": 5.92, "lema": 4.27},
     "memory_per_gpu_gib": {"weights": 34.3, "adapter": 4.6, ...}, "fits": true, "strategy": "ddp",
     "launch": "accelerate launch --multi_gpu --num_processes 4 ...", "seeds": 1,
     "runs": {"cot": {"max_steps": 2000, ...}, ...}}

The memory is an estimate from the model's shapes at the longest rows allowed (training/memory.py).
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lema_local.errors import TrainingError
from lema_local.settings.architecture import TARGETS, Architecture
from lema_local.settings.training import TrainingSettings
from lema_local.training.checkpoints import RESUMABLE
from lema_local.training.launch import Strategy, launch_arguments
from lema_local.training.matching import ArmSize, arm_settings
from lema_local.training.memory import GIB, fits, memory_parts, needed_gib

# Of a GPU's memory as it is sold, so that a verdict can name one.
_GPU_SIZES = (8, 12, 16, 24, 32, 40, 48, 80, 94, 141, 180, 288)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Settings whose micro-batch fits the memory, and how the processes share the model."""

    settings: TrainingSettings
    strategy: Strategy
    memory: dict[str, float]  # GiB by part
    fits: bool


def fit(
    architecture: Architecture,
    settings: TrainingSettings,
    *,
    num_gpus: int,
    memory_gib: float,
    began: Strategy | None = None,
) -> Fitted:
    """The largest micro-batch, up to the settings' own, that shares the global batch evenly and fits the memory.

    One replica on each GPU (ddp) before the base sharded over them (fsdp). Where nothing fits: the smallest micro-batch
    of the last strategy, and `fits` says no. On several GPUs a run goes on by the strategy that it `began` by. Raises
    TrainingError where no micro-batch shares the global batch evenly.
    """
    processes = settings.processes or max(num_gpus, 1)
    if not num_gpus:
        memory_gib /= processes  # processes on a CPU share its memory
    elif settings.processes and not settings.accelerate_config:
        if processes > num_gpus:
            raise TrainingError(
                f"training.processes is {processes}, and there are {num_gpus} GPUs: one process takes one."
            )
        num_gpus = processes
    sizes = [
        b for b in range(settings.per_device_batch_size, 0, -1) if settings.global_batch_size % (b * processes) == 0
    ]
    if not sizes:
        settings.accumulation(processes)  # raises, with the numbers
    strategies: tuple[Strategy, ...] = ("ddp", "fsdp") if num_gpus > 1 else ("single",) if num_gpus else ("cpu",)
    if began in strategies:
        strategies = (began,)
    for strategy in strategies:
        for size in sizes:
            fitted = replace(settings, per_device_batch_size=size)
            memory = memory_parts(architecture, fitted, strategy=strategy, num_gpus=num_gpus, memory_gib=memory_gib)
            if fits(memory, memory_gib, strategy):
                return Fitted(fitted, strategy, memory, fits=True)
    return Fitted(fitted, strategy, memory, fits=False)


def plan(
    *,
    model: str,
    dataset: str,
    arms: Mapping[str, ArmSize],
    settings: TrainingSettings,
    architecture: Architecture,
    num_gpus: int,
    memory_gib: float,
    job: str = "RUN/job.json",
) -> dict[str, Any]:
    """The plan as JSON-able fields. `arms` gives each arm's size; `memory_gib` is that of one GPU (or the RAM).

    `num_gpus` 0 means the CPU. Raises TrainingError where the global batch cannot be split evenly.
    """
    wanted = settings
    fitted = fit(architecture, settings, num_gpus=num_gpus, memory_gib=memory_gib)
    settings, processes = fitted.settings, settings.processes or max(num_gpus, 1)
    launch = launch_arguments(
        job,
        strategy=fitted.strategy,
        num_processes=processes,
        config=settings.accelerate_config,
        in_float32=settings.compute_dtype == "float32",
    )
    runs = {arm: _run(arms[arm], own) for arm, own in _settings_of_arms(settings, arms).items()}
    return {
        "model": model,
        "dataset": dataset,
        "arms": list(arms),
        "max_steps": settings.max_steps,
        "save_steps": settings.save_steps,
        "global_batch_size": settings.global_batch_size,
        "per_device_batch_size": settings.per_device_batch_size,
        "gradient_accumulation_steps": settings.accumulation(processes),
        "num_gpus": num_gpus,
        "learning_rate": settings.learning_rate,
        "lora": {
            "r": settings.lora_r,
            "alpha": settings.lora_alpha,
            "dropout": settings.lora_dropout,
            "target_modules": list(TARGETS),
        },
        "quantization": {
            "type": settings.quantization,
            "double": settings.quantization == "nf4" and settings.double_quantization,
        },
        "source_max_length": settings.source_max_length,
        "target_max_length": settings.target_max_length,
        "epochs": {arm: run["epochs"] for arm, run in runs.items()},
        "memory_per_gpu_gib": {part: round(size, 2) for part, size in fitted.memory.items()},
        "fits": fitted.fits,
        "strategy": fitted.strategy,
        "launch": shlex.join(launch),
        "memory_gib": {
            "needed": round(needed_gib(fitted.memory, fitted.strategy), 1),
            "given": round(memory_gib, 1),
        },
        "verdict": _verdict(architecture, fitted, wanted, num_gpus=num_gpus, memory_gib=memory_gib),
        "processes": processes,
        "match": settings.match,
        "seeds": settings.seeds,
        "runs": runs,
        "checkpoint_disk_gib": _disk(architecture, settings, runs.values(), fitted.strategy),
    }


def _settings_of_arms(settings: TrainingSettings, arms: Mapping[str, ArmSize]) -> dict[str, TrainingSettings]:
    """Each arm's settings. Where the sizes that matching needs are not known yet, no step of match_beside is among
    them, or max_steps stands for all."""
    try:
        return arm_settings(settings, arms)
    except TrainingError:
        if settings.match_beside is not None:
            return _settings_of_arms(replace(settings, match_beside=None), arms)
        return dict.fromkeys(arms, settings)


def _run(size: ArmSize, settings: TrainingSettings) -> dict[str, Any]:
    """What one run of an arm does: each seed is one."""
    samples = settings.max_steps * settings.global_batch_size
    seen = round(samples * size.tokens / size.examples) if size.examples and size.tokens else None
    return {
        "examples": size.examples or None,
        "tokens": size.tokens,
        "max_steps": settings.max_steps,
        "checkpoints": len(settings.checkpoint_steps),
        "samples_seen": samples,
        "tokens_seen": seen,
        "epochs": round(samples / size.examples, 2) if size.examples else None,
    }


def _disk(architecture: Architecture, settings: TrainingSettings, runs: Any, strategy: Strategy) -> dict[str, float]:
    """GiB of the checkpoints of all arms and seeds: float32 weights of the adapter (or of the model), and of the newest
    checkpoints of each run the optimizer's two moments, from which it is resumed (while one is saved, one more); of a
    sharded model that is trained whole the weights once more, as FSDP's own."""
    full = settings.method == "full"
    state = 8 + 4 * (full and strategy == "fsdp")
    trained = architecture.parameters if full else architecture.lora_parameters(settings.lora_r)
    counts = [min(run["checkpoints"], settings.keep or run["checkpoints"]) for run in runs] * settings.seeds
    return {
        "weights": round(sum(counts) * trained * 4 / GIB, 2),
        "state": round(sum(min(RESUMABLE, count) for count in counts) * trained * state / GIB, 2),
        "one_checkpoint": round(trained * 4 / GIB, 3),
    }


def _verdict(
    architecture: Architecture, fitted: Fitted, wanted: TrainingSettings, *, num_gpus: int, memory_gib: float
) -> str:
    """One line: fits, with what changed; or what would."""
    what = f"{num_gpus} x {memory_gib:.0f} GiB" if num_gpus else f"{memory_gib:.0f} GiB of RAM"
    needed, batch = needed_gib(fitted.memory, fitted.strategy), fitted.settings.per_device_batch_size
    if not fitted.fits:
        named = next((size for size in _GPU_SIZES if size >= needed), None)
        rooms = f"GPUs of {named} GB" if named and num_gpus else f"{needed:.0f} GiB"
        more = _enough_gpus(architecture, fitted.settings, memory_gib) if num_gpus else None
        others = f", or {more} of these" if more else ""
        off = "" if fitted.settings.gradient_checkpointing else ", or gradient_checkpointing = true"
        return (
            f"does not fit {what}, even at {batch} per device: {needed:.1f} GiB are needed: take {rooms}{others}{off}"
        )
    if batch < wanted.per_device_batch_size:
        return f"fits {what} at {batch} per device, not at {wanted.per_device_batch_size}: {needed:.1f} GiB"
    return f"fits {what}: {needed:.1f} GiB"


def _enough_gpus(architecture: Architecture, settings: TrainingSettings, memory_gib: float) -> int | None:
    """The least number of such GPUs over which the model can be sharded; None up to 64."""
    for count in (2, 4, 8, 16, 32, 64):
        smallest = replace(settings, per_device_batch_size=1)
        if settings.global_batch_size % count == 0 and fits(
            memory_parts(architecture, smallest, strategy="fsdp", num_gpus=count), memory_gib, "fsdp"
        ):
            return count
    return None
