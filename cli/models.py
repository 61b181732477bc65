"""lema models: the models known by name."""

import click

from .output import echo


@click.command("models")
def command() -> None:
    """List the models known by name, then the presets for endpoints; a GGUF file, a folder or a Hub id works too.

    \b
    lema models
    """
    from lema_local.settings.models import known_models
    from lema_local.settings.reasoners import reasoner_presets

    for name, entry in known_models().items():
        echo(
            f"{name:24} {entry['hub_id']}"
            + (f"  (weights in the package {entry['gguf_package']})" if "gguf_package" in entry else "")
        )
    echo('presets, for [endpoints.NAME] preset = "...":')
    for name, preset in reasoner_presets().items():
        retired = f"retired {preset['retired']}; nearest: {preset['nearest']}" if "retired" in preset else ""
        echo(f"{name:24} {retired or preset['model']}")
