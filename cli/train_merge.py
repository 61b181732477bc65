"""lema train merge: an adapter merged into a base model."""

from pathlib import Path
from typing import Any, Literal

import click

from .options import db_option, notice
from .output import echo


@click.command("merge")
@click.argument("checkpoint", metavar="CHECKPOINT")
@db_option
@click.option(
    "--base",
    default="trained",
    show_default=True,
    help="trained (the very base of the training, NF4 multiplied out), or a model's name, folder, GGUF or Hub id.",
)
@click.option("--dtype", type=click.Choice(["bf16", "fp16", "fp32"]), default="bf16", show_default=True)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="The new folder of weights.")
@click.option("--any-base", is_flag=True, help="Take a base of another name, if its matrices fit.")
def command(
    checkpoint: str, db: Path, base: str, dtype: Literal["bf16", "fp16", "fp32"], output: Path, any_base: bool
) -> None:
    """Merge a checkpoint's adapter into a base model: safetensors and tokenizer in a folder of their own.

    CHECKPOINT is the first characters of its id, or its directory.

    \b
    lema train merge 4be2 --output merged
    lema train merge 4be2 --base meta-llama/Llama-2-7b-hf --dtype fp16 --output merged
    """
    from lema_local.records.exports import refuse_own_files
    from lema_local.records.store import Store
    from lema_local.stages.merge import merge_checkpoint

    refuse_own_files(Store(db), output)
    options: dict[str, Any] = {"base": base, "dtype": dtype, "output": output, "any_base": any_base}
    echo(merge_checkpoint(db, checkpoint, on_notice=notice, **options))
