"""Rows as people or programs want them: an aligned table, CSV, JSON."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import tabulate

from lema_local import printable

Format = Literal["table", "csv", "json"]
CELL_CHARACTERS = 60
tabulate.MIN_PADDING = 0  # two blanks more in each heading would push tables over 80 columns


def format_rows(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, form: Format = "table", guard: bool = True
) -> str:
    """Text for stdout. A table shortens long cells; csv and json keep them whole. `guard`: no cell of CSV is a formula
    (printable.csv_cell)."""
    if form == "json":
        return printable.json_text([dict(zip(columns, row, strict=True)) for row in rows], default=str)
    if form == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows([printable.csv_cell(value, guard=guard) for value in row] for row in (columns, *rows))
        return out.getvalue().rstrip("\n")
    cells = [[_cell(value) for value in row] for row in rows]
    return str(tabulate.tabulate(cells, headers=list(map(printable.line, columns)), disable_numparse=True))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    text = printable.line(value)
    return text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 1] + "…"
