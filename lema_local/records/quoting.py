"""Names and texts in SQL, where a statement takes no parameter: ATTACH, COPY, settings, a table's name. Pure.

identifier('a "b" c')         # '"a ""b"" c"'
literal("it's.parquet")       # "'it''s.parquet'"
"""

from pathlib import Path


def identifier(name: str) -> str:
    """The name of a table or database, whatever letters it has."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Path | str) -> str:
    """A text, or a path as one."""
    return "'" + str(value).replace("'", "''") + "'"
