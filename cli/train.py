"""lema train: QLoRA on each arm, or the plan of it."""

import json
from pathlib import Path
from typing import Any

import click

from .options import open_run, require_database, run_options


@click.command("train")
@run_options
@click.option("--dry-run", is_flag=True, help="Print the plan (steps, memory, launch line) and stop. Needs no torch.")
@click.option("--gpus", help="Plan for these GPUs instead of the ones here, e.g. 4xA100-80GB.")
@click.option("--json", "as_json", is_flag=True, help="The plan, or the checkpoints, as JSON.")
def command(profile: str, db: Path, dry_run: bool, gpus: str | None, as_json: bool, **overrides: Any) -> None:
    """Fine-tune the student with QLoRA on each arm of the profile.

    Interrupted, it goes on from its last whole checkpoint; done, it is not done again.

    \b
    lema train
    lema train --profile a100 --model llama-2-70b --dataset gsm8k --dry-run --gpus 4xA100-80GB
    """
    if dry_run:
        from lema_local.stages.plan import plan_training

        plan = plan_training(profile, overrides, db=db, gpus=gpus)
        click.echo(
            json.dumps(plan, indent=1)
            if as_json
            else "\n".join(f"{key:28} {_plain(value)}" for key, value in plan.items())
        )
        return
    if gpus is not None:
        raise click.UsageError("--gpus goes with --dry-run.")
    from lema_local.stages.train import train

    require_database(db)
    with open_run(db, profile, overrides) as run:
        checkpoints = train(run)
    if as_json:
        rows = [
            {"arm": c.arm, "step": c.step, "loss": c.loss, "path": c.path, "checkpoint_id": c.id} for c in checkpoints
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    for c in checkpoints:
        click.echo(
            f"{c.arm} step {c.step}: loss {c.loss:.3f}, {c.tokens_seen} tokens, {c.samples_seen} samples  {c.path}"
        )


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
