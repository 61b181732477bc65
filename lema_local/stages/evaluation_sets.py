"""The sets of problems that a profile evaluates on: the test split, a dev split that chooses checkpoints, and others.

[(s.dataset, s.split, len(s.problems)) for s in evaluation_sets(run)]
# [("gsm8k", "test", 1319), ("gsm8k", "dev", 200), ("svamp", "test", 1000)]
"""

from collections.abc import Collection
from dataclasses import dataclass

from lema_local.errors import DataError
from lema_local.problems.decontamination import normal
from lema_local.problems.reading import Loaded
from lema_local.records.store import Writer
from lema_local.records.types import Problem
from lema_local.settings.evaluation import EvaluationSetProfile
from lema_local.settings.profiles import Profile
from lema_local.settings.tables import DataProfile
from lema_local.stages.problems import (
    BAD_ROWS_SHOWN,
    Notice,
    ProblemSet,
    load_split,
    record_problems,
    report_bad_rows,
)


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Problems of one split."""

    dataset: str
    split: str
    problems: tuple[Problem, ...]


def evaluation_sets(
    profile: Profile, own: ProblemSet, store: Writer, notice: Notice, *, trained: Collection[str] = ()
) -> list[EvaluationSet]:
    """What a run evaluates on, recorded; the dev split too, where there is one. `own` are the problems of [data],
    `trained` more questions that it trains on: of training sets that were built before, perhaps of other problems.

    DataError for a set that cannot be read, or holds nothing but what is trained on.
    """
    e, dataset = profile.evaluation, profile.data.dataset
    if e.test and any(also.dataset == dataset for also in e.also):
        raise DataError(f"{dataset} is evaluated already, as the test split of [data]: give the other set a name.")
    before = {normal(question) for question in trained}
    sets = [EvaluationSet(dataset, "test", _untrained(own.test, before, dataset, notice))] if e.test else []
    if own.dev:
        sets.append(EvaluationSet(dataset, "dev", _untrained(own.dev, before, f"{dataset} dev", notice)))
    every = before | {normal(problem.question) for problem in own.train}
    others = [EvaluationSet(also.dataset, "test", _evaluated(also, every, notice)) for also in e.also]
    record_problems(ProblemSet((), tuple(problem for each in others for problem in each.problems)), store)
    return sets + others


def held_out(profile: Profile, own: ProblemSet) -> tuple[Problem, ...]:
    """The problems that nothing may train on: the test split, whether it is evaluated or not, the dev split, and the
    problems of the other sets that are no train problems. Says nothing of bad rows: evaluation_sets does.

    DataError for a set that cannot be read.
    """
    given = {normal(problem.question) for problem in own.train if problem.source is None}
    loaded = (_load(also, notice=lambda message: None) for also in profile.evaluation.also)
    others = (problem for each in loaded for problem in each.problems if normal(problem.question) not in given)
    return (*own.test, *own.dev, *others)


def _load(also: EvaluationSetProfile, notice: Notice) -> Loaded:
    data = DataProfile(
        dataset=also.dataset,
        test_path=also.path,
        test_problems=also.problems,
        kind=also.kind,
        fields=also.fields,
        hub=also.hub,
        revision=also.revision,
        files=also.files,
        templates=also.templates,
        seed=also.seed,
    )
    return load_split(data, "test", notice)


def _evaluated(also: EvaluationSetProfile, trained: Collection[str], notice: Notice) -> tuple[Problem, ...]:
    """The problems of a set without those that are trained on, and what is to be said of it."""
    loaded = _load(also, notice)
    report_bad_rows(loaded.bad_rows, notice, BAD_ROWS_SHOWN)
    if "differs" in (loaded.published or ""):
        notice(f"{also.dataset} test {loaded.published}.")
    return _untrained(loaded.problems, trained, also.dataset, notice)


def _untrained(
    problems: tuple[Problem, ...], trained: Collection[str], name: str, notice: Notice
) -> tuple[Problem, ...]:
    """Those whose question, white space aside, is not among the trained ones. DataError where none is left."""
    kept = tuple(problem for problem in problems if normal(problem.question) not in trained)
    if len(kept) < len(problems):
        notice(f"{name}: {len(problems) - len(kept)} problems left out, they are train problems.")
    if not kept:
        raise DataError(f"{name} has no problem to evaluate on.")
    return kept
