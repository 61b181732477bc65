"""lema models: the models known by name."""

import click


@click.command("models")
def command() -> None:
    """List the models known by name; a GGUF file, a folder of weights or a Hub id works too.

    \b
    lema models
    """
    from lema_local.models import known_models

    for name, entry in known_models().items():
        click.echo(
            f"{name:24} {entry['hub_id']}"
            + (f"  (weights in the package {entry['gguf_package']})" if "gguf_package" in entry else "")
        )
