"""lema explain: the life of one record."""

from pathlib import Path
from typing import Any

import click

from lema_local import printable

from .options import db_option
from .output import echo, echo_json

LINES, CHARACTERS = 8, 100
# shown by their place in the tree, or only in JSON
HIDDEN = {
    "problem_id", "rationale_id", "correction_id", "source_id", "completion_id", "training_set_id", "checkpoint_id",
    "manifest", "created_at",
}  # fmt: skip


@click.command("explain")
@click.argument("record", metavar="ID")
@db_option
@click.option("--json", "as_json", is_flag=True, help="The tree as JSON, texts whole.")
def command(record: str, db: Path, as_json: bool) -> None:
    """Show what a record was made from and all that came of it.

    ID is the id of any record, or its first characters: a problem, rationale, correction, example, training set,
    checkpoint, review or failed call. A test answer (evaluation) leads back to its checkpoint, the set that trained it,
    and the examples there that are like the test problem.

    \b
    lema explain 5b0b5d21
    lema sql "select id from correction limit 1" && lema explain 77aa0c4e --json
    """
    from lema_local.records.store import Store
    from lema_local.stages.explain import explain

    tree = explain(Store(db), record)
    if as_json:
        echo_json(tree.as_dict())
        return
    for depth, node in tree.walk():
        indent = "  " * depth
        facts = ", ".join(f"{k} {_plain(v)}" for k, v in node.facts.items() if k not in HIDDEN)
        mark = "  <- asked for" if node.is_asked else ""
        echo(f"{indent}{node.kind} {node.id}  {printable.line(facts)}{mark}")
        for line in _shortened(node.text or "") if node.is_asked or not node.children else ():
            echo(f"{indent}    | {line}")
        if node.not_shown:
            echo(f"{indent}  ({node.not_shown} more)")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _shortened(text: str) -> list[str]:
    lines = list(map(printable.line, text.strip().splitlines()))
    cut = [line if len(line) <= CHARACTERS else line[: CHARACTERS - 1] + "…" for line in lines[:LINES]]
    return [*cut, "…"] if len(lines) > LINES else cut
