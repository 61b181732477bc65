"""lema train --dry-run: the plan of a training run, printed."""

import json
from pathlib import Path
from typing import Any

import click


def print_plan(profile: str, overrides: dict[str, Any], *, db: Path, gpus: str | None, as_json: bool) -> None:
    """What `lema train` would do, on stdout; needs neither torch nor weights nor a database."""
    from lema_local.stages.plan import plan_training

    plan = plan_training(profile, overrides, db=db, gpus=gpus)
    if as_json:
        click.echo(json.dumps(plan, indent=1))
        return
    for key, value in plan.items():
        click.echo(f"{key:28} {_plain(value)}")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
