"""lema problems: load and count the problems of a profile; check them for overlaps between train and test."""

import sys
from pathlib import Path
from typing import Any

import click

from lema_local.errors import DataError

from .options import notice, refuse_options_before, run_options
from .output import echo, echo_json
from .tables import format_rows


@click.group("problems", invoke_without_command=True)
@run_options
@click.option("--split", type=click.Choice(["train", "test"]), help="Only this split.")
@click.pass_context
def command(context: click.Context, /, profile: str, db: Path, split: str | None, **overrides: Any) -> None:
    """Read or generate the problems of a profile, report every bad row with file and line, and count the rest.

    Of a data set known by name it says whether this is the split that was published.

    \b
    lema problems --dataset gsm8k --data-path ~/gsm8k
    lema problems check --dataset gsm8k --data-path ~/gsm8k
    """
    if context.invoked_subcommand is not None:
        refuse_options_before(context)
        return
    from lema_local.problems.datasets import presets
    from lema_local.settings.profiles import Overrides, load_profile
    from lema_local.stages.problems import SPLITS, load_splits, report_bad_rows

    data = load_profile(profile, Overrides(**overrides)).data
    preset = presets().get(data.dataset)
    wanted = tuple(name for name in SPLITS if split in (None, name))
    if split is None and preset and preset.is_for_evaluation and data.test_path is None:
        wanted = ("test",)
    loaded = load_splits(data, wanted, notice)
    for name in wanted:
        problems = loaded[name].problems
        report_bad_rows(loaded[name].bad_rows, notice, sys.maxsize)
        for remark in loaded[name].remarks:
            notice(f"{remark.file}:{remark.line}: {remark.reason}")
        solved = sum(problem.solution is not None for problem in problems)
        kinds = f" ({', '.join(sorted({problem.kind for problem in problems}))})" if problems else ""
        echo(f"{data.dataset} {name}: {len(problems)} problems{kinds}, {solved} with a solution")
        if loaded[name].published:
            echo(f"{data.dataset} {name} {loaded[name].published}")


@command.command("check")
@run_options
@click.option(
    "--against",
    multiple=True,
    metavar="NAME=PATH",
    help="Compare with this test split instead of the profile's own; may be given several times.",
)
@click.option("--pairs", default=20, show_default=True, help="At most so many pairs in the table.")
@click.option("--json", "as_json", is_flag=True, help="Every pair, as JSON.")
def check(profile: str, db: Path, against: tuple[str, ...], pairs: int, as_json: bool, **overrides: Any) -> None:
    """Find train problems that overlap test problems: exact, near (word 3-grams), ngram (13 words in a row).

    Training sets leave these out (decontaminate in the profile's [data]). Pairs that differ in their numbers alone are
    shown as template, and stay.

    \b
    lema problems check --dataset gsm8k --data-path ~/gsm8k
    lema problems check --dataset gsm8k --data-path ~/gsm8k --against svamp=~/svamp --against math=~/MATH
    """
    from lema_local.problems.decontamination import leave_out
    from lema_local.settings.profiles import Overrides, load_profile
    from lema_local.stages.problems import find_overlaps, kinds_left_out

    data = load_profile(profile, Overrides(**overrides)).data
    sets = [_name_and_path(text) for text in against]
    train, found = find_overlaps(data, notice, against=sets)
    kinds = kinds_left_out(data) if not sets else frozenset()  # training sets look at the profile's own test split
    if as_json:
        rows = [
            {
                "kind": o.kind,
                "score": o.score,
                "test_dataset": o.test.dataset,
                "train_id": o.train.id,
                "test_id": o.test.id,
                "train_question": o.train.question,
                "test_question": o.test.question,
                "is_left_out": o.kind in kinds,
            }
            for o in found
        ]
        echo_json(rows)
    elif found:
        cells = [(o.kind, o.score, o.test.dataset, o.train.question, o.test.question) for o in found[:pairs]]
        echo(format_rows(["kind", "score", "test set", "train problem", "test problem"], cells))
    if len(found) > pairs and not as_json:
        notice(f"... and {len(found) - pairs} pairs more; --json has them all.")
    kept, _ = leave_out(train, found, kinds)
    touched = len({o.train.id for o in found})
    notice(
        f"{len(found)} overlapping pairs with {touched} of {len(train)} train problems; {len(train) - len(kept)} are "
        "left out of training."
    )


def _name_and_path(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise DataError(f"--against {text}: write NAME=PATH, e.g. svamp=data/svamp.")
    return name, Path(path).expanduser()
