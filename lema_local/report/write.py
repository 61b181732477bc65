"""write_report(): the report of a database as one HTML file, and its figures as PNG where they are wanted."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lema_local.errors import DataError
from lema_local.records.store import Store
from lema_local.report.charts import IN_FILE, ON_PAGE, Figure
from lema_local.report.claims import training_claims
from lema_local.report.corrector_claims import corrector_claims
from lema_local.report.drawing import Drawn, draw
from lema_local.report.evidence import Evidence
from lema_local.report.figures import figures
from lema_local.report.forest import forest
from lema_local.report.gather import gather
from lema_local.report.headline import Headline, headline
from lema_local.report.manifest import gather_manifest
from lema_local.report.page import Contents, render_page
from lema_local.report.paper import paper
from lema_local.report.results import MARGIN
from lema_local.settings.profiles import Profile


def write_report(
    store: Store,
    output: Path,
    *,
    title: str,
    seed: int,
    pictures: Path | None = None,
    profile: Profile | None = None,
    on_notice: Callable[[str], None] = lambda message: None,
) -> list[Path]:
    """Writes the page, and into the folder `pictures` each figure that has data as SVG and PNG; returns the files.

    `profile` is shown in the manifest; its margin is the one within which arms are level, and of an arm on several data
    those of its correctors are shown. A figure that cannot be drawn is named in its place, and by `on_notice`. Reads
    only. Raises StoreError for a database that cannot be read, DataError for a file that cannot be written,
    MissingPackageError without the extra `report`.
    """
    page, evidence = report_page(store, title=title, seed=seed, profile=profile, on_notice=on_notice)
    written = [_write(output, page.encode())]
    if pictures is not None:
        forests = (forest(e, IN_FILE, name=f"answer-{number}") for number, e in enumerate(evidence.experiments, 1))
        in_files = [*filter(None, forests), *figures(evidence, paper(), IN_FILE)]
        for name, picture in _drawn(in_files, on_notice, png=True).items():
            if not picture.fault:
                written.append(_write(pictures / f"{name}.svg", picture.svg.encode()))
                written.append(_write(pictures / f"{name}.png", picture.png))
    return written


def report_page(
    store: Store,
    *,
    title: str,
    seed: int,
    profile: Profile | None,
    on_notice: Callable[[str], None],
    watched: bool = False,
) -> tuple[str, Evidence]:
    """The page as HTML, `watched` as render_page has it, and what it rests on."""
    margin = profile.evaluation.margin / 100 if profile else MARGIN
    evidence, samples = gather(store, seed=seed, margin=margin, correctors=_correctors(profile) if profile else ())
    answers, shown = list(_answers(evidence)), figures(evidence, paper(), ON_PAGE)
    drawn = _drawn([*(picture for _, picture in answers if picture), *shown], on_notice)
    contents = Contents(
        title=title,
        database=store.path.name,
        made_at=datetime.now(UTC),
        evidence=evidence,
        paper=paper(),
        claims=[*training_claims(evidence, paper()), *corrector_claims(evidence, paper())],
        answers=[(answer, *(_with_svg(picture, drawn) if picture else (None, None))) for answer, picture in answers],
        figures=[_with_svg(figure, drawn) for figure in shown],
        samples=samples,
        manifest=gather_manifest(store, profile),
        rejections=store.rows("from rejections"),
        costs=store.rows("from correction_cost"),
        missing=_missing(evidence),
        seed=seed,
    )
    return render_page(contents, watched=watched), evidence


def _correctors(profile: Profile) -> set[str]:
    """Their models as records name them: known ones by their name, those of a file or folder by its."""
    models = [profile.endpoint(name).model for name in profile.correction.correctors]
    return {name for model in models for name in (model, Path(model).name, Path(model).stem.lower())}


def _answers(evidence: Evidence) -> Iterator[tuple[Headline, Figure | None]]:
    for number, experiment in enumerate(evidence.experiments, 1):
        answer = headline(experiment, evidence.others)
        if answer is not None:
            yield answer, forest(experiment, ON_PAGE, name=f"answer-{number}")


def _missing(evidence: Evidence) -> list[tuple[str, str]]:
    """What a whole run would have and this database has not, with the command that makes it."""
    arms = {arm.arm for e in evidence.experiments for arm in e.result.arms}
    found, left = [], evidence.not_evaluated
    if not (evidence.mistakes_by_level or evidence.experiments or left):
        return [("Nothing was sampled yet.", "make data train eval")]
    if not evidence.self_correction_rate:
        found.append(("No mistake was corrected yet.", "make data"))
    trained = f"{left:,} trained checkpoint{'s are' if left > 1 else ' is'} not evaluated yet."
    if left and not arms and not evidence.not_shown:
        found.append(
            (f"{'Only the base model' if evidence.experiments else 'Nothing'} was evaluated: {trained}", "make eval")
        )
    elif not evidence.experiments:
        found.append(("Nothing was evaluated yet.", "make train eval"))
    elif not arms and not evidence.not_shown:
        found.append(("Only the base model was evaluated: no arm is trained yet.", "make train eval"))
    elif len(arms) == 1 and not evidence.not_shown:  # else the others are named below
        found.append(
            (f"Only arm {next(iter(arms))} was evaluated: there is nothing to compare it with.", "make train eval")
        )
    if evidence.not_shown:
        others = f"{evidence.not_shown:,} evaluated checkpoints of other data, settings or numbers of steps"
        found.append((f"{others} are compared with none of these. With the options of their training:", "lema eval"))
    if arms and not any(e.result.dev for e in evidence.experiments):
        found.append(("No dev split chooses the checkpoints: set evaluation.dev_problems in the profile.", "make eval"))
    return found


def _drawn(wanted: Iterable[Figure], on_notice: Callable[[str], None], *, png: bool = False) -> dict[str, Drawn]:
    """What the renderer made of those that have data, by their names; tells of what it could not draw."""
    whole = {figure.name: figure.spec for figure in wanted if figure.spec is not None}
    found = dict(zip(whole, draw(list(whole.values()), png=png), strict=True))
    for name, drawn in found.items():
        if drawn.fault:
            on_notice(f"{name} could not be drawn: {drawn.fault}")
    return found


def _with_svg(figure: Figure, found: Mapping[str, Drawn]) -> tuple[Figure, str | None]:
    """The figure and its SVG; one that could not be drawn says so in its place."""
    drawn = found.get(figure.name, Drawn())
    if drawn.fault:
        return replace(figure, spec=None, missing=f"This figure could not be drawn ({drawn.fault})."), None
    return figure, drawn.svg or None


def _write(path: Path, content: bytes) -> Path:
    """Written aside and renamed: a report is whole or the one of before."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise DataError(f"Cannot write {path}: {error.strerror}. Name another file with --output.") from error
    return path
