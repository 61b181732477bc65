"""All that one evaluation says, set by set: checkpoints, arms, differences, seeds, repeats, samples. Pure.

for report in set_reports(rows, margin=0.03, ks=(1, 8)):
    report.dataset, report.checkpoints[0].pass_at_1, report.differences[0].in_words
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lema_local.records.types import Problem
from lema_local.report.over_seeds import SeedDifference, SeedResult, seed_differences, seed_results
from lema_local.report.results import (
    ArmResult,
    CheckpointResult,
    Difference,
    arm_results,
    checkpoint_results,
    differences,
    fully_answered,
    judged_pairs,
    model_differences,
    whole_size,
)
from lema_local.settings.profiles import Profile
from lema_local.statistics.sample_metrics import (
    Answer,
    MeanOverProblems,
    Repeats,
    compare_repeats,
    majority_at_k,
    mean_over_problems,
    pass_at_k,
)

Row = Mapping[str, Any]
By = Literal["level", "subject"]


@dataclass(frozen=True, slots=True)
class SampleResult:
    """pass@k and majority@k of one checkpoint, over the problems that have all the samples."""

    samples: int
    problems: int
    pass_at: Mapping[int, MeanOverProblems]
    majority_at: Mapping[int, MeanOverProblems]


@dataclass(frozen=True, slots=True)
class SetReport:
    """One set of problems. `samples` and `repeats` go with the checkpoints, by their place."""

    dataset: str
    split: str
    checkpoints: tuple[CheckpointResult, ...]
    dev: tuple[CheckpointResult, ...]  # the same checkpoints on the dev split
    arms: tuple[ArmResult, ...]
    differences: tuple[Difference, ...]
    seeds: tuple[SeedResult, ...]
    seed_differences: tuple[SeedDifference, ...]
    samples: tuple[SampleResult | None, ...]
    repeats: tuple[Repeats | None, ...]

    @property
    def reported(self) -> list[CheckpointResult]:
        """The base, and of each arm and seed the checkpoint that the dev split chose, or the last."""
        return [r for r in self.checkpoints if r.arm == "base"] + [arm.reported for arm in self.arms]

    @property
    def whole(self) -> list[CheckpointResult]:
        """Those that answered all that any checkpoint did; the others may not be best, nor judged."""
        most = whole_size(self.checkpoints)
        return [r for r in fully_answered(self.checkpoints) if r.arm != "base" or r.replied >= most]

    @property
    def not_yet_whole(self) -> str:
        """The others by name, in one line; empty where there are none."""
        most = self.asked
        several = len({r.seed for r in self.checkpoints if r.seed is not None}) > 1
        names = []
        for r in self.checkpoints:
            who = r.model if r.arm == "base" else f"{r.arm} step {r.step}"
            of = f" of seed {r.seed}" if several and r.seed is not None else ""
            if r.replied < most:
                names.append(f"{who}{of} ({r.replied:,} of {most:,})")
        return f"Not yet whole: {', '.join(names)}." if names else ""

    @property
    def asked(self) -> int:
        """How many problems a whole checkpoint answered; of a set whose problems are known, how many it has."""
        return max([whole_size(self.checkpoints), *(r.n for r in self.checkpoints if r.arm != "base" or r.missing)])

    @property
    def problems(self) -> int:
        """How many there are: of the set, where its problems are known, else those that anyone replied to."""
        replied = {problem for result in self.checkpoints for problem in result.by_problem}
        return max([len(replied), *(result.n for result in self.checkpoints)])

    @property
    def never_solved(self) -> int:
        """Problems that neither the base nor any checkpoint solves."""
        solved = {p for result in self.checkpoints for p, is_correct in result.by_problem.items() if is_correct}
        return self.problems - len(solved)


def with_missing(rows: Sequence[Row], problems: Iterable[Problem]) -> list[Row]:
    """The rows, and one more (`is_missing`) for each of these problems that a checkpoint, or a model, with a reply to
    any problem of the same set has none to."""
    sets: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        sets[problem.dataset, problem.split].append(problem)
    replied: dict[tuple[Any, ...], dict[str, Row]] = defaultdict(dict)
    for row in _firsts(rows):
        replied[_who(row), row["dataset"], row["split"]][row["problem_id"]] = row
    nothing = {"id": None, "answer": None, "is_correct": False, "is_cut": False, "is_missing": True}
    missing = [
        {**next(iter(of.values())), "problem_id": problem.id, "level": problem.level, "subject": problem.subject}
        | nothing
        for (_, dataset, split), of in replied.items()
        for problem in sets[dataset, split]
        if problem.id not in of
    ]
    return [*rows, *missing]


def set_reports(
    rows: Sequence[Row], *, margin: float, ks: Sequence[int] = (), same_step: bool = True
) -> list[SetReport]:
    """Rows of db/stages/evaluated.sql to one report a set, in the order of their names. `margin` is a share; `ks` are
    the k of pass@k, of which those are used that the samples allow; `same_step` is that of results.judged_pairs."""
    dev = checkpoint_results(_firsts(row for row in rows if row["split"] == "dev"))
    sets: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["split"] != "dev":
            sets[row["dataset"], row["split"]].append(row)
    return [_set_report(sets[key], dev, margin, ks, same_step) for key in sorted(sets)]


def reports_of(profile: Profile, rows: Sequence[Row]) -> list[SetReport]:
    """The same as a profile wants it: by its margin, its k of pass@k, and what its arms were matched by."""
    e = profile.evaluation
    return set_reports(rows, margin=e.margin / 100, ks=e.ks, same_step=profile.training.match == "steps")


def _set_report(
    rows: Sequence[Row], dev: Sequence[CheckpointResult], margin: float, ks: Sequence[int], same_step: bool
) -> SetReport:
    results = checkpoint_results(_firsts(rows))
    judged = fully_answered(results)  # the base model is compared on the problems that it has answered so far
    chosen_by = fully_answered(dev)
    arms = arm_results(judged, chosen_by)
    pairs = judged_pairs(judged, chosen_by, same_step=same_step)
    models = len({result.model for result in results if result.arm == "base"})
    answers, elsewhere = _answers(rows), {_who(row) for row in rows if row["temperature"] is None}
    return SetReport(
        dataset=rows[0]["dataset"],
        split=rows[0]["split"],
        checkpoints=tuple(results),
        dev=tuple(dev),
        arms=tuple(arms),
        differences=tuple(
            model_differences(results, margin=margin) if models > 1 else differences(pairs, margin=margin)
        ),
        seeds=tuple(seed_results(arms)),
        seed_differences=tuple(seed_differences(pairs, margin, is_chosen=any(arm.chosen_on_dev for arm in arms))),
        samples=tuple(
            _samples(answers[_who(result), False], ks, is_elsewhere=_who(result) in elsewhere) for result in results
        ),
        repeats=tuple(_repeats(answers[_who(result), True]) for result in results),
    )


def by_group(report: SetReport, rows: Sequence[Row], by: By) -> list[tuple[str, CheckpointResult]]:
    """The reported checkpoints by level or subject of the problems: (group, result), groups in order of their names."""
    wanted = {_who(result) for result in report.reported}
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in _firsts(row for row in rows if (row["dataset"], row["split"]) == (report.dataset, report.split)):
        if _who(row) in wanted:
            groups[row[by] or "-"].append(row)
    return [(group, result) for group in sorted(groups, key=_natural) for result in checkpoint_results(groups[group])]


def group_rows(report: SetReport, rows: Sequence[Row], by: By) -> list[dict[str, Any]]:
    """by_group as rows: the keys of the table, and the level or subject."""
    return [fixed_keys(result) | {by: group} for group, result in by_group(report, rows, by)]


def json_rows(report: SetReport) -> list[dict[str, Any]]:
    """One row a checkpoint. The keys of the table stay what they are; what is said beside it is in further ones."""
    arms = {(arm.arm, arm.seed): arm for arm in report.arms}
    dev = {result.checkpoint_id: result for result in report.dev}
    rows = []
    for result, samples, repeats in zip(report.checkpoints, report.samples, report.repeats, strict=True):
        arm, on_dev = arms.get((result.arm, result.seed)), dev.get(result.checkpoint_id)
        rows.append(
            fixed_keys(result)
            | {
                "dev_n": on_dev.n if on_dev else None,
                "dev_correct": on_dev.correct if on_dev else None,
                "is_last": arm is not None and arm.last is result,
                "is_chosen_on_dev": arm is not None and arm.chosen_on_dev is result,
                "arm_best": list(arm.best) if arm else None,
                "arm_mean_of_best": arm.mean if arm else None,
                "arm_optimism_of_mean": arm.best_three.optimism if arm else None,
                "arm_optimism_of_best": arm.best_one.optimism if arm else None,
                "samples": dataclasses.asdict(samples) if samples else None,
                "repeats": dataclasses.asdict(repeats) if repeats else None,
                "comparisons": [_as_json(d) for d in report.differences if _is_of(d, result)],
                "over_seeds": [
                    dataclasses.asdict(d) | {"in_words": d.in_words}
                    for d in report.seed_differences
                    if d.arm == result.arm
                ],
            }
        )
    return rows


def table_rows(reports: Iterable[SetReport]) -> list[dict[str, Any]]:
    """The rows of the tables, and of the dev split's, by the keys that scripts rely on."""
    return [fixed_keys(result) for report in reports for result in (*report.checkpoints, *report.dev)]


def fixed_keys(result: CheckpointResult) -> dict[str, Any]:
    """The row of the table as scripts rely on it."""
    return {
        field.name: getattr(result, field.name) for field in dataclasses.fields(result) if field.name != "by_problem"
    }


def _as_json(d: Difference) -> dict[str, Any]:
    names = {"against": d.against, "against_step": d.against_step, "p_holm": d.p_holm, "margin": d.margin}
    return names | dataclasses.asdict(d.paired) | {"detectable": d.paired.detectable, "in_words": d.in_words}


def _is_of(d: Difference, result: CheckpointResult) -> bool:
    return (d.arm, d.seed, d.step) == (result.arm, result.seed, result.step) or (
        result.arm == "base" and d.arm == result.model
    )


def _firsts(rows: Iterable[Row]) -> list[Row]:
    """The greedy answers; of answers made elsewhere, whose settings are not known, the first to each problem. Others
    than we begin to count at 1."""
    every, first = list(rows), dict[Any, int]()
    for row in every:
        if row["temperature"] is None:
            place, index = (_who(row), row["problem_id"]), row["sample_index"]
            first[place] = min(first.get(place, index), index)
    return [
        row
        for row in every
        if not row["temperature"] and row["sample_index"] == first.get((_who(row), row["problem_id"]), 0)
    ]


def _who(row: Row | CheckpointResult) -> tuple[Any, ...]:
    """What tells one row of the table from another."""
    if isinstance(row, CheckpointResult):
        return row.model, row.base, row.checkpoint_id
    return row["model"], row["base"], row["checkpoint_id"]


def _answers(rows: Iterable[Row]) -> dict[tuple[tuple[Any, ...], bool], dict[str, list[Answer]]]:
    """(who, whether greedy) -> problem -> its answers by their index. Those of unknown settings count as samples."""
    found: dict[Any, dict[str, list[Answer]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted((row for row in rows if not row.get("is_missing")), key=lambda row: int(row["sample_index"])):
        found[_who(row), row["temperature"] == 0][row["problem_id"]].append((row["answer"], row["is_correct"]))
    return found


def _samples(problems: Mapping[str, list[Answer]], ks: Sequence[int], *, is_elsewhere: bool) -> SampleResult | None:
    """Of ours, which may be on their way, over the problems that have all; of answers made elsewhere as many to each
    problem as every one has."""
    n = (min if is_elsewhere else max)(map(len, problems.values()), default=0)
    whole = [answers[:n] for answers in problems.values() if len(answers) >= n]
    if n < 2:
        return None
    used = sorted({k for k in (*ks, n) if k <= n} | {1})
    return SampleResult(
        samples=n,
        problems=len(whole),
        pass_at={
            k: mean_over_problems([pass_at_k(n=n, correct=sum(ok for _, ok in a), k=k) for a in whole]) for k in used
        },
        majority_at={k: mean_over_problems([majority_at_k(a, k) for a in whole]) for k in used if k > 2},
    )


def _repeats(problems: Mapping[str, list[Answer]]) -> Repeats | None:
    most = max(map(len, problems.values()), default=0)
    whole = [answers for answers in problems.values() if len(answers) == most]
    return compare_repeats(whole) if most > 1 else None


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """Level 2 before Level 10."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in text.replace("-", " ").split())
