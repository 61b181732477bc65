"""`lema`: one command group a file. A command parses, makes one call and prints; LemaError becomes one line and exit
code 1.

Commands are imported when they are asked for, so that `lema --help` needs neither torch nor a tenth of a second of
DuckDB.
"""

import atexit
import gc
import importlib
import os
import select
import signal
import sys
from typing import Any, NoReturn

import click

from lema_local.errors import LemaError, did_you_mean, is_interrupt

from .output import echo

# name -> (module, help line); the module holds a click command named `command`
COMMANDS: dict[str, tuple[str, str]] = {
    "data": (".data", "Sample rationales, have the mistakes corrected, build the training sets."),
    "train": (".train", "Fine-tune the student with QLoRA on each arm."),
    "eval": (".eval", "Evaluate the base model and every checkpoint; print whether LeMa helped."),
    "problems": (".problems", "Load or generate the problems of a profile and check them."),
    "batch": (".batch", "Have pending calls done by file: the Batch API, or a cluster's own jobs."),
    "report": (".report", "Write one HTML file: claims, tables, figures, samples, manifest."),
    "status": (".status", "Count what is in the database."),
    "review": (".review", "Grade corrections by hand, or by a judge; counts and agreement."),
    "sql": (".sql", "Ask the database: a named query, a view or any SELECT."),
    "explain": (".explain", "Show the life of a record: what it was made from, what came of it."),
    "export": (".export", "Write an arm, a table or a query to a file."),
    "import": (".import_", "Take in rationales or corrections made elsewhere."),
    "db": (".db", "Compact, back up or check a database file."),
    "grade": (".grade", "Grade a file of answers; needs no database."),
    "rederive": (".rederive", "Grade and parse everything anew, with no LLM call."),
    "serve": (".serve", "Start a server from its recipe and keep it."),
    "doctor": (".doctor", "Say what is installed, what is missing and what to type."),
    "profiles": (".profiles", "List the profiles, or show one."),
    "models": (".models", "List the models known by name."),
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0], __package__).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if any(map(_has_lost_its_reader, (sys.stdout, sys.stderr))):
                raise
            # click takes every broken pipe for a reader that is gone, and would end without a word
            raise LemaError("A connection or another process broke off. Run the same command again.") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            ctx.fail(f"No such command {args[0]!r}{did_you_mean(args[0], COMMANDS)}.")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lema-local")
def cli() -> None:
    """Let a language model learn from its own mistakes, on your own machines (LeMa, arXiv 2310.20689).

    \b
    The main job:   lema data && lema train && lema eval     (or: make data train eval)
    Another scale:  lema data --profile a100 --model llama-2-70b --dataset gsm8k
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """The entry point: errors a user can mend are one line on stderr."""
    # What is alive at the end dies with the process: without this Python first walks through all of it, half a second.
    atexit.register(gc.freeze)
    signal.signal(signal.SIGTERM, _interrupt)  # kill stops servers and keeps records just as Ctrl-C does
    try:
        result: Any = cli.main(args=arguments, prog_name="lema", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        echo(error.format_message())
        sys.exit(0)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "lema"
        echo(f"Error: {error.format_message()} See: {path} --help", err=True)
        sys.exit(1)
    except click.ClickException as error:
        echo(f"Error: {error.format_message()}", err=True)
        sys.exit(1)
    except LemaError as error:
        echo(f"Error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader is gone: say nothing at exit either
        sys.exit(0)
    except OSError as error:
        echo(f"Error: {error.filename or 'This machine'}: {error.strerror or error}.", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        _stopped()
    except RuntimeError as error:
        if not is_interrupt(error):
            raise
        _stopped()
    sys.exit(result if isinstance(result, int) else 0)


def _stopped() -> NoReturn:
    echo("\nStopped. Nothing is lost: run the same command again to go on.", err=True)
    sys.exit(130)


def _has_lost_its_reader(stream: Any) -> bool:
    """Whether what is written goes into a pipe at whose other end nobody is any more."""
    try:
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):  # no file of the system's
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _interrupt(number: int, frame: object) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start what a script puts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)  # whoever handles Ctrl-C at this moment (asyncio, or Python itself) handles kill
