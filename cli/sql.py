"""lema sql: named queries, views and any SELECT, also while a run goes on."""

from pathlib import Path

import click

from .options import db_option


@click.command("sql")
@click.argument("query", required=False)
@click.option("--list", "list_", is_flag=True, help="List the named queries and views.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter $NAME of the query; may be repeated."
)
@db_option
def command(query: str | None, list_: bool, form: str, as_json: bool, params: tuple[str, ...], db: Path) -> None:
    """Ask the database: a named query or view, or any SELECT. It is opened read-only.

    \b
    lema sql --list
    lema sql self_correction_rate
    lema sql "select incorrect_step, count(*) from correction where rejected_because is null group by all"
    """
    from lema_local.queries import named_queries, run_query
    from lema_local.store import Store

    from .tables import format_rows

    if list_ or query is None:
        for name, question in named_queries().items():
            click.echo(f"{name:24} {question}")
        return
    columns, rows = run_query(Store(db, own_views=True), query, dict(_pair(param) for param in params))
    click.echo(format_rows(columns, rows, form="json" if as_json else form))  # type: ignore[arg-type]


def _pair(param: str) -> tuple[str, str]:
    name, found, value = param.partition("=")
    if not found or not name.isidentifier():
        raise click.BadParameter(f"{param!r}: write NAME=VALUE", param_hint="--param")
    return name, value
