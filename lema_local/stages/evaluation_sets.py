"""The sets of problems that a profile evaluates on: the test split, a dev split that chooses checkpoints, and others.

[(s.dataset, s.split, len(s.problems)) for s in evaluation_sets(run)]
# [("gsm8k", "test", 1319), ("gsm8k", "dev", 200), ("svamp", "test", 1000)]
"""

from dataclasses import dataclass

from lema_local.errors import DataError
from lema_local.evaluation_profile import EvaluationSetProfile
from lema_local.profile_tables import DataProfile
from lema_local.records import Problem
from lema_local.stages.problems import BAD_ROWS_SHOWN, ProblemSet, load_split, record_problems, report_bad_rows
from lema_local.stages.run import Run


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Problems of one split."""

    dataset: str
    split: str
    problems: tuple[Problem, ...]


def evaluation_sets(run: Run) -> list[EvaluationSet]:
    """What this run evaluates on, recorded; the dev split too, where there is one. DataError for a set that cannot be
    read."""
    profile, data = run.profile.evaluation, run.profile.data
    sets = [EvaluationSet(data.dataset, "test", run.problems.test)] if profile.test else []
    if run.problems.dev:
        sets.append(EvaluationSet(data.dataset, "dev", run.problems.dev))
    if profile.test and any(also.dataset == data.dataset for also in profile.also):
        raise DataError(f"{data.dataset} is evaluated already, as the test split of [data]: give the other set a name.")
    return sets + [EvaluationSet(also.dataset, "test", _load(also, run)) for also in profile.also]


def _load(also: EvaluationSetProfile, run: Run) -> tuple[Problem, ...]:
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
    loaded = load_split(data, "test", run.notice)
    report_bad_rows(loaded.bad_rows, run.notice, BAD_ROWS_SHOWN)
    if "differs" in (loaded.published or ""):
        run.notice(f"{also.dataset} test {loaded.published}.")
    trained = {problem.question for problem in run.problems.train}
    problems = tuple(problem for problem in loaded.problems if problem.question not in trained)
    if len(problems) < len(loaded.problems):
        run.notice(
            f"{also.dataset}: {len(loaded.problems) - len(problems)} problems left out, they are train problems."
        )
    if not problems:
        raise DataError(f"{also.dataset} has no problem to evaluate on.")
    record_problems(ProblemSet((), problems), run.store)
    return problems
