"""lema report: one self-contained HTML file of what the database holds, beside what the paper says."""

from pathlib import Path

import click

from lema_local.settings.assignments import Assignment

from .options import db_option, notice, require_database, set_option
from .output import echo

PORT = 8651  # of --watch, beside the review page's


@click.command("report")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default="report.html", show_default=True)
@click.option(
    "--figures", type=click.Path(path_type=Path, file_okay=False), help="A folder for the figures, as SVG and PNG."
)
@click.option("--title", default="Does learning from mistakes help?", show_default=True)
@click.option("--seed", default=1, show_default=True, help="Draws the samples.")
@click.option(
    "--profile",
    help="The profile that was run: its margin holds, the answer is that of its correctors, and the manifest shows it.",
)
@click.option("--watch", is_flag=True, help="Serve it on a page of this machine while a run goes on; Ctrl-C ends it.")
@click.option(
    "--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="Of --watch; 0: any free one."
)
@set_option
@db_option
@click.pass_context
def command(
    context: click.Context, /, output: Path, figures: Path | None, title: str, seed: int, profile: str | None,
    assignments: tuple[Assignment, ...], watch: bool, port: int, db: Path,
) -> None:  # fmt: skip
    """Write the report: the paper's claims, tables and figures with our data, samples to browse, and the manifest.

    It opens from disk, needs no network, and reads the database only, also while a run goes on. With --watch it is a
    page that follows the run: progress, cost, losses, and corrections as they come.

    \b
    lema report
    lema report --profile laptop --output report.html --figures figures/
    lema report --watch
    """
    from lema_local.records.exports import refuse_own_files
    from lema_local.records.store import Store
    from lema_local.report.watch import serve
    from lema_local.report.write import write_report
    from lema_local.settings.profiles import Overrides, load_profile

    for name in ("output", "figures") if watch else ("port",):
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name} is {'not ' if watch else ''}for --watch.")
    if assignments and not profile:
        raise click.UsageError("--set goes with --profile.")
    named = load_profile(profile, Overrides(assignments=assignments)) if profile else None
    store = Store(db, own_views=True)
    if watch:
        require_database(db)

        def ready(address: str) -> None:
            notice("Open this address; Ctrl-C ends it.")
            echo(address)

        serve(store, title=title, seed=seed, profile=named, port=port, on_ready=ready, on_notice=notice)
        notice("No longer watching. The same as a file: lema report")
        return
    refuse_own_files(store, output)
    for path in write_report(store, output, title=title, seed=seed, pictures=figures, profile=named, on_notice=notice):
        notice(f"written: {path}")
