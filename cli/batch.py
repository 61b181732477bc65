"""lema batch: pending calls by file, for OpenAI's Batch API and `vllm run-batch`."""

from pathlib import Path
from typing import Any, Literal

import click

from .options import dollars_option, notice, open_run, run_options
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
    lema batch export --purpose sample --output calls.jsonl
    vllm run-batch -i calls.jsonl -o results.jsonl --model meta-llama/Llama-2-70b-hf --served-model-name llama-2-70b
    lema batch import results.jsonl --purpose sample
    """


@command.command("export")
@run_options
@_PURPOSE
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
def export_command(profile: str, db: Path, purpose: Purpose, output: Path, **overrides: Any) -> None:
    """Write the pending calls of one endpoint as OpenAI batch JSONL.

    \b
    lema batch export --purpose correct --output calls.jsonl
    """
    from lema_local.records.exports import refuse_own_files
    from lema_local.stages.batch import export, work_of

    with open_run(db, profile, overrides) as run:
        refuse_own_files(run.store, output)
        work = work_of(run, purpose)
        notice(f"{export(work, output)} calls to {work.endpoint.name} ({work.endpoint.model}) written to {output}")


@command.command("submit")
@run_options
@_PURPOSE
@dollars_option
def submit_command(profile: str, db: Path, purpose: Purpose, budget: float | None, **overrides: Any) -> None:
    """Hand the pending calls in at the endpoint's Batch API. No stage makes them meanwhile.

    \b
    lema batch submit --profile a100 --purpose correct --budget 50usd
    """
    from lema_local.stages.batch import submit, work_of

    with open_run(db, profile, overrides, budget=budget) as run:
        for batch in submit(run, work_of(run, purpose)):
            echo(f"{batch.remote_id}  {batch.calls} calls to {batch.endpoint} at {batch.base_url}")


@command.command("status")
@run_options
def status_command(profile: str, db: Path, **overrides: Any) -> None:
    """Ask how the batches that were handed in stand.

    \b
    lema batch status
    """
    from lema_local.stages.batch import standing

    with open_run(db, profile, overrides) as run:
        rows = [
            (batch.remote_id, batch.purpose, batch.endpoint)
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

    with open_run(db, profile, overrides) as run:
        notice(
            f"{drop(run, batch).calls} calls of {batch} are waited for no longer; those that are not here are pending"
        )


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@run_options
@_PURPOSE
def import_command(file: Path, profile: str, db: Path, purpose: Purpose, **overrides: Any) -> None:
    """Import a file of results: in any order, in parts, with error rows, and twice without doubling.

    \b
    lema batch import results.jsonl --purpose sample
    """
    from lema_local.stages.batch import import_results

    with open_run(db, profile, overrides) as run, file.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        _say(import_results(run, purpose, filter(str.strip, lines)))


def _say(found: Any) -> None:
    echo(
        f"{found.new} new, {found.failed} failed (still pending: see `lema sql failed_calls`), {found.known} known "
        f"already, {found.foreign} of no call of this profile, {found.bad_lines} lines that could not be read"
    )
