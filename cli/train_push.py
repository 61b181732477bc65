"""lema train push: a checkpoint with its model card, to the Hugging Face Hub."""

from pathlib import Path

import click

from .options import db_option, notice, public_option, require_database
from .output import echo


@click.command("push")
@click.argument("checkpoint", metavar="CHECKPOINT")
@click.option("--repo", required=True, metavar="OWNER/NAME", help="The model repository; made if it is not there.")
@public_option
@db_option
def command(checkpoint: str, repo: str, public: bool, db: Path) -> None:
    """Push a checkpoint's weights and model card to the Hub: one commit, private unless --public.

    CHECKPOINT is the first characters of its id, or its directory. The token is HF_TOKEN, or that of `hf auth login`.

    \b
    lema train push 4be2 --repo me/lema-gsm8k
    """
    from lema_local.stages.push import checkpoint_files, log_in, push

    to = log_in(repo, "model", is_public=public)
    require_database(db)
    files = checkpoint_files(db, checkpoint)
    notice(f"pushing {', '.join(sorted(files))} to {repo}")
    echo(push(to, files, "lema train push"))
