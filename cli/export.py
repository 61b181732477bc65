"""lema export: an arm, a table or a query as a file."""

from pathlib import Path
from typing import Any, get_args

import click

from lema_local.examples.shapes import SHAPES
from lema_local.settings.tables import Arm

from .options import notice, open_run, param_option, public_option, require_database, run_options
from .output import echo


@click.command("export")
@run_options
@click.option(
    "--arm",
    type=click.Choice(get_args(Arm)),
    help="The arm's training examples; built if it is not there.",
)
@click.option(
    "--training-set", metavar="ID|ARM", help="An arm's training examples as the database holds them, and nothing else."
)
@click.option(
    "--shape",
    type=click.Choice(SHAPES),
    default="plain",
    show_default=True,
    help="Of an arm: the columns that a trainer reads.",
)
@click.option("--table", help="A table or view, whole.")
@click.option("--query", help="A named query, or any SELECT.")
@param_option
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "parquet", "datasets"]), default="jsonl", show_default=True
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write; for datasets, and for an arm with its data card, a folder.",
)
@click.option("--push", "repository", metavar="OWNER/NAME", help="Commit an arm's folder to this data set of the Hub.")
@public_option
def command(
    profile: str,
    db: Path,
    arm: Any,
    training_set: str | None,
    shape: Any,
    table: str | None,
    query: str | None,
    params: dict[str, str],
    form: str,
    output: Path,
    repository: str | None,
    public: bool,
    **overrides: Any,
) -> None:
    """Write an arm's training examples, a table or the result of a query to a file.

    An arm in a folder (an output without suffix) gets its data card, and what the trainer of its shape reads.

    \b
    lema export --arm lema --output lema.jsonl
    lema export --training-set lema --db theirs.duckdb --output lema-arm        (from the database alone)
    lema export --arm lema --shape llama-factory --output lema-arm     (a folder: with data card and configuration)
    lema export --arm lema --shape trl --output lema-arm --push me/lema-arm      (private; --public)
    lema export --table correction --format parquet --output corrections.parquet
    lema export --query pass_at_1 --format datasets --output results   (then: datasets.load_dataset("results"))
    """
    from lema_local.errors import LemaError, StoreError
    from lema_local.records.exports import export
    from lema_local.records.queries import query_parameters, query_text
    from lema_local.records.store import Store
    from lema_local.stages.export_arm import export_arm, export_set, files_to_push, is_folder
    from lema_local.stages.push import log_in, push
    from lema_local.stages.recorded import is_part, is_recorded, recorded_set, size_of

    if sum(option is not None for option in (arm, training_set, table, query)) != 1:
        raise click.UsageError("Give one of --arm, --training-set, --table and --query.")
    if repository is None and public:
        raise click.UsageError("--public goes with --push.")
    if repository is not None and ((arm or training_set) is None or not is_folder(output, form)):  # type: ignore[arg-type]
        raise click.UsageError(
            "--push takes an arm in a folder: --arm or --training-set, and an --output without suffix."
        )
    to = None if repository is None else log_in(repository, "dataset", is_public=public)
    if arm is not None:
        require_database(db)
        try:
            with open_run(db, profile, overrides) as run:
                rows = export_arm(run, arm, output, shape=shape, form=form)  # type: ignore[arg-type]
        except LemaError as error:
            if not is_recorded(db, arm):
                raise
            raise StoreError(f"{error} The arm as it was built is in {db}: --training-set {arm}") from error
    elif training_set is not None:
        require_database(db)
        store = Store(db)
        built = recorded_set(store, training_set)
        arm = built.training_set.arm
        if is_part(built):
            notice(f"{db} holds a part of this training set: {len(built.examples)} of {size_of(built)} examples.")
        rows = export_set(store, built, output, shape=shape, form=form)  # type: ignore[arg-type]
    else:
        asked = str(query if table is None else table)
        text, values = query_text(asked), query_parameters(asked, params)
        title = asked if asked.isidentifier() else "query"
        rows = export(Store(db, own_views=True), text, output, form=form, title=title, parameters=values)  # type: ignore[arg-type]
    notice(f"{rows} rows written to {output}")
    if to is not None:
        files = files_to_push(output, arm, shape=shape, form=form)  # type: ignore[arg-type]
        echo(push(to, files, "lema export"))
