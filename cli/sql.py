"""lema sql: named queries, views and any SELECT, also while a run goes on."""

from pathlib import Path

import click

from .options import db_option, notice, param_option
from .output import echo


@click.command("sql")
@click.argument("query", required=False)
@click.option("--list", "list_", is_flag=True, help="List the named queries and views.")
@click.option("--describe", is_flag=True, help="Say what the columns of a named query are, and show its SQL.")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json", "parquet"]), default="table", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--formulas", is_flag=True, help="CSV as it is: a spreadsheet may run cells that begin with = + - @.")
@param_option
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file to write; parquet needs one.")
@db_option
def command(
    query: str | None,
    list_: bool,
    describe: bool,
    form: str,
    as_json: bool,
    formulas: bool,
    params: dict[str, str],
    output: Path | None,
    db: Path,
) -> None:
    """Ask the database: a named query or view, or any one SELECT. It is opened read-only, and reaches no other file.

    \b
    lema sql --list
    lema sql self_correction_rate
    lema sql self_correction_rate --describe
    lema sql lineage --param id=5b0b5d21
    lema sql pass_at_1 --format parquet --output pass_at_1.parquet
    lema sql "select incorrect_step, count(*) from correction where rejected_because is null group by all"
    """
    from lema_local.records.exports import export, refuse_doubled, refuse_own_files, write_text
    from lema_local.records.queries import describe_query, named_queries, query_parameters, query_text, run_query
    from lema_local.records.store import Store

    from .tables import format_rows

    if list_ or query is None:
        widest = max(map(len, named_queries()))
        for name, named in named_queries().items():
            echo(f"{name:{widest}} {named.question}")
        return
    if describe:
        echo(describe_query(query))
        return
    store = Store(db, own_views=True)
    if output is not None:
        refuse_own_files(store, output)
    if form == "parquet" and not as_json:
        if output is None:
            raise click.UsageError("Parquet goes to a file: add --output FILE.parquet")
        text, values = query_text(query), query_parameters(query, params)
        rows_written = export(store, text, output, form="parquet", title=query, parameters=values)
        notice(f"{rows_written} rows written to {output}")
        return
    columns, rows = run_query(store, query, params)
    form = "json" if as_json else form
    if form == "json":
        refuse_doubled(columns)
    text = format_rows(columns, rows, form=form, guard=not formulas)  # type: ignore[arg-type]
    if output is None:
        echo(text)
    else:
        write_text(output, text + "\n")
        notice(f"{len(rows)} rows written to {output}")
