"""lema profiles: the experiments that come with the package."""

import json

import click


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
        click.echo(json.dumps(load_profile(name).as_dict(), indent=1))
        return
    for each in profile_names():
        click.echo(f"{each:12} {load_profile(each).description}")
