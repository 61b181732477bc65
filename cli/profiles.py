"""lema profiles: the experiments that come with the package."""

import click

from .output import echo, echo_json


@click.command("profiles")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the profiles, or show one with all its settings.

    \b
    lema profiles
    lema profiles laptop
    """
    from lema_local.settings.profiles import load_profile, profile_names

    if name is not None:
        echo_json(load_profile(name).as_dict())
        return
    for each in profile_names():
        echo(f"{each:12} {load_profile(each).description}")
