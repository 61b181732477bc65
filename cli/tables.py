"""Rows as people or programs want them: an aligned table, CSV, JSON."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import tabulate

Format = Literal["table", "csv", "json"]
CELL_CHARACTERS = 60
tabulate.MIN_PADDING = 0  # two blanks more in each heading would push tables over 80 columns


def format_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, form: Format = "table") -> str:
    """Text for stdout. A table shortens long cells; csv and json keep them whole."""
    if form == "json":
        return json.dumps(
            [dict(zip(columns, row, strict=True)) for row in rows], default=str, indent=1, ensure_ascii=False
        )
    if form == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        return out.getvalue().rstrip("\n")
    cells = [[_cell(value) for value in row] for row in rows]
    return str(tabulate.tabulate(cells, headers=list(columns), disable_numparse=True))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    text = "".join(
        character if character.isprintable() else " " for character in str(value)
    )  # model text must not drive a terminal
    return text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 1] + "…"
