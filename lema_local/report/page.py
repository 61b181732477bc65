"""One self-contained HTML file from what a database holds: no network, no other file; model text in it is inert.

Jinja escapes every value. What goes in as it is: our stylesheets and script, and figures that Vega-Lite drew from
numbers and names (its renderer escapes those). The page's own policy (CSP) allows no script but ours, by its hash, and
no request at all.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, get_args

from lema_local import printable
from lema_local.errors import MissingPackageError
from lema_local.report.charts import Figure
from lema_local.report.claims import Claim, Verdict, named, student_of
from lema_local.report.evidence import Evidence
from lema_local.report.gather import Samples
from lema_local.report.headline import Headline
from lema_local.report.manifest import Manifest
from lema_local.report.paper import Paper
from lema_local.report.tables import (
    Table,
    best_lines,
    checkpoints_table,
    differences_table,
    groups_of,
    others_table,
    p_text,
    table_1,
    table_2,
    view_table,
)

LIVE_MARK = "<!-- live -->"  # no value can hold it: its < would be escaped


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a page shows."""

    title: str
    database: str
    made_at: datetime
    evidence: Evidence
    paper: Paper
    claims: Sequence[Claim]
    answers: Sequence[tuple[Headline, Figure | None, str | None]]  # of each experiment, with its picture and SVG
    figures: Sequence[tuple[Figure, str | None]]  # with the SVG of each
    samples: Samples
    manifest: Manifest
    rejections: Sequence[dict[str, Any]]
    costs: Sequence[dict[str, Any]]
    missing: Sequence[tuple[str, str]]  # what is not there, and the command that makes it
    seed: int


def render_page(contents: Contents, *, watched: bool = False) -> str:
    """The HTML text. With `watched` it is for a server (report/watch.py): it holds LIVE_MARK where the live part goes,
    and runs a second script, the server's."""
    c, evidence = contents, contents.evidence
    tested = [claim for claim in c.claims if claim.n is not None]
    untested = [claim for claim in c.claims if claim.n is None]
    kinds = [f"{p.change} by LeMa" for p in c.samples.changed]
    kinds += [sample.verdict for sample in c.samples.corrections]
    template = environment().get_template("report.html")
    return printable.characters(
        template.render(
            title=c.title,
            database=c.database,
            made_at=c.made_at.strftime("%Y-%m-%d %H:%M %Z"),
            css=_as_it_is(asset("theme.css", folder="") + asset("report.css")),
            script=_as_it_is(asset("report.js")),
            script_hash=script_hash(),
            watched=_as_it_is(LIVE_MARK) if watched else None,
            answers=[
                {
                    "sentence": answer.sentence,
                    "beside": answer.beside,
                    "basis": answer.basis,
                    "figure": _shown_figure(figure, svg) if figure else None,
                }
                for answer, figure, svg in c.answers
            ],
            warnings=warnings(evidence),
            missing=[{"what": what, "command": command} for what, command in c.missing],
            experiments=[
                {
                    "model": student_of(e),
                    "dataset": named(e.dataset),
                    "n": f"{e.result.problems:,}",
                    "split": e.result.split,
                    "base": e.base,
                    "checkpoints": checkpoints_table(e),
                    "best": best_lines(e),
                    "differences": differences_table(e),
                }
                for e in evidence.experiments
            ],
            others=others_table(evidence.others),
            verdicts=_verdicts(c.claims),
            verdict_names=get_args(Verdict),
            tested=groups_of(tested, "topic"),
            untested=groups_of(untested, "topic"),
            untested_count=len(untested),
            claims_count=len(c.claims),
            p=p_text,
            figures=[_shown_figure(figure, svg) for figure, svg in c.figures],
            table_1=table_1(evidence, c.paper),
            table_2=table_2(evidence, c.paper),
            corrector_tables=_corrector_tables(c),
            seed=c.seed,
            kinds=list(dict.fromkeys(kinds)),
            people=sorted({s.corrector for s in c.samples.corrections} | {p.model for p in c.samples.changed}),
            changed=c.samples.changed,
            corrections=c.samples.corrections,
            manifest=c.manifest.tables,
            settings=c.manifest.settings,
        )
    )


def warnings(evidence: Evidence) -> list[str]:
    """What a reader must know first: where corrections come from the reference solutions."""
    arms = [
        f"{data.reference_derived:,} of {data.examples:,} examples of arm {arm} ({e.model}, {named(e.dataset)})"
        for e in evidence.experiments
        for arm, data in e.arms.items()
        if data.reference_derived
    ]
    asked = sum(row["mistakes"] for row in evidence.self_correction_rate if row["is_reference_derived"])
    if not arms and not asked:
        return []
    where = "; ".join(dict.fromkeys(arms)) or f"{asked:,} corrections"
    return [
        f"Reference-derived: {where} were written by the oracle from reference solutions. It is no model: its "
        "rows stand apart, and what rests on them decides no claim."
    ]


def _shown_figure(figure: Figure, svg: str | None) -> dict[str, Any]:
    heading, *rows = figure.table or ((),)
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "missing": figure.missing,
        "svg": _as_it_is(svg) if svg else None,
        "table": Table(figure.title, heading, tuple(rows)) if rows else None,
    }


def _verdicts(claims: Iterable[Claim]) -> str:
    counts = Counter(claim.verdict for claim in claims)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict)) + "."


def _corrector_tables(c: Contents) -> list[Table]:
    make = "No correction yet: make data"
    return [
        view_table(
            "How often does each corrector put mistakes right?",
            c.evidence.self_correction_rate,
            {
                "reasoner": "reasoner",
                "corrector": "corrector",
                "is_self": "itself",
                "dataset": "data set",
                "mistakes": "mistakes",
                "right_answer": "right answer",
                "corrected": "kept",
                "rate": "kept %",
                "low": "from",
                "high": "to",
                "template": "prompt",
            },
            missing=make,
        ),
        view_table(
            "Why were corrections rejected?",
            c.rejections,
            {
                "reasoner": "reasoner",
                "corrector": "corrector",
                "rejected_because": "reason",
                "corrections": "corrections",
                "share": "share %",
                "template": "prompt",
            },
            missing="None was rejected." if c.evidence.self_correction_rate else make,
        ),
        view_table(
            "What does an accepted correction cost?",
            c.costs,
            {
                "reasoner": "reasoner",
                "corrector": "corrector",
                "calls": "calls",
                "kept": "kept",
                "tokens_per_kept": "tokens each",
                "seconds_per_kept": "seconds each",
                "usd_per_kept": "dollars each",
            },
            missing=make,
        ),
        view_table(
            "How do people and judges grade corrections?",
            c.evidence.corrector_grades,
            {
                "dataset": "data set",
                "reasoner": "reasoner",
                "corrector": "corrector",
                "by_model": "by a model",
                "reviewers": "reviewers",
                "excellent": "excellent",
                "good": "good",
                "poor": "poor",
                "excellent_share": "excellent %",
                "low": "from",
                "high": "to",
            },
            missing="No correction was graded yet: lema review",
        ),
    ]


def _as_it_is(text: str) -> Any:
    """Text of our own, or drawn by Vega-Lite, that Jinja must not escape."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704


def script_hash() -> str:
    """Of the page's script, as a policy (CSP) names it."""
    digest = hashlib.sha256(asset("report.js").encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def asset(name: str, *, folder: str = "assets") -> str:
    """The text of a file of the page."""
    return files("lema_local.report").joinpath(folder, name).read_text(encoding="utf-8")


def environment() -> Any:
    """Jinja's, which escapes every value. MissingPackageError without the extra `report`."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingPackageError("The report needs Jinja2: pip install 'lema-local[report]'") from error
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
