"""What commands print: every line and every JSON goes through here, so that no text of others drives a terminal."""

from typing import Any

import click

from lema_local import printable


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """A line, or lines, for people: to stdout, or with `err` to stderr."""
    click.echo(printable.lines(str(text)), err=err, nl=nl)


def echo_json(value: Any, *, indent: int | None = 1) -> None:
    """Plain data for programs, on stdout."""
    click.echo(printable.json_text(value, indent=indent, default=str))
