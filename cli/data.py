"""lema data: problems, sampling, correction and building, one after the other."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from .options import call_options, engine_options, notice, open_experiment, open_run, run_options
from .output import echo, echo_json
from .tables import format_rows


@click.command("data")
@run_options
@call_options
@engine_options
@click.option("--dry-run", is_flag=True, help="Print calls, tokens and cost of what is pending, and stop.")
@click.option("--json", "as_json", is_flag=True, help="The dry run as JSON.")
def command(
    profile: str, db: Path, budget: float | None, offline: bool, dry_run: bool, as_json: bool, **overrides: Any
) -> None:
    """Sample rationales, have the mistakes corrected, build the training sets.

    What is in the database is never bought again: interrupt it, and the same command goes on.

    \b
    lema data --profile laptop
    lema data --corrector-url https://api.openai.com/v1 --corrector-model gpt-4o --corrector-key-env OPENAI_API_KEY
    lema data --profile a100 --dataset gsm8k --data-path gsm8k --dry-run
    lema data --profile a100 --budget 50usd
    """
    if dry_run:
        _print_estimate(profile, db, overrides, as_json=as_json)
        return
    if as_json:
        raise click.UsageError("--json goes with --dry-run.")
    from lema_local.stages.opening import make_data

    with open_run(db, profile, overrides, budget=budget, offline=offline) as run:
        for built in make_data(run):
            s = built.training_set
            echo(f"{s.arm}: {s.cot_examples} CoT + {s.correction_examples} corrections  training set {s.id}")


def _print_estimate(profile: str, db: Path, overrides: dict[str, Any], *, as_json: bool) -> None:
    from lema_local.stages.estimate import estimate

    with open_experiment(db, profile, overrides) as experiment:
        rows = [dataclasses.asdict(row) for row in estimate(experiment)]
    if as_json:
        echo_json(rows)
    else:
        echo(format_rows(list(rows[0]), [list(row.values()) for row in rows]))
    new = sum(row["calls"] for row in rows if row["stage"] == "evolve")
    if new:
        notice(
            f"The samples, corrections and paths of the (at most) {new} problems that evolution is to make come on top."
        )
    known = [row["usd"] for row in rows if row["usd"] is not None]
    if known and not as_json:
        echo(f"${sum(known):.2f} in all, as far as prices are known (genai-prices' list, usd_per_million_*)")
