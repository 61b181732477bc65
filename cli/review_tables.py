"""The tables of `lema review summary`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .tables import format_rows

if TYPE_CHECKING:
    from lema_local.review.summary import Summary


def summary_tables(found: "Summary") -> Iterator[str]:
    """Grades by corrector and reviewer; agreement of each two; the matrices."""
    from lema_local.review.rubric import GRADES, PEOPLE, is_model

    persons = {t.reviewer for t in found.tallies if not is_model(t.reviewer)} - {PEOPLE}
    if found.tallies:
        rows = []
        for t in found.tallies:
            if t.reviewer == PEOPLE and len(persons) == 1:
                continue  # the one person's row again
            shares = [f"{100 * s:.0f}% ({100 * low:.0f} to {100 * high:.0f})" for s, low, high in t.shares.values()]
            counts = " / ".join(str(t.counts[grade]) for grade in GRADES)
            mark = "  (reference-derived)" if t.is_reference_derived else ""
            rows.append([t.corrector + mark, t.reviewer, sum(t.counts.values()), counts, *shares])
        yield format_rows(["corrector", "reviewer", "graded", " / ".join(GRADES), *GRADES], rows)
        yield "Shares with 95% intervals (Wilson). people: the middle grade of all persons, of two the worse.\n"
    if found.pairs:
        rows = []
        for p in found.pairs:
            a = p.agreement
            between = "-" if a.low is None else f"{a.low:.2f} to {a.high:.2f}"
            kappas = ["-" if value is None else f"{value:.2f}" for value in (a.kappa, a.weighted_kappa)]
            rows.append([p.one, p.other, a.n, f"{a.agreed}/{a.n}", kappas[0], between, kappas[1]])
        columns = ["one", "other", "both graded", "agreed", "Cohen's kappa", "95% interval", "weighted (linear)"]
        yield format_rows(columns, rows) + "\n"
    if found.alpha is not None and len(persons) > 1:
        yield f"All {len(persons)} people together: Krippendorff's alpha (ordinal) {found.alpha:.2f}.\n"
    for p in found.pairs:
        rows = [[f"{p.one}: {grade}", *row] for grade, row in zip(GRADES, p.agreement.matrix, strict=True)]
        yield format_rows([f"{p.other}:", *GRADES], rows) + "\n"
    for reviewer, count in found.unread.items():
        yield f"{reviewer}: no grade can be read in {count} of its replies."
    if any(is_model(t.reviewer) for t in found.tallies):
        yield "A judge that wrote the corrections itself, or was trained on their kind, is no independent reader."
