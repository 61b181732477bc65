"""lema batch: pending calls by file, for OpenAI's Batch API and for clusters."""

from pathlib import Path
from typing import Any, Literal

import click

from .options import dollars_option, notice, open_run, require_database, run_options
from .output import echo
from .tables import format_rows

Purpose = Literal["sample", "augment", "correct"]
_PURPOSE = click.option(
    "--purpose",
    type=click.Choice(["sample", "augment", "correct"]),
    default="correct",
    show_default=True,
    help="Whose calls.",
)


@click.group("batch")
def command() -> None:
    """Have pending calls done by file: at half the price by OpenAI's Batch API, or by a cluster's own scheduler.

    \b
    lema batch export --purpose sample --parts 8 --output parts
    lema batch run parts/part-0.jsonl --url http://127.0.0.1:8000/v1          # one a job: docs/cluster.md
    lema batch import parts --purpose sample
    """


@command.command("export")
@run_options
@_PURPOSE
@click.option("--output", required=True, type=click.Path(path_type=Path), help="The file, or the folder of parts.")
@click.option("--parts", type=click.IntRange(1, 100_000), metavar="N", help="As N parts, for `lema batch run`.")
def export_command(profile: str, db: Path, purpose: Purpose, output: Path, parts: int | None, **overrides: Any) -> None:
    """Write the pending calls of one endpoint as OpenAI batch JSONL: one file for `vllm run-batch`, which takes only
    calls of chat, or a folder of parts for `lema batch run`, which takes all.

    \b
    lema batch export --purpose correct --output calls.jsonl
    lema batch export --purpose sample --parts 8 --output parts       # part-0.jsonl to part-7.jsonl
    """
    from lema_local.records.exports import refuse_own_files
    from lema_local.stages.batch import export, export_parts
    from lema_local.stages.batch_work import work_of

    _require_mistakes(db, purpose)
    with open_run(db, profile, overrides) as run:
        refuse_own_files(run.store, output)
        work = work_of(run, purpose)
        calls = export(work, output) if parts is None else export_parts(work, output, parts)
        notice(f"{calls} calls to {work.endpoint.name} ({work.endpoint.model}) written to {output}")


@command.command("run")
@click.argument("part", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--url", "urls", required=True, multiple=True, help="Base URL of a server; may be repeated.")
@click.option("--key-env", metavar="NAME", help="The environment variable that holds its API key.")
@click.option("--concurrency", type=int, default=8, show_default=True, help="Calls at once, of each URL.")
@click.option("--deadline", type=float, default=300.0, show_default=True, metavar="S", help="Seconds a call may take.")
@click.option("--without-usage", is_flag=True, help="Take replies without token counts (requires_usage = false).")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: PART with .results.jsonl.")
def run_command(
    part: Path,
    urls: tuple[str, ...],
    key_env: str | None,
    concurrency: int,
    deadline: float,
    without_usage: bool,
    output: Path | None,
) -> None:
    """Make the calls of one part at a server that is there. It needs no database and no profile: a job of a cluster
    runs it beside its own server. Run it again to go on; a call that has a reply is not made again.

    \b
    lema batch run parts/part-$SLURM_ARRAY_TASK_ID.jsonl --url http://127.0.0.1:8000/v1 --concurrency 64
    """
    from lema_local.stages.batch_run import Servers, results_of, run_part

    servers = Servers(
        base_urls=urls,
        api_key_env=key_env,
        concurrency=concurrency,
        deadline_s=deadline,
        requires_usage=not without_usage,
    )
    output = output or results_of(part)
    outcome = run_part(part, output, servers, notice=notice)
    echo(f"{outcome.done} done, {outcome.failed} failed (run again to ask for those); results in {output}")


@command.command("submit")
@run_options
@_PURPOSE
@dollars_option
def submit_command(profile: str, db: Path, purpose: Purpose, budget: float | None, **overrides: Any) -> None:
    """Hand the pending calls in at the endpoint's Batch API. No stage makes them meanwhile.

    \b
    lema batch submit --profile a100 --purpose correct --budget 50usd
    """
    from lema_local.stages.batch import submit
    from lema_local.stages.batch_work import work_of

    _require_mistakes(db, purpose)
    with open_run(db, profile, overrides, budget=budget) as run:
        made = submit(run, work_of(run, purpose))
        for batch in made:
            echo(f"{batch.remote_id}  {batch.calls} calls to {batch.endpoint} at {batch.base_url}")
        if not made:
            notice(f"No call of {purpose} is pending: nothing was handed in. What is waited for: lema batch status")


@command.command("status")
@run_options
def status_command(profile: str, db: Path, **overrides: Any) -> None:
    """Ask how the batches that were handed in stand.

    \b
    lema batch status
    """
    from lema_local.stages.batch import standing

    require_database(db)
    with open_run(db, profile, overrides) as run:
        rows = [
            (batch.name, batch.purpose, batch.endpoint)
            + ((remote.status, remote.completed, remote.failed, batch.calls) if remote else ("?", "", "", batch.calls))
            for batch, remote in standing(run)
        ]
    echo(format_rows(["batch", "purpose", "endpoint", "status", "completed", "failed", "calls"], rows))


@command.command("fetch")
@run_options
def fetch_command(profile: str, db: Path, **overrides: Any) -> None:
    """Import the results of the batches that are over.

    \b
    lema batch fetch
    """
    from lema_local.stages.batch import fetch

    require_database(db)
    with open_run(db, profile, overrides) as run:
        _say(fetch(run))


@command.command("drop")
@click.argument("batch")
@run_options
def drop_command(batch: str, profile: str, db: Path, **overrides: Any) -> None:
    """Wait no longer for a batch (by its name in `lema batch status`): its calls are pending again, and paid for again.

    \b
    lema batch drop batch_68f0c1
    """
    from lema_local.stages.batch import drop

    require_database(db)
    with open_run(db, profile, overrides) as run:
        notice(
            f"{drop(run, batch).calls} calls of {batch} are waited for no longer; those that are not here are pending"
        )


@command.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@run_options
@_PURPOSE
def import_command(files: tuple[Path, ...], profile: str, db: Path, purpose: Purpose, **overrides: Any) -> None:
    """Import files of results, or all of a folder of parts: in any order, with error rows, and twice without doubling.

    \b
    lema batch import results.jsonl --purpose sample
    lema batch import parts --purpose sample
    """
    from lema_local.stages.batch_results import import_files

    require_database(db)
    with open_run(db, profile, overrides) as run:
        _say(import_files(run, purpose, files))


def _require_mistakes(db: Path, purpose: Purpose) -> None:
    """Problems are sampled from nothing, and begin a database; what is corrected was sampled before."""
    if purpose == "correct":
        require_database(db)


def _say(found: Any) -> None:
    echo(
        f"{found.new} new, {found.failed} failed (still pending: see `lema sql failed_calls`), {found.known} known "
        f"already, {found.foreign} of no call of this profile, {found.bad_lines} lines that could not be read"
    )
