"""A run opened for work, and `data` as a whole: what the command line and the Python API (lema_local/api.py) share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from lema_local.calls.pacing import Budget
from lema_local.records.store import Store, Writer
from lema_local.serving.endpoints import check_endpoints
from lema_local.settings.profiles import Profile
from lema_local.stages.build import Built, build
from lema_local.stages.correct import correct
from lema_local.stages.evolve import evolve, restore
from lema_local.stages.recipes import resolve_recipes
from lema_local.stages.recorded import recorded_questions
from lema_local.stages.resolve import resolve
from lema_local.stages.run import Experiment, Run
from lema_local.stages.sample import augment, sample
from lema_local.stages.warm_up import resolve_warm_up, warm_up

Notice = Callable[[str], None]


@contextmanager
def open_run(
    profile: Profile,
    db: Path,
    notice: Notice,
    *,
    wait: bool = False,
    budget: float | None = None,
    offline: bool = False,
    training_sets: tuple[str, ...] = (),
) -> Iterator[Run]:
    """The experiment of a profile with its database open for writing, made where there is none.

    `budget` is in USD; `wait` for another run on the same database to end, else StoreError.
    """
    with Writer(db, wait=wait, on_notice=notice) as store:
        limit = Budget(budget) if budget else None
        run = Run(profile, store, notice, budget=limit, offline=offline, training_sets=training_sets)
        run.trained = recorded_questions(store, training_sets)
        resolve_recipes(run)
        if not training_sets:  # which came of reasoners and evolved problems that need not be at hand
            resolve_warm_up(run)
            restore(run)
        yield run


@contextmanager
def open_experiment(profile: Profile, db: Path, notice: Notice) -> Iterator[Experiment]:
    """The same to look at: its database open for reading, an empty one where there is none yet."""
    if db.exists():
        yield Experiment(profile, Store(db), notice)
        return
    with TemporaryDirectory() as folder, Writer(Path(folder) / "empty.duckdb") as store:
        yield Experiment(profile, store, notice)


def make_data(run: Run) -> list[Built]:
    """Sampling, correction and building, one after the other; what is in the database is not bought again."""
    if not run.offline:
        check_endpoints(run.profile, run.endpoints, priced=run.budget is not None)
    train, test = len(run.problems.train), len(run.problems.test)
    run.notice(f"{train} train and {test} test problems of {run.profile.data.dataset}")
    unsolved = sum(problem.solution is None for problem in run.problems.train)
    if unsolved:
        run.notice(f"{unsolved} train problems have no solution: no gold CoT for them, and nothing for an oracle.")
    if not run.offline:
        warm_up(run)
    sampled, corrected = sample(run), correct(run)
    if run.profile.evolution.questions:
        evolve(run)
        sampled, corrected = sampled + sample(run), corrected + correct(run)
    sampled += augment(run)
    resolve(run)
    run.notice(f"{sampled.done} rationales and {corrected.done} corrections are new.")
    return build(run)
