"""lema doctor: what is here, what is missing, and what to type for each gap."""

from pathlib import Path
from typing import Any

import click

from .options import engine_options, run_options
from .output import echo, echo_json


@click.command("doctor")
@run_options
@engine_options
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def command(profile: str, db: Path, as_json: bool, **overrides: Any) -> None:
    """Say what is installed, what is missing and what to type. Exit code 1 if the profile cannot run.

    \b
    lema doctor
    lema doctor --profile a100
    """

    from lema_local.doctor import examine
    from lema_local.settings.profiles import Overrides, load_profile

    from .tables import format_rows

    checks = examine(load_profile(profile, Overrides(**overrides)), db)
    if as_json:
        echo_json([{"what": c.what, "state": c.state, "found": c.found, "todo": c.todo} for c in checks])
    else:
        echo(
            format_rows(
                ["what", "state", "found", "what to type"], [(c.what, c.state, c.found, c.todo or "") for c in checks]
            )
        )
    if any(check.state == "missing" for check in checks):
        raise click.exceptions.Exit(1)
