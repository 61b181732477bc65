"""A database's records as the evidence and samples of a report. Reads only; no model is called.

evidence, dropped = gather_evidence(store)
samples = gather_samples(store, evidence, seed=1)
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from lema_local.records import bulk
from lema_local.records.store import Store, stage_sql
from lema_local.report.evaluation import SetReport, set_reports
from lema_local.report.evidence import ArmData, Evidence, Experiment, Row
from lema_local.report.other_runs import ends, other_comparisons
from lema_local.report.results import MARGIN, CheckpointResult, checkpoint_results, fully_answered
from lema_local.report.runs import Data
from lema_local.report.shown import shown_checkpoints
from lema_local.review.draw import read_items
from lema_local.review.items import Item
from lema_local.settings.models import known_models

KEPT_SHOWN = 25  # corrections of each corrector
REJECTED_SHOWN = 6  # of each corrector and reason
CHANGED_SHOWN = 15  # problems gained, and lost, of each comparison
MOST_CHARACTERS = 3_000  # of an answer


@dataclass(frozen=True, slots=True)
class CorrectionSample:
    """A correction to look at."""

    item: Item
    corrector: str
    reasoner: str
    is_reference_derived: bool
    is_graded: bool = True  # a reply that has just come is graded at the end of its stage

    @property
    def outcome(self) -> str:
        """kept, rejected, or not graded yet."""
        if not self.is_graded:
            return "ungraded"
        return "kept" if self.item.rejected_because is None else "rejected"

    @property
    def verdict(self) -> str:
        """The same, with the reason."""
        return f"rejected: {reason}" if (reason := self.item.rejected_because) else self.outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """What one side of a comparison answered."""

    who: str
    text: str
    answer: str | None
    is_correct: bool
    is_cut: bool


@dataclass(frozen=True, slots=True)
class ChangedProblem:
    """A problem that LeMa gained or lost against CoT, with what each side answered."""

    change: str  # gained, lost
    model: str
    dataset: str
    question: str
    reference: str
    level: str | None
    subject: str | None
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """What the report shows to browse."""

    corrections: tuple[CorrectionSample, ...] = ()
    changed: tuple[ChangedProblem, ...] = ()


def gather(
    store: Store, *, seed: int, margin: float = MARGIN, correctors: Collection[str] = ()
) -> tuple[Evidence, Samples]:
    """All that the claims, figures and tables of a report rest on; and corrections, and problems that LeMa gained and
    lost, drawn by seed. Arms are level within `margin`, a share; of an arm on several data those are shown that none
    but `correctors` wrote, if there are any."""
    trained, arms = store.rows(stage_sql("report_checkpoints")), store.rows(stage_sql("report_arms"))
    preferred = {
        row["training_set_id"] for row in arms if row["correctors"] and set(row["correctors"]) <= set(correctors)
    }
    data = Data.of(arms, store.rows(stage_sql("report_shared_examples")))
    shown = shown_checkpoints(trained, data, preferred)
    every = _wanted(store, "report_evaluations", [*shown, *ends(trained)])
    evaluations = [row for row in every if row["checkpoint_id"] is None or row["checkpoint_id"] in shown]
    others = other_comparisons(
        trained,
        fully_answered(checkpoint_results(every)),
        {row["checkpoint_id"]: _arm_data(row) for row in arms},
        data,
        shown,
        margin=margin,
    )
    held = shown.keys() | set[str]().union(*(other.checkpoints for other in others))
    evidence = Evidence(
        experiments=tuple(_told_apart(list(_experiments(evaluations, arms, shown, margin)))),
        others=tuple(others),
        not_shown=sum(row["is_evaluated"] and row["id"] not in held for row in trained),
        not_evaluated=sum(not row["is_evaluated"] and row["arm"] != "warm-up" for row in trained),
        self_correction_rate=tuple(store.rows("from self_correction_rate")),
        mistakes_by_level=tuple(store.rows("from mistakes_by_level")),
        correction_by_level=tuple(store.rows("from correction_by_level")),
        corrector_agreement=tuple(store.rows("from corrector_agreement")),
        corrector_grades=tuple(store.rows("from corrector_grades")),
        parameters={name: size for name in known_models() if (size := _parameters(name))},
    )
    return evidence, Samples(tuple(_corrections(store, seed)), tuple(_changed(store, evidence, evaluations, seed)))


def _experiments(
    evaluations: Iterable[Row], arms: Sequence[Row], shown: Mapping[str, bool], margin: float
) -> Iterable[Experiment]:
    served: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in evaluations:
        served[row["model"], row["base"]].append(row)
    for (model, base), rows in served.items():
        for trained_on, own in _by_training(rows):
            same_step = all(shown.get(row["checkpoint_id"], True) for row in own)
            for result in set_reports(own, margin=margin, same_step=same_step):
                yield Experiment(model, base, result, arm_data(result, arms), _parameters(model), trained_on)


def _told_apart(experiments: Sequence[Experiment]) -> Iterable[Experiment]:
    """The experiments, those of one student that differ in their base alone marked so."""
    places = Counter(map(_place, experiments))
    return (replace(e, is_one_of_bases=places[_place(e)] > 1) for e in experiments)


def _place(e: Experiment) -> tuple[str | None, ...]:
    return e.model, e.trained_on, e.dataset, e.result.split


def _by_training(rows: Sequence[Row]) -> Iterable[tuple[str | None, list[Row]]]:
    """The data sets that a student was trained on, each with the answers to the sets that its checkpoints answered, the
    base's too; then None with the sets that only the base answered."""
    sets: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in rows:
        if row["trained_on"] is not None:
            sets[row["trained_on"]].add((row["dataset"], row["split"]))
    for trained_on, answered in sets.items():
        own = (trained_on, None)
        yield trained_on, [r for r in rows if r["trained_on"] in own and (r["dataset"], r["split"]) in answered]
    answered = set().union(*sets.values())
    if left := [row for row in rows if (row["dataset"], row["split"]) not in answered]:
        yield None, left


def arm_data(result: SetReport, arms: Iterable[Row]) -> dict[str, ArmData]:
    """What each arm of a set trained on, from rows of db/stages/report_arms.sql."""
    shown = {checkpoint.checkpoint_id for checkpoint in result.checkpoints}
    return {row["arm"]: _arm_data(row) for row in arms if row["checkpoint_id"] in shown}


def _arm_data(row: Row) -> ArmData:
    return ArmData(
        row["examples"],
        row["correction_examples"],
        row["reference_derived"],
        row["tokens"],
        tuple(row["correctors"]),
    )


def _parameters(model: str) -> int | None:
    """Of a model in models.toml; None for others."""
    architecture: Mapping[str, Any] = known_models().get(model, {}).get("architecture", {})
    return architecture.get("parameters")


def _corrections(store: Store, seed: int) -> Iterable[CorrectionSample]:
    rows = store.rows(stage_sql("report_corrections"), seed=seed, kept=KEPT_SHOWN, rejected=REJECTED_SHOWN)
    items = {item.id: item for item in read_items(store, [row["id"] for row in rows])}
    for row in rows:
        item = items[row["id"]]
        yield CorrectionSample(item, row["corrector"], row["reasoner"], row["is_reference_derived"])


def _changed(store: Store, evidence: Evidence, evaluations: Iterable[Row], seed: int) -> Iterable[ChangedProblem]:
    """Per experiment: the base, CoT and LeMa side by side, where one of the latter two is right and the other wrong."""
    wanted: list[tuple[Experiment, str, dict[str, str]]] = []
    ids = {(row["checkpoint_id"], row["problem_id"], row["model"], row["base"]): row["id"] for row in evaluations}
    for e in evidence.experiments:
        if (pair := _shown(e)) is None:
            continue
        lema, cot = pair
        for change, was, now in (("gained", False, True), ("lost", True, False)):
            found = [
                p
                for p in sorted(cot.by_problem.keys() & lema.by_problem.keys())
                if (cot.by_problem[p], lema.by_problem[p]) == (was, now)
            ]
            for problem in Random(seed).sample(found, min(len(found), CHANGED_SHOWN)):
                three = {"base": e.untuned, "cot": cot, "lema": lema}
                keys = {
                    who: id_
                    for who, result in three.items()
                    if result and (id_ := ids.get((result.checkpoint_id, problem, e.model, e.base)))
                }
                wanted.append((e, change, keys))
    texts = _texts(store, [id_ for _, _, keys in wanted for id_ in keys.values()])
    for e, change, keys in wanted:
        rows = {who: texts[id_] for who, id_ in keys.items()}
        first = next(iter(rows.values()))
        answers = tuple(
            Answer(who, row["text"][:MOST_CHARACTERS], row["answer"], row["is_correct"], row["is_cut"])
            for who, row in rows.items()
        )
        yield ChangedProblem(
            change,
            e.model,
            e.dataset,
            first["question"][:MOST_CHARACTERS],
            first["reference"],
            first["level"],
            first["subject"],
            answers,
        )


def _shown(e: Experiment) -> tuple[CheckpointResult, CheckpointResult] | None:
    """The checkpoints of lema and of cot whose answers are compared; of several seeds those of the first of both."""
    difference = e.difference("lema", "cot")
    if difference is None:
        return None

    def side(arm: str, step: int) -> CheckpointResult:
        return next(r for r in e.result.checkpoints if (r.arm, r.seed, r.step) == (arm, difference.seed, step))

    return side("lema", difference.step), side("cot", difference.against_step)


def _texts(store: Store, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in _wanted(store, "report_answers", ids)}


def _wanted(store: Store, query: str, ids: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of a query that joins the table `wanted` of these ids."""
    with store.connect() as connection:
        connection.execute("create temp table wanted (id uuid)")
        bulk.append(connection, "wanted", ([id_] for id_ in dict.fromkeys(ids)))
        cursor = connection.execute(stage_sql(query))
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
