"""lema train --dry-run: the plan of a training run, printed for people, or as JSON."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .output import echo, echo_json
from .tables import format_rows


def print_plan(
    profile: str,
    overrides: dict[str, Any],
    *,
    db: Path,
    gpus: str | None,
    training_sets: tuple[str, ...],
    as_json: bool,
) -> None:
    """What `lema train` would do, on stdout; needs neither torch nor weights; a database for training sets."""
    from lema_local.stages.plan import plan_training

    plan = plan_training(profile, overrides, db=db, gpus=gpus, training_sets=training_sets)
    if as_json:
        echo_json(plan)
    else:
        echo("\n".join(_lines(plan)))


def _lines(plan: dict[str, Any]) -> Iterator[str]:
    yield f"{plan['model']} on {plan['dataset']}, profile {plan['profile']}: {plan['verdict']}"
    yield f"model      {plan['parameters'] / 1e9:.2f}B parameters ({plan['model_from']}), prompt {plan['prompt']}"
    memory = ", ".join(f"{size:g}" for size in sorted(set(plan["devices"]["memory_gib"])))
    devices = plan["devices"]
    yield f"devices    {devices['names']}, {memory} GiB ({devices['from']}); strategy {plan['strategy']}"
    processes = plan["processes"]
    yield (
        f"batch      {plan['per_device_batch_size']} per device x {plan['gradient_accumulation_steps']} accumulation x "
        f"{processes} process{'es' if processes > 1 else ''} = {plan['global_batch_size']}"
    )
    yield ""
    yield from _arms(plan)
    yield ""
    yield from _memory(plan)
    yield ""
    yield from _settings(plan)
    yield ""
    yield f"launch     {plan['launch']}"
    yield "           RUN/job.json is what `lema train` writes: it starts this line by itself"


def _arms(plan: dict[str, Any]) -> Iterator[str]:
    names = ("examples", "tokens", "max_steps", "epochs", "samples_seen", "tokens_seen", "checkpoints")
    rows = [
        [arm, *("not known" if run[name] is None else f"{run[name]:,}" for name in names)]
        for arm, run in plan["runs"].items()
    ]
    yield format_rows(["arm", "examples", "tokens", "steps", *names[3:]], rows)
    yield f"sizes from {plan['sizes_from']}"
    others = " (also --match epochs, --match tokens)" if plan["match"] == "steps" else ""
    unknown = any(run["examples"] is None for run in plan["runs"].values())
    waits = "; max_steps stands where sizes are not known" if unknown and not others else ""
    yield f"matched by {plan['match']}{others}{waits}"
    disk, seeds = plan["checkpoint_disk_gib"], plan["seeds"]
    each = f", each arm {seeds} times, by seed" if seeds > 1 else ""
    yield (
        f"disk       {disk['weights'] + disk['state']:.1f} GiB for checkpoints{each}: weights {disk['weights']:.1f}, "
        f"newest states {disk['state']:.1f} (one checkpoint's weights {disk['one_checkpoint']:.2f})"
    )


def _memory(plan: dict[str, Any]) -> Iterator[str]:
    parts = plan["memory_per_gpu_gib"]
    where = "per GPU" if plan["num_gpus"] else "of RAM"
    yield format_rows(["memory", f"GiB {where}"], [[part, f"{size:.2f}"] for part, size in parts.items()])
    given = plan["memory_gib"]
    worst = sum(parts.values())
    yield f"{worst:.1f} GiB at its worst; {given['needed']} with room for the allocator, {given['given']} given"


def _settings(plan: dict[str, Any]) -> Iterator[str]:
    rows = [[name, str(entry["value"]), entry["from"]] for name, entry in plan["settings"].items()]
    yield format_rows(["setting", "value", "from"], rows)
