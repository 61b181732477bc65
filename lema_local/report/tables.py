"""The tables of a report: columns and rows of texts, from evidence and rows of views. Pure.

Table(caption="Table 1: ...", columns=("model", "CoT", "LeMa"), rows=(("llama-2-70b", "81.4 / ...", "-"),))
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lema_local.report.claims import best_three, named, percent, points, printed_at, student_of
from lema_local.report.evidence import Evidence, Experiment, OtherComparison
from lema_local.report.over_seeds import SeedDifference
from lema_local.report.paper import Paper
from lema_local.report.results import ArmResult


@dataclass(frozen=True, slots=True)
class Table:
    """`numbers`: columns that are set to the right; `quiet`: rows that are reference-derived; `missing`: said where
    there are no rows."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    quiet: frozenset[int] = frozenset()
    missing: str = ""


def p_text(p_value: float | None) -> str:
    """0.013, or <0.0001."""
    if p_value is None:
        return "–"
    return "<0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def checkpoints_table(e: Experiment) -> Table:
    """Every checkpoint with its interval."""
    rows = [
        (
            r.arm,
            "–" if r.seed is None else str(r.seed),
            str(r.step),
            f"{r.correct}/{r.n}",
            percent(r.pass_at_1),
            f"{percent(r.low)} to {percent(r.high)}",
            f"{r.no_answer}/{r.n}",
            f"{r.cut_off}/{r.n}",
        )
        for r in e.result.checkpoints
    ]
    columns = ("arm", "seed", "step", "correct", "pass@1 %", "95% interval (Wilson)", "no answer", "cut off")
    quiet = {k for k, r in enumerate(e.result.checkpoints) if r.arm in e.arms and e.arms[r.arm].reference_derived}
    return Table("Checkpoints", columns, tuple(rows), frozenset({1, 2, 3, 4}), frozenset(quiet))


def differences_table(e: Experiment) -> Table:
    """Arms against the base and CoT, problem by problem, in words."""
    rows = [
        (
            f"{d.arm} - {d.against}",
            "–" if d.seed is None else str(d.seed),
            f"{d.step} - {d.against_step}",
            points(d.paired.difference),
            f"{points(d.paired.low)} to {points(d.paired.high)}",
            str(d.paired.gained),
            str(d.paired.lost),
            p_text(d.paired.p_value),
            p_text(d.p_holm),
            f"{d.in_words}; {d.because}" if d.because else d.in_words,
        )
        for d in e.result.differences
    ]
    rows += [
        (
            f"{d.arm} - {d.against}",
            "all",
            _steps(d),
            points(d.compared.difference),
            f"{points(d.compared.low)} to {points(d.compared.high)}",
            "–",
            "–",
            "–",
            "–",
            d.in_words,
        )
        for d in e.result.seed_differences
    ]
    columns = (
        "compared",
        "seed",
        "steps",
        "points",
        "95% interval (Newcombe; over seeds: Student)",
        "gained",
        "lost",
        "McNemar p",
        "p (Holm)",
        "in words",
    )
    return Table("Paired comparisons, problem by problem", columns, tuple(rows), frozenset({1, 2, 3, 5, 6, 7, 8}))


def _steps(d: SeedDifference) -> str:
    """Of every seed the same, or none: each seed's are in its own row."""
    (one, other), *others = sorted(set(d.steps))
    return "–" if others else f"{one} - {other}"


def others_table(others: Sequence[OtherComparison]) -> Table:
    """Arms of as many tokens, and of other corrections, over seeds and problems; lengths and tokens are one arm's, then
    the other's."""
    rows = []
    for other in others:
        d = other.difference
        rows.append(
            (
                f"{other.model}, {named(other.dataset)}",
                f"{d.arm} - {d.against}",
                other.matched_by,
                ", ".join(other.unlike) or "–",
                " - ".join(data.corrections_by for data in other.data if data and data.correctors) or "–",
                _steps(d),
                " - ".join(f"{tokens:,}" for tokens in other.tokens),
                str(len(d.compared.seeds)),
                points(d.compared.difference),
                f"{points(d.compared.low)} to {points(d.compared.high)}",
                d.in_words,
            )
        )
    columns = (
        "student",
        "compared",
        "as many",
        "other settings",
        "corrections",
        "steps",
        "tokens read",
        "seeds",
        "points",
        "95% interval (Student)",
        "in words",
    )
    quiet = {k for k, other in enumerate(others) if any(data and data.reference_derived for data in other.data)}
    caption = "Runs of other lengths or settings, or on other corrections, over seeds and problems"
    return Table(caption, columns, tuple(rows), frozenset({5, 6, 7, 8}), frozenset(quiet))


def best_lines(e: Experiment) -> list[str]:
    """The paper's way to sum an arm up where there is a choice, with what choosing on the test split flatters it by;
    who may not be best."""
    chosen = [arm for arm in e.result.arms if len(arm.best) > 1]
    return [*map(_best_line, chosen), *filter(None, [e.result.not_yet_whole])]


def _best_line(arm: ArmResult) -> str:
    seed = "" if arm.seed is None else f" (seed {arm.seed})"
    line = (
        f"{arm.arm}{seed}: best {len(arm.best)} checkpoints {' / '.join(map(percent, arm.best))}, "
        f"mean {percent(arm.mean)}; "
        f"chosen on the test split, which flatters the mean by about {100 * arm.best_three.optimism:.1f} points"
    )
    if arm.chosen_on_dev is None or arm.dev_pass_at_1 is None:
        return f"{line}. No dev split: set evaluation.dev_problems."
    chosen = arm.chosen_on_dev
    return f"{line}. Chosen on the dev split: step {chosen.step}, {percent(chosen.pass_at_1)} on test."


def table_1(evidence: Evidence, paper: Paper) -> Table:
    """Table 1 with our rows beside the paper's."""
    rows, quiet, seen = [], set(), list[Experiment | None]()
    ours = [e for e in evidence.experiments if e.of_arm("cot") or e.of_arm("lema")]
    for row in paper.table_1:
        e = printed_at(ours, row.model, row.dataset)
        seen.append(e)
        theirs = [
            f"{' / '.join(map(str, best))} ({mean})"
            for best, mean in ((row.cot, row.cot_mean), (row.lema, row.lema_mean))
        ]
        name = student_of(e) if e else row.model
        rows.append((name, named(row.dataset), *theirs, best_three(e, "cot"), best_three(e, "lema")))
    for e in ours:
        if e not in seen:
            if e.is_reference_derived:
                quiet.add(len(rows))
            rows.append(
                (
                    f"{student_of(e)}{' (reference-derived)' if e.is_reference_derived else ''}",
                    named(e.dataset),
                    "–",
                    "–",
                    best_three(e, "cot"),
                    best_three(e, "lema"),
                )
            )
    columns = ("model", "data set", "CoT, paper", "LeMa, paper", "CoT, here", "LeMa, here")
    caption = "Table 1: best three checkpoints (and their mean), pass@1 %"
    return Table(caption, columns, tuple(rows), quiet=frozenset(quiet))


def table_2(evidence: Evidence, paper: Paper) -> Table:
    """Table 2 with our best checkpoint beside the paper's, where the same model and data set were run."""
    rows = []
    for size, models in paper.table_2.items():
        for m in models:
            here = [_best_of(evidence, m.model, dataset) for dataset in ("gsm8k", "math")]
            theirs = [str(value) if value is not None else "–" for value in (m.gsm8k, m.math)]
            rows.append((size, m.name, *theirs, *here))
    columns = ("size", "model", "GSM8K, paper", "MATH, paper", "GSM8K, here", "MATH, here")
    return Table("Table 2: pass@1 %", columns, tuple(rows), frozenset({2, 3, 4, 5}))


def _best_of(evidence: Evidence, model: str | None, dataset: str) -> str:
    for e in evidence.experiments:
        if (e.model, e.dataset) == (model, dataset) and not e.is_transfer:
            best = [r for r in e.result.whole if r.arm == "lema"]
            if best:
                top = max(best, key=lambda r: r.pass_at_1)
                return f"{percent(top.pass_at_1)} ({percent(top.low)} to {percent(top.high)})"
    return "–"


def view_table(
    caption: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, missing: str = ""
) -> Table:
    """Rows of a view; `columns`: name in the view -> heading. Rates are in percent; reference-derived rows quiet."""
    cells = [tuple(_cell(name, row[name]) for name in columns) for row in rows]
    numbers = {
        k
        for k, name in enumerate(columns)
        if any(isinstance(row[name], int | float) and not isinstance(row[name], bool) for row in rows)
    }
    quiet = {k for k, row in enumerate(rows) if row.get("is_reference_derived")}
    return Table(caption, tuple(columns.values()), tuple(cells), frozenset(numbers), frozenset(quiet), missing)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return percent(value) if name in ("rate", "low", "high", "share", "excellent_share") else f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def groups_of(rows: Iterable[Any], key: str) -> list[tuple[str, list[Any]]]:
    """Rows by an attribute, groups in the order in which they come."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(getattr(row, key), []).append(row)
    return list(found.items())
