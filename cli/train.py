"""lema train: QLoRA on each arm, or the plan of it. What is done with checkpoints afterwards are its subcommands.

An option of the run itself (--model, a field of the profile) goes through Overrides and needs no word here; one of this
command alone is a parameter. A subcommand is a module cli/train_NAME.py, added at the end.
"""

from pathlib import Path
from typing import Any

import click

from . import train_card, train_merge, train_push
from .options import (
    arms_option,
    match_option,
    open_run,
    refuse_options_before,
    report_to_option,
    require_database,
    run_options,
    seeds_option,
    training_set_option,
    truncate_option,
)
from .output import echo, echo_json


@click.group("train", invoke_without_command=True)
@run_options
@seeds_option
@truncate_option
@click.option("--keep", type=int, metavar="N", help="Keep the weights of the N newest checkpoints of each run.")
@click.option("--tensorboard", is_flag=True, default=None, help="The same as --report-to tensorboard, beside another.")
@report_to_option
@click.option("--processes", type=int, metavar="N", help="Train in N processes: without it one on each GPU.")
@click.option("--accelerate-config", metavar="FILE", help="A file of `accelerate config`: nodes, GPUs and sharding.")
@match_option
@arms_option
@training_set_option
@click.option("--dry-run", is_flag=True, help="Print the plan (steps, memory, launch line) and stop. Needs no torch.")
@click.option("--gpus", help="Plan for these GPUs instead of the ones here, e.g. 4xA100-80GB.")
@click.option("--lint", is_flag=True, help="Look at every example with the base model's tokenizer, and stop.")
@click.option("--strict", is_flag=True, help="Stop before the first step where an example would be left out or cut.")
@click.option("--skip-evaluated", is_flag=True, help="Leave a run whose answers are there, though its weights are not.")
@click.option("--json", "as_json", is_flag=True, help="The plan, the lint or the checkpoints as JSON.")
@click.pass_context
def command(
    context: click.Context,
    /,
    profile: str,
    db: Path,
    dry_run: bool,
    gpus: str | None,
    lint: bool,
    strict: bool,
    skip_evaluated: bool,
    as_json: bool,
    training_sets: tuple[str, ...],
    **overrides: Any,
) -> None:
    """Fine-tune the student with QLoRA on each arm of the profile.

    Interrupted, it goes on from its last whole checkpoint; done, it is not done again.

    \b
    lema train
    lema train --lint --strict
    lema train --db theirs.duckdb --training-set lema            (as it was built there: no problem file is needed)
    lema train --profile a100 --model llama-2-70b --dataset gsm8k --dry-run --gpus 4xA100-80GB
    """
    if context.invoked_subcommand is not None:
        refuse_options_before(context)
        return
    if dry_run:
        if training_sets:
            require_database(db)
        from .train_plan import print_plan

        print_plan(profile, overrides, db=db, gpus=gpus, training_sets=training_sets, as_json=as_json)
        return
    if gpus is not None:
        raise click.UsageError("--gpus goes with --dry-run.")
    require_database(db)
    if lint:
        _lint(profile, db, overrides, training_sets, strict=strict, as_json=as_json)
        return
    from lema_local.stages.train import train

    with open_run(db, profile, overrides, training_sets=training_sets) as run:
        checkpoints = train(run, strict=strict, skip_evaluated=skip_evaluated)
    if as_json:
        rows = [
            {"arm": c.arm, "seed": c.seed, "step": c.step, "loss": c.loss, "path": c.path, "checkpoint_id": c.id}
            for c in checkpoints
        ]
        echo_json(rows)
        return
    for c in checkpoints:
        echo(f"{c.arm} step {c.step}: loss {c.loss:.3f}, {c.tokens_seen} tokens, {c.samples_seen} samples  {c.path}")


def _lint(
    profile: str, db: Path, overrides: dict[str, Any], training_sets: tuple[str, ...], *, strict: bool, as_json: bool
) -> None:
    from lema_local.stages.lint import lint_arms
    from lema_local.training.lint import refuse_flawed

    with open_run(db, profile, overrides, training_sets=training_sets) as run:
        arms = lint_arms(run)
    if as_json:
        echo_json([{"arm": arm.name, **arm.lint.as_dict()} for arm in arms])
    else:
        for arm in arms:
            echo(f"{arm.name}: {arm.lint.summary}")
            for line in arm.lines:
                echo(f"  {line}")
    for arm in arms if strict else ():
        refuse_flawed(arm.lint)


command.add_command(train_merge.command)
command.add_command(train_card.command)
command.add_command(train_push.command)
