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
@click.option("--dtype", type=click.Choice(["bf16", "fp16", "fp32"]), help="Of the folder.  [default: bf16]")
@click.option(
    "--gguf",
    type=click.Choice(["f32", "bf16", "f16", "q8_0", "q4_0"]),
    help="One GGUF file in this form instead, for llama.cpp, Ollama or LM Studio; the base must be a GGUF.",
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="The new folder of weights, or the GGUF file."
)
@click.option("--any-base", is_flag=True, help="Take a base of another name, if its matrices fit.")
def command(
    checkpoint: str,
    db: Path,
    base: str,
    dtype: Literal["bf16", "fp16", "fp32"] | None,
    gguf: str | None,
    output: Path,
    any_base: bool,
) -> None:
    """Merge a checkpoint's adapter into a base model: safetensors and tokenizer in a folder of their own.

    CHECKPOINT is the first characters of its id, or its directory.

    \b
    lema train merge 4be2 --output merged
    lema train merge 4be2 --gguf q8_0 --output student.gguf
    lema train merge 4be2 --base meta-llama/Llama-2-7b-hf --dtype fp16 --output merged
    """
    from lema_local.records.exports import refuse_own_files
    from lema_local.records.store import Store
    from lema_local.stages.merge import merge_checkpoint, merge_checkpoint_gguf

    refuse_own_files(Store(db), output)
    options: dict[str, Any] = {"base": base, "output": output, "any_base": any_base, "on_notice": notice}
    if gguf is not None and dtype is not None:
        raise click.UsageError("--gguf says the form itself: leave --dtype away.")
    if gguf is not None:
        echo(merge_checkpoint_gguf(db, checkpoint, form=gguf, **options))
    else:
        echo(merge_checkpoint(db, checkpoint, dtype=dtype or "bf16", **options))
