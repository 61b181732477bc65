"""Pages of the site that are made from the code when it is built (mkdocs.yml names this file): the command line, from
click's own help.

    command_line()      # "# Command line\n\n## lema data\n\n```\nUsage: lema data [OPTIONS]\n..."
"""

from collections.abc import Iterator
from typing import Any

import click

PAGE = "command-line.md"


def on_files(files: Any, config: Any) -> Any:
    """mkdocs asks which files there are: one more (https://www.mkdocs.org/dev-guide/plugins/#on_files)."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=command_line()))
    return files


def command_line() -> str:
    """Every command with its help, as Markdown."""
    from lema_local.cli.main import cli

    pages = [f"## {name}\n\n```text\n{text}\n```\n" for name, text in _helps(cli, "lema", None)]
    return "\n".join(["# Command line\n", "What `lema COMMAND --help` prints, all in one place.\n", *pages])


def _helps(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    context = click.Context(command, info_name=name.rpartition(" ")[2], parent=parent, max_content_width=100)
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            if found is not None and not found.hidden:
                yield from _helps(found, f"{name} {each}", context)
