"""What the reviews say: grades by corrector, as the paper's 35 / 11 / 4; how far reviewers agree, people and judges."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from lema_local.records import bulk
from lema_local.records.store import Store, stage_sql
from lema_local.records.types import Grade
from lema_local.review.agreement import Agreement, compare, krippendorff_alpha
from lema_local.review.draw import read_events
from lema_local.review.rubric import GRADES, PEOPLE, consensus, current_grades, is_model


@dataclass(frozen=True, slots=True)
class Tally:
    """One reviewer's grades of one corrector's corrections, or those of all people together."""

    corrector: str
    reviewer: str
    is_reference_derived: bool
    counts: Mapping[Grade, int]
    shares: Mapping[Grade, tuple[float, float, float]]  # share, and its 95% Wilson interval over problems


@dataclass(frozen=True, slots=True)
class Pair:
    """Two reviewers, and how far they agree."""

    one: str
    other: str
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Summary:
    """All that `lema review summary` says."""

    tallies: list[Tally]
    pairs: list[Pair]
    alpha: float | None  # Krippendorff's, ordinal, of all people; None with fewer than two
    unread: dict[str, int]  # judge -> replies in which no grade could be read

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "correctors": [
                {"corrector": t.corrector, "reviewer": t.reviewer, "is_reference_derived": t.is_reference_derived}
                | {"graded": sum(t.counts.values())}
                | dict(t.counts)
                | {"shares": {g: dict(zip(("share", "low", "high"), s, strict=True)) for g, s in t.shares.items()}}
                for t in self.tallies
            ],
            "agreement": [
                {
                    "one": p.one,
                    "other": p.other,
                    "n": p.agreement.n,
                    "agreed": p.agreement.agreed,
                    "kappa": p.agreement.kappa,
                    "low": p.agreement.low,
                    "high": p.agreement.high,
                    "weighted_kappa": p.agreement.weighted_kappa,
                    "matrix": p.agreement.matrix,
                    "grades": list(GRADES),
                }
                for p in self.pairs
            ],
            "krippendorff_alpha": self.alpha,
            "unread_judgements": self.unread,
        }


def grades_by_correction(store: Store) -> dict[str, dict[str, Grade]]:
    """Correction -> reviewer -> grade as it stands now."""
    found: defaultdict[str, dict[str, Grade]] = defaultdict(dict)
    for (correction, reviewer), grade in current_grades(read_events(store)).items():
        found[correction][reviewer] = grade
    return dict(found)


def summarise(store: Store) -> Summary:
    """Count and compare all grades of a database."""
    grades = grades_by_correction(store)
    with store.connect() as connection:
        connection.execute("create temp table graded (correction_id uuid, reviewer varchar, grade varchar)")
        given = ([id_, *pair] for id_, each in grades.items() for pair in _with_people(each).items())
        bulk.append(connection, "graded", given)
        rows = connection.execute(stage_sql("review_tallies")).fetchall()
        problems = dict(connection.execute(stage_sql("graded_problems")).fetchall())
        unread = dict(connection.execute(stage_sql("unread_judgements")).fetchall())
    found: defaultdict[tuple[bool, str, str], dict[Grade, tuple[int, tuple[float, float, float]]]] = defaultdict(dict)
    for derived, corrector, reviewer, grade, count, share, _, low, high in rows:
        found[derived, corrector, reviewer][grade] = count, (share, low, high)
    tallies = [
        Tally(corrector, reviewer, derived, {g: each[g][0] for g in GRADES}, {g: each[g][1] for g in GRADES})
        for (derived, corrector, reviewer), each in sorted(found.items(), key=lambda one: _order(*one[0]))
    ]
    return Summary(tallies, _pairs(grades, problems), _alpha(grades), unread)


def _alpha(grades: dict[str, dict[str, Grade]]) -> float | None:
    people = sorted({name for each in grades.values() for name in each if not is_model(name)})
    return krippendorff_alpha([[each.get(name) for each in grades.values()] for name in people])


def _order(derived: bool, corrector: str, reviewer: str) -> tuple[bool, str, bool, bool, str]:
    return derived, corrector, is_model(reviewer), reviewer == PEOPLE, reviewer


def _with_people(by_reviewer: dict[str, Grade]) -> dict[str, Grade]:
    """The grades of a correction, and their middle where people gave any."""
    middle = consensus([grade for reviewer, grade in by_reviewer.items() if not is_model(reviewer)])
    return by_reviewer | ({PEOPLE: middle} if middle else {})


def _pairs(grades: dict[str, dict[str, Grade]], problems: Mapping[str, str]) -> list[Pair]:
    """Every two people, every two judges, and each judge with people: with their middle grade, where they are many.
    `problems` by correction."""
    people = sorted({name for each in grades.values() for name in each if not is_model(name)})
    judges = sorted({name for each in grades.values() for name in each if is_model(name)})
    against = [PEOPLE] if len(people) > 1 else people
    wanted = [*combinations(people, 2), *product(against, judges), *combinations(judges, 2)]
    whole = {id_: _with_people(each) for id_, each in grades.items() if id_ in problems}
    found = []
    for one, other in wanted:
        both = {id_: each for id_, each in whole.items() if one in each and other in each}
        if both:
            grades_of = [[each[name] for each in both.values()] for name in (one, other)]
            found.append(Pair(one, other, compare(*grades_of, problems=[problems[id_] for id_ in both])))
    return found
