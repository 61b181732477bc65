"""Options that several commands share, and the run that they describe."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from lema_local.errors import StoreError, did_you_mean
from lema_local.settings.assignments import Assignment, read_assignment
from lema_local.settings.profiles import Overrides, load_profile
from lema_local.settings.tables import Arm
from lema_local.settings.training import Tracker
from lema_local.stages.run import Experiment, Run

from .output import echo

F = TypeVar("F", bound=Callable[..., Any])

_PROFILE = click.option("--profile", default="laptop", show_default=True, help="A profile's name, or a TOML file.")
_DB = click.option(
    "--db",
    default="lema.duckdb",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The database file.",
)
_OVERRIDES = (
    click.option("--model", help="The student: a model's name, a GGUF file, a folder or a Hub id."),
    click.option("--dataset", help="gsm-symbolic, gsm8k, math, ... or a name for your own."),
    click.option("--data-path", help="A file of problems, or a folder with train.* and test.*."),
    click.option("--limit", type=int, help="At most this many problems of each split."),
    click.option("--corrector-url", help="Base URL of the corrector, e.g. https://api.openai.com/v1."),
    click.option("--corrector-model", help="The corrector's model name there, or what its recipe serves."),
    click.option("--corrector-key-env", help="The environment variable that holds its API key."),
)


def _assignments(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Assignment, ...]:
    """KEY=VALUE, each with a TOML value."""
    try:
        return tuple(map(read_assignment, values))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_SET = click.option(
    "--set",
    "assignments",
    multiple=True,
    callback=_assignments,
    metavar="KEY=VALUE",
    help="Any key of the profile, e.g. sampling.samples=4; may be repeated.",
)
_WAIT = click.option(
    "--wait",
    is_flag=True,
    expose_value=False,
    callback=lambda context, option, value: context.meta.update({"lema.wait": value}),
    help="Wait for another run on the same database to end.",
)


def _dollars(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """5, 5usd, $5 and 0.50 USD are amounts."""
    if value is None:
        return None
    match = re.fullmatch(r"\$?(\d{1,9}(?:\.\d{1,6})?)(?:usd)?", value.replace(" ", "").lower())
    if match is None or float(match[1]) <= 0:
        raise click.BadParameter(f"{value!r}: write an amount of US dollars, e.g. 5usd")
    return float(match[1])


dollars_option = click.option(
    "--budget",
    callback=_dollars,
    metavar="USD",
    help="What this command may spend, e.g. 5usd: it stops before the call that might pass it.",
)
_OFFLINE = click.option(
    "--offline", is_flag=True, help="Call nothing: every reply must be in the database, or it is an error."
)


def _seeds(context: click.Context, parameter: click.Parameter, value: str | None) -> int | range | None:
    """`3`: so many; `43-51`: from 43 to 51."""
    if value is None:
        return None
    first, dash, last = value.partition("-")
    if not all(part.isdecimal() for part in ((first, last) if dash else (first,))):
        raise click.BadParameter(f"{value!r}: give how many, 10, or which ones, 43-51.")
    if not dash:
        return int(first)
    if int(last) < int(first):
        raise click.BadParameter(f"{value!r}: the first is above the last.")
    return range(int(first), int(last) + 1)


seeds_option = click.option(
    "--seeds",
    callback=_seeds,
    metavar="N",
    help="Train each arm N times, with the profile's seed and the N - 1 after it; 43-51: with those seeds.",
)


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE, each name an identifier."""
    pairs = {}
    for given in values:
        name, found, value = given.partition("=")
        if not found or not name.isidentifier():
            raise click.BadParameter(f"{given!r}: write NAME=VALUE")
        pairs[name] = value
    return pairs


public_option = click.option("--public", is_flag=True, help="With a push: a repository that all may see; else private.")
param_option = click.option(
    "--param",
    "params",
    multiple=True,
    callback=_pairs,
    metavar="NAME=VALUE",
    help="A parameter $NAME of the query; may be repeated.",
)


def db_option(function: F) -> F:
    """--db"""
    return _DB(function)


def run_options(function: F) -> F:
    """--profile, --db and everything that overrides a profile."""
    for option in (_WAIT, _SET, *reversed(_OVERRIDES), _DB, _PROFILE):
        function = option(function)
    return function


def set_option(function: F) -> F:
    """--set, of the commands that take a profile and no other override of it."""
    return _SET(function)


def match_option(function: F) -> F:
    """--match, of the commands that train arms or look for what was trained."""
    return click.option(
        "--match",
        type=click.Choice(["steps", "epochs", "tokens"]),
        help="Arms of different size take as many steps (the default), or what gives the first arm's epochs or tokens.",
    )(function)


def _arms(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Names of arms, with commas between them."""
    if value is None:
        return None
    names = tuple(name.strip() for name in value.split(","))
    for name in names:
        if name not in get_args(Arm):
            raise click.BadParameter(f"no arm {name!r}{did_you_mean(name, get_args(Arm))}: write cot,lema")
    return names


def arms_option(function: F) -> F:
    """--arms, of the commands that train arms or look for what was trained."""
    return click.option(
        "--arms",
        callback=_arms,
        metavar="A,B,...",
        help="These arms instead of the profile's; the first sets the measure of --match.",
    )(function)


def training_set_option(function: F) -> F:
    """--training-set, of the commands that train arms or look for what was trained."""
    return click.option(
        "--training-set",
        "training_sets",
        multiple=True,
        metavar="ID|ARM",
        help="This training set as the database holds it, instead of the profile's arms; one of each arm.",
    )(function)


def truncate_option(function: F) -> F:
    """--truncate, of the commands that train arms or look for what was trained."""
    return click.option(
        "--truncate",
        is_flag=True,
        default=None,
        help="Over-long examples are cut at a step, not left out; another run.",
    )(function)


def report_to_option(function: F) -> F:
    """--report-to, of the commands whose steps or results a tracker shows."""
    return click.option(
        "--report-to",
        type=click.Choice(get_args(Tracker)),
        help="Show the steps of training and each evaluation in a tracker of experiments, if it is installed.",
    )(function)


def call_options(function: F) -> F:
    """--budget and --offline, of the commands that call models."""
    return dollars_option(_OFFLINE(function))


def engine_options(function: F) -> F:
    """--engine and --ray-address, of the commands that make many calls."""
    for option in (
        click.option("--ray-address", metavar="auto|HOST:PORT", help="Of the cluster; auto: the one of this machine."),
        click.option(
            "--engine", type=click.Choice(["local", "ray"]), help="Where calls are made; ray: docs/cluster.md."
        ),
    ):
        function = option(function)
    return function


def notice(message: str) -> None:
    """A line for the user, on stderr."""
    echo(message, err=True)


def require_database(db: Path) -> None:
    """A mistyped --db must not make a new, empty database."""
    if not db.exists():
        raise StoreError(f"No database at {db}. Make one with `make data`, or name another with --db.")


@contextmanager
def open_run(
    db: Path,
    profile: str,
    overrides: dict[str, Any],
    *,
    budget: float | None = None,
    offline: bool = False,
    training_sets: tuple[str, ...] = (),
) -> Iterator[Run]:
    """The experiment that the options describe, with its database open for writing."""
    from lema_local.stages import opening

    loaded = load_profile(profile, Overrides(**overrides))
    wait = click.get_current_context().meta.get("lema.wait", False)
    limits: dict[str, Any] = {"budget": budget, "offline": offline, "training_sets": training_sets}
    with opening.open_run(loaded, db, notice, wait=wait, **limits) as run:
        yield run


@contextmanager
def open_experiment(db: Path, profile: str, overrides: dict[str, Any]) -> Iterator[Experiment]:
    """The same to look at: its database open for reading, an empty one where there is none yet."""
    from lema_local.stages import opening

    with opening.open_experiment(load_profile(profile, Overrides(**overrides)), db, notice) as experiment:
        yield experiment


def refuse_options_before(context: click.Context) -> None:
    """Of a group that is a command as well: options given before its subcommand would be lost without a word."""
    given = any(context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE for name in context.params)
    if given:
        raise click.UsageError(f"Options go after {context.invoked_subcommand}.")
