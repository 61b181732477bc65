"""lema eval: pass@1 of the base model and of every checkpoint, and whether LeMa helped."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from .options import call_options, match_option, open_run, run_options
from .tables import format_rows


@click.command("eval")
@run_options
@match_option
@call_options
@click.option(
    "--json", "as_json", is_flag=True, help="Rows with model, dataset, arm, step, n, correct, pass_at_1, low, high."
)
def command(profile: str, db: Path, as_json: bool, budget: float | None, offline: bool, **overrides: Any) -> None:
    """Evaluate the base model and every checkpoint of every arm: zero-shot, greedy, with no merge.

    \b
    lema eval
    lema eval --json
    """
    from lema_local.report.results import arm_results, checkpoint_results, differences
    from lema_local.stages.evaluate import evaluate, facts, result_rows

    with open_run(db, profile, overrides, budget=budget, offline=offline) as run:
        targets, _ = evaluate(run)
        results = checkpoint_results(result_rows(run, targets))
        before = facts(run, targets)
    if as_json:
        rows = [{k: v for k, v in dataclasses.asdict(r).items() if k != "by_problem"} for r in results]
        click.echo(json.dumps(rows, indent=1))
        return
    for line in before:
        click.echo(line)
    click.echo()
    cells = [
        (
            r.arm,
            r.step,
            f"{r.correct}/{r.n}",
            f"{r.pass_at_1:.1%}",
            f"{r.low:.1%} to {r.high:.1%}",
            f"{r.cut_off}/{r.n}",
        )
        for r in results
    ]
    click.echo(format_rows(["arm", "step", "correct", "pass@1", "95% interval (Wilson)", "cut off"], cells))
    click.echo()
    for arm in arm_results(results):
        best = " / ".join(f"{value:.1%}" for value in arm.best)
        click.echo(
            f"{arm.arm}: best {len(arm.best)} checkpoints {best}, mean {arm.mean:.1%} (chosen on the test split)"
        )
    click.echo()
    paired = [
        (
            f"{d.arm} - {d.against}",
            d.step,
            f"{100 * d.paired.difference:+.1f}",
            f"{100 * d.paired.low:+.1f} to {100 * d.paired.high:+.1f}",
            d.paired.gained,
            d.paired.lost,
            f"{d.paired.p_value:.2g}",
            d.in_words,
        )
        for d in differences(results)
    ]
    if paired:
        columns = [
            "last checkpoints",
            "step",
            "points",
            "95% interval (bootstrap)",
            "gained",
            "lost",
            "McNemar p",
            "in words",
        ]
        click.echo(format_rows(columns, paired))
