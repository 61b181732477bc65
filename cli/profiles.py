"""lema profiles: the experiments that come with the package."""

import click

from lema_local.settings.assignments import Assignment

from .options import set_option
from .output import echo, echo_json


@click.command("profiles")
@click.argument("name", required=False)
@set_option
def command(name: str | None, assignments: tuple[Assignment, ...]) -> None:
    """List the profiles, or show one with all its settings.

    \b
    lema profiles
    lema profiles laptop
    lema profiles laptop --set sampling.samples=4
    """
    from lema_local.settings.profiles import Overrides, load_profile, profile_names

    if name is not None:
        echo_json(load_profile(name, Overrides(assignments=assignments)).as_dict())
        return
    if assignments:
        raise click.UsageError("--set goes with a profile's name.")
    for each in profile_names():
        echo(f"{each:12} {load_profile(each).description}")
