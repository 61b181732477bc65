"""lema eval: pass@1 of the base model and of every checkpoint, and whether LeMa helped."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from lema_local.settings.evaluation import check_evaluation, with_options
from lema_local.stages.run import Run

from .options import (
    arms_option,
    call_options,
    engine_options,
    match_option,
    notice,
    open_run,
    report_to_option,
    run_options,
    seeds_option,
    training_set_option,
    truncate_option,
)
from .output import echo, echo_json

BAD_ROWS_SHOWN = 10


@click.command("eval")
@run_options
@seeds_option
@match_option
@arms_option
@training_set_option
@truncate_option
@report_to_option
@call_options
@engine_options
@click.option("--base", type=click.Choice(["bf16", "nf4", "merged"]), help="vLLM: over which weights adapters answer.")
@click.option("--endpoint", metavar="URL", help="Evaluate the server at this base URL, and train nothing.")
@click.option("--served-model", metavar="NAME", help="The model that --endpoint is asked for.")
@click.option("--api", type=click.Choice(["chat", "completions"]), help="How --endpoint is asked.")
@click.option("--key-env", metavar="NAME", help="The environment variable that holds the key of --endpoint.")
@click.option(
    "--on",
    multiple=True,
    metavar="NAME[=PATH]",
    help="Evaluate on this set instead of the test split, e.g. svamp=data/svamp; --data-path is the PATH of one.",
)
@click.option("--by", type=click.Choice(["level", "subject"]), help="Split the table by level or subject.")
@click.option("--repeats", type=int, help="Ask for the greedy answers so many times: what serving alone changes.")
@click.option("--samples", type=int, help="So many samples a problem beside the greedy answer: pass@k, majority@k.")
@click.option("--temperature", type=float, help="Of the samples.")
@click.option("--checkpoints", type=click.Choice(["all", "last"]), help="All that were saved, or the last of each run.")
@click.option(
    "--import",
    "imported",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Grade answers made elsewhere, and call nothing; --model names who wrote rows that do not say.",
)
@click.option("--json", "as_json", is_flag=True, help="A row a checkpoint; docs/evaluation.md has the keys.")
def command(
    profile: str,
    db: Path,
    as_json: bool,
    budget: float | None,
    offline: bool,
    on: tuple[str, ...],
    by: Any,
    imported: Path | None,
    repeats: int | None,
    samples: int | None,
    temperature: float | None,
    checkpoints: str | None,
    training_sets: tuple[str, ...],
    **overrides: Any,
) -> None:
    """Evaluate the base model and every checkpoint of every arm: zero-shot, greedy, with no merge.

    \b
    lema eval
    lema eval --json
    lema eval --on svamp --data-path ~/svamp
    lema eval --on math=~/MATH --by level
    lema eval --import gpt-4.jsonl --on gsm8k=~/gsm8k
      {"question": "...", "text": "... The answer is 51.", "model": "gpt-4"}
    lema eval --model LEMAv1/peft-Llama-2-70b-gsm8k --profile a100 --dataset gsm8k
    lema eval --endpoint https://api.openai.com/v1 --served-model gpt-4 --api chat --key-env OPENAI_API_KEY
    """
    from lema_local.records.store import stage_sql
    from lema_local.report.evaluation import group_rows, json_rows, reports_of, table_rows, with_missing
    from lema_local.report.evidence import Experiment
    from lema_local.report.gather import arm_data
    from lema_local.report.headline import headline
    from lema_local.stages.evaluate import show_evaluation

    from .eval_tables import report_text

    # the path of a set that has none of its own, and the author of answers, are not the run's data and student
    path = overrides.pop("data_path") if any("=" not in each for each in on) else None
    author = overrides.pop("model") if imported else None
    with open_run(db, profile, overrides, budget=budget, offline=offline, training_sets=training_sets) as run:
        e = with_options(
            run.profile.evaluation,
            on=on,
            data_path=path,
            repeats=repeats,
            samples=samples,
            temperature=temperature,
            checkpoints=checkpoints,
        )
        check_evaluation(run.profile.name, e)
        run.profile = dataclasses.replace(run.profile, evaluation=e)
        done = _import(run, imported, author) if imported else _evaluate(run)
        rows = with_missing(done.rows, run.evaluated.values())
        reports = reports_of(run.profile, rows)
        if not imported:
            show_evaluation(run, done.targets, table_rows(reports))
        arms, student = run.store.rows(stage_sql("report_arms")), run.profile.endpoint("student").model
    if as_json:
        found = [row for report in reports for row in (group_rows(report, rows, by) if by else json_rows(report))]
        echo_json([row | {"not_evaluated": done.not_evaluated} for row in found])
    else:
        for line in done.before:
            echo(line)
        for report in reports:
            echo()
            if len(reports) > 1:
                echo(f"{report.dataset}, {report.split}:")
            echo(report_text(report, rows, by, headline(Experiment(student, "", report, arm_data(report, arms)))))
        if done.not_evaluated:
            echo(f"\nNot in these tables, for want of any reply: {', '.join(done.not_evaluated)}.")
    if done.has_failed:
        sys.exit(1)


@dataclasses.dataclass(frozen=True, slots=True)
class _Done:
    """What there is to show: graded answers, lines that come before the tables, and who has no answer at all."""

    rows: list[dict[str, Any]]
    before: list[str]
    not_evaluated: list[str] = dataclasses.field(default_factory=list)
    has_failed: bool = False  # a call, or a whole checkpoint
    targets: list[Any] = dataclasses.field(default_factory=list)  # what was evaluated here


def _evaluate(run: Run) -> _Done:
    from lema_local.stages.evaluate import evaluate, facts, result_rows, without_reply

    targets, outcome = evaluate(run)
    rows = result_rows(run, targets)
    unheard = without_reply(targets, rows)
    return _Done(rows, facts(run, targets), unheard, has_failed=outcome.failed > 0, targets=targets)


def _import(run: Run, file: Path, author: str | None) -> _Done:
    from lema_local.stages.evaluate import imported_rows

    rows, imported = imported_rows(run, file, model=author)
    for bad in imported.bad_rows[:BAD_ROWS_SHOWN]:
        notice(f"{bad.file}:{bad.line}: {bad.reason}")
    if len(imported.bad_rows) > BAD_ROWS_SHOWN:
        notice(f"... and {len(imported.bad_rows) - BAD_ROWS_SHOWN} more rows that are left out")
    lines = [f"{len(imported.ids)} answers from {file}, made elsewhere: their prompts and settings are not known here"]
    return _Done(rows, lines + imported.coverage)
