"""lema export: an arm, a table or a query as a file."""

from pathlib import Path
from typing import Any

import click

from .options import notice, open_run, run_options


@click.command("export")
@run_options
@click.option(
    "--arm",
    type=click.Choice(["cot", "lema", "lema-controlled"]),
    help="The arm's training examples; built if it is not there.",
)
@click.option("--table", help="A table or view, whole.")
@click.option("--query", help="A named query, or any SELECT.")
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "parquet", "datasets"]), default="jsonl", show_default=True
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="The file to write; for datasets, a folder."
)
def command(
    profile: str, db: Path, arm: Any, table: str | None, query: str | None, form: str, output: Path, **overrides: Any
) -> None:
    """Write an arm's training examples, a table or the result of a query to a file.

    \b
    lema export --arm lema --output lema.jsonl
    lema export --table correction --format parquet --output corrections.parquet
    lema export --arm lema --format datasets --output lema-arm   (then: datasets.load_dataset("lema-arm"))
    """
    from lema_local.exports import export
    from lema_local.queries import query_text
    from lema_local.stages.build import build
    from lema_local.store import Store, stage_sql

    if sum(option is not None for option in (arm, table, query)) != 1:
        raise click.UsageError("Give one of --arm, --table and --query.")
    parameters = {}
    if arm is not None:
        with open_run(db, profile, overrides) as run:
            parameters["training_set_id"] = build(run, (arm,))[0].training_set.id
        query = stage_sql("arm_examples")
    text = query_text(str(table) if query is None else query)
    title = f"Training examples of the arm {arm}" if arm else str(table or "query")
    rows = export(Store(db), text, output, form=form, title=title, parameters=parameters)  # type: ignore[arg-type]
    notice(f"{rows} rows written to {output}")
