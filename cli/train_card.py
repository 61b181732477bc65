"""lema train card: the model card of a checkpoint."""

from pathlib import Path

import click

from .options import db_option, notice, require_database
from .output import echo


@click.command("card")
@click.argument("checkpoint", metavar="CHECKPOINT")
@db_option
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file, e.g. README.md; else stdout.")
def command(checkpoint: str, db: Path, output: Path | None) -> None:
    """Write a checkpoint's model card: data, settings, results with intervals, licence, limits.

    CHECKPOINT is the first characters of its id, or its directory. Markdown with the Hub's front matter.

    \b
    lema train card 4be2 --output README.md
    """
    from lema_local.records.exports import refuse_own_files, write_text
    from lema_local.records.store import Store
    from lema_local.stages.card import model_card

    require_database(db)
    if output is not None:
        refuse_own_files(Store(db), output)
    card = model_card(db, checkpoint)
    if output is None:
        echo(card, nl=False)
        return
    write_text(output, card)
    notice(f"{output}: {len(card.splitlines())} lines")
