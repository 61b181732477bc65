"""lema serve: a server that stays until Ctrl-C."""

import time
from pathlib import Path

import click

from .options import notice


@click.command("serve")
@click.argument("recipe", type=click.Choice(["vllm", "llama_cpp", "oracle"]))
@click.option(
    "--model",
    default="smollm2-135m-instruct",
    show_default=True,
    help="A model's name, a GGUF file, a folder or a Hub id.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--context-length", default=4096, show_default=True, type=click.IntRange(128))
@click.option(
    "--problems",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="For the oracle: reference solutions as JSON lines.",
)
def command(recipe: str, model: str, host: str, port: int, context_length: int, problems: Path | None) -> None:
    """Start a server from its recipe and keep it until Ctrl-C.

    \b
    lema serve llama_cpp --model models/qwen2.5-1.5b.gguf --port 8001
    lema data --corrector-url http://127.0.0.1:8001/v1 --corrector-model qwen2.5-1.5b
    """
    from lema_local.serving.command import ServeOptions
    from lema_local.serving.process import serve
    from lema_local.serving.recipes import load_recipe
    from lema_local.settings.models import resolve_model

    served = resolve_model(model) if load_recipe(recipe).weights != "none" else None
    options = ServeOptions(host=host, port=port, context_length=context_length, problems=problems)
    with serve(recipe, model=served, options=options, on_notice=notice) as server:
        notice(
            f"{recipe} answers at {server.base_url}"
            + (f" as model {served.name}" if served else "")
            + f"; log {server.log}; Ctrl-C stops it"
        )
        while server.is_alive():
            time.sleep(0.5)
    raise server.died()
