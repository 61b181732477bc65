"""Lema: the five verbs (problems, data, train, evaluate, report) and df() for people who live in notebooks.

    lema = lema_local.open("lema.duckdb", profile="laptop", limit=20, set={"sampling.samples": 2})
    lema.data()                     # [TrainingSet(arm='cot', ...), TrainingSet(arm='lema', ...)]
    lema.evaluate()                 # [{'arm': 'base', 'step': 0, 'pass_at_1': 0.0, 'low': 0.0, ...}, ...]
    lema.df("pass_at_1")            # a pandas data frame

A verb does what the command of its name does, goes on where that was, and pays for nothing twice. It opens the database
for its own length only. Works where an event loop runs, as in Jupyter.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lema_local.errors import ProfileError, did_you_mean
from lema_local.records.queries import query_parameters, query_text
from lema_local.records.store import Store
from lema_local.records.types import Checkpoint, Problem, TrainingSet
from lema_local.settings.profiles import Overrides, load_profile


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)  # noqa: T201


class Lema:
    """A database file and the experiment of a profile.

    Every verb raises a LemaError of one line where a user can mend something: ProfileError (a setting), StoreError
    (the file), EndpointError (a server), BudgetError, TrainingError, MissingPackageError.
    """

    def __init__(
        self,
        path: str | Path,
        profile: str,
        *,
        on_notice: Callable[[str], None] = _to_stderr,
        set: Mapping[str, Any] | None = None,  # noqa: A002
        **options: Any,
    ) -> None:
        """`profile` is a name or a TOML file. `set` has any of its keys, as `--set`: {"sampling.samples": 4}. `options`
        are those of the command line by their names: model, dataset, data_path, limit, corrector_url, corrector_model,
        corrector_key_env, seeds (how many, or a range of them), keep, arms, match, truncate. `on_notice` gets each line
        for people (else stderr).

        Raises ProfileError, one line, for an unknown profile, option, key or value.
        """
        for name in options.keys() - (known := {field.name for field in fields(Overrides)} - {"assignments"}):
            raise ProfileError(f"No option {name!r}{did_you_mean(name, known)}; any key of the profile goes into set=.")
        self.path = Path(path)
        self.profile = load_profile(profile, Overrides(assignments=tuple((set or {}).items()), **options))
        self._notice = on_notice

    def problems(self) -> dict[str, tuple[Problem, ...]]:
        """The problems of the profile by split: train (without those that overlap the test split), test, dev.

        Nothing is recorded. Raises DataError for a file of which nothing can be used.
        """
        from lema_local.stages.opening import open_experiment

        with open_experiment(self.profile, self.path, self._notice) as experiment:
            found = experiment.problems
        return {"train": found.train, "test": found.test, "dev": found.dev}

    def data(self, *, budget_usd: float | None = None, offline: bool = False) -> list[TrainingSet]:
        """Sample rationales, have the mistakes corrected, build the arms; a training set of each arm, in the
        profile's order.

        `budget_usd`: what this call may spend; BudgetError before the call that might pass it. `offline`: LedgerError
        where a reply is not in the database.
        """
        from lema_local.stages.opening import make_data, open_run

        with open_run(self.profile, self.path, self._notice, budget=budget_usd, offline=offline) as run:
            return [built.training_set for built in make_data(run)]

    def train(self, *, strict: bool = False, skip_evaluated: bool = False) -> list[Checkpoint]:
        """Fine-tune the student on each arm and seed; every checkpoint, in the order of its steps.

        A checkpoint has `step`, `loss` (nats a token, mean of the step), `tokens_seen`, `samples_seen` and `path`,
        relative to the database's folder. `strict`: TrainingError where an example would be left out or cut.
        `skip_evaluated`: a run whose answers are all there is left, though its weights are on another machine.
        """
        from lema_local.stages.opening import open_run
        from lema_local.stages.train import train

        with open_run(self.profile, self.path, self._notice) as run:
            return train(run, strict=strict, skip_evaluated=skip_evaluated)

    def evaluate(self, *, budget_usd: float | None = None, offline: bool = False) -> list[dict[str, Any]]:
        """pass@1 of the base model and of each checkpoint: zero-shot, greedy. A row a checkpoint and set.

        Keys are those of `lema eval --json` (docs/evaluation.md): rates and their Wilson intervals are shares from 0 to
        1, `n` counts problems. One whose call failed is not solved, and among the `missing` of the `n`, until the next
        call, which asks again; who has no reply at all has no row, and its name stands in `not_evaluated` of each.
        """
        from lema_local.report.evaluation import json_rows, reports_of, table_rows, with_missing
        from lema_local.stages.evaluate import evaluate, result_rows, show_evaluation, without_reply
        from lema_local.stages.opening import open_run

        with open_run(self.profile, self.path, self._notice, budget=budget_usd, offline=offline) as run:
            targets, _ = evaluate(run)
            replies = result_rows(run, targets)
            rows, unheard = with_missing(replies, run.evaluated.values()), without_reply(targets, replies)
            reports = reports_of(run.profile, rows)
            show_evaluation(run, targets, table_rows(reports))
        return [row | {"not_evaluated": unheard} for report in reports for row in json_rows(report)]

    def report(self, output: str | Path = "report.html", *, figures: str | Path | None = None) -> list[Path]:
        """Write the report, one HTML file, and into a folder its figures as SVG and PNG; the files that were written.

        Raises DataError for a file that cannot be written.
        """
        from lema_local.report.write import write_report

        return write_report(
            Store(self.path, own_views=True),
            Path(output),
            title="Does learning from mistakes help?",
            seed=1,
            pictures=Path(figures) if figures else None,
            profile=self.profile,
            on_notice=self._notice,
        )

    def df(self, query: str, **parameters: Any) -> Any:
        """What a view, a named query (`lema sql --list`), a table or one SELECT answers, as a pandas DataFrame with
        DuckDB's types.

        Ids are text. `parameters` are the query's `$name`s. StoreError for SQL that is wrong or no SELECT, or where
        there is no database; MissingPackageError without pandas.
        """
        given = {name: str(value) for name, value in parameters.items()} if query.isidentifier() else parameters
        store = Store(self.path, own_views=True)
        return store.frame(query_text(query), **query_parameters(query, given))
