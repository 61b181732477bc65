"""lema serve: a server that stays until Ctrl-C."""

import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import click

from lema_local.settings.endpoints import Form

from .options import notice

RECIPES = ("vllm", "llama_server", "llama_cpp", "oracle")
_OF_SOME_RECIPES = ("model", "context_length", "parallel", "form", "problems")


@click.command("serve")
@click.argument("recipe", type=click.Choice(RECIPES))
@click.option(
    "--model",
    default="smollm2-135m-instruct",
    show_default=True,
    help="A model's name, a GGUF file, a folder or a Hub id.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--context-length", default=4096, show_default=True, type=click.IntRange(128), help="Of each call.")
@click.option(
    "--parallel", default=8, show_default=True, type=click.IntRange(1, 256), help="llama_server: calls at once."
)
@click.option(
    "--form",
    default="auto",
    show_default=True,
    type=click.Choice(get_args(Form)),
    help="llama_server: how the weights are held; auto: as measured on this machine.",
)
@click.option(
    "--problems",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="For the oracle: reference solutions as JSON lines.",
)
@click.pass_context
def command(
    context: click.Context,
    recipe: str,
    model: str,
    host: str,
    port: int,
    context_length: int,
    parallel: int,
    form: Form,
    problems: Path | None,
) -> None:
    """Start a server from its recipe and keep it until Ctrl-C.

    \b
    lema serve llama_cpp --model models/qwen2.5-1.5b.gguf --port 8001
    lema data --corrector-url http://127.0.0.1:8001/v1 --corrector-model qwen2.5-1.5b
    """
    from lema_local.serving.command import ServeOptions
    from lema_local.serving.forms import choose_form, weights_in_form
    from lema_local.serving.process import serve
    from lema_local.serving.recipes import load_recipe
    from lema_local.settings.models import resolve_model

    for name in _OF_SOME_RECIPES:
        is_default = context.get_parameter_source(name) is click.core.ParameterSource.DEFAULT
        if not is_default and not load_recipe(recipe).has_use_for(name):
            fitting = [each for each in RECIPES if load_recipe(each).has_use_for(name)]
            raise click.UsageError(f"--{name.replace('_', '-')} is for {', '.join(fitting)}, not for {recipe}.")
    served = resolve_model(model) if load_recipe(recipe).has_use_for("model") else None
    options = ServeOptions(
        host=host, port=port, context_length=context_length, parallel=parallel, problems=problems, mark="", key=""
    )  # a name that can be typed, and no key
    if load_recipe(recipe).forms and served is not None:
        chosen = choose_form(served).form if form == "auto" else form
        options = replace(options, weights=weights_in_form(served, chosen, on_notice=notice))
    with serve(recipe, model=served, options=options, on_notice=notice) as server:
        notice(
            f"{recipe} answers at {server.base_url}"
            + (f" as model {served.name}" if served else "")
            + f"; log {server.log}; Ctrl-C stops it"
        )
        while server.is_alive():
            time.sleep(0.5)
    raise server.died()
