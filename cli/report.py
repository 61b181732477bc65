"""lema report: one self-contained HTML file of what the database holds, beside what the paper says."""

from pathlib import Path

import click

from .options import db_option, notice


@click.command("report")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default="report.html", show_default=True)
@click.option(
    "--figures", type=click.Path(path_type=Path, file_okay=False), help="A folder for the figures, as SVG and PNG."
)
@click.option("--title", default="Does learning from mistakes help?", show_default=True)
@click.option("--seed", default=1, show_default=True, help="Draws the samples.")
@click.option("--profile", help="The profile that was run, for the manifest: a name or a file.")
@db_option
def command(output: Path, figures: Path | None, title: str, seed: int, profile: str | None, db: Path) -> None:
    """Write the report: the paper's claims, tables and figures with our data, samples to browse, and the manifest.

    It opens from disk, needs no network, and reads the database only, also while a run goes on.

    \b
    lema report
    lema report --profile laptop --output report.html --figures figures/
    """
    from lema_local.records.exports import refuse_own_files
    from lema_local.records.store import Store
    from lema_local.report.write import write_report
    from lema_local.settings.profiles import load_profile

    store = Store(db, own_views=True)
    refuse_own_files(store, output)
    named = load_profile(profile) if profile else None
    for path in write_report(store, output, title=title, seed=seed, pictures=figures, profile=named, on_notice=notice):
        notice(f"written: {path}")
