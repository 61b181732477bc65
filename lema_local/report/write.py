"""write_report(): the report of a database as one HTML file, and its figures as PNG where they are wanted."""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lema_local.errors import DataError, MissingPackageError
from lema_local.records.store import Store
from lema_local.report.charts import IN_FILE, ON_PAGE, Figure, Spec
from lema_local.report.claims import training_claims
from lema_local.report.corrector_claims import corrector_claims
from lema_local.report.evidence import Evidence
from lema_local.report.figures import figures
from lema_local.report.forest import forest
from lema_local.report.gather import gather
from lema_local.report.headline import Headline, headline
from lema_local.report.manifest import gather_manifest
from lema_local.report.page import Contents, render_page
from lema_local.report.paper import paper
from lema_local.settings.profiles import Profile

PNG_SCALE = 2.0


def write_report(
    store: Store, output: Path, *, title: str, seed: int, pictures: Path | None = None, profile: Profile | None = None
) -> list[Path]:
    """Writes the page, and into the folder `pictures` each figure that has data as SVG and PNG; returns the files.

    `profile` is shown in the manifest. Reads only. Raises StoreError for a database that cannot be read, DataError for
    a file that cannot be written, MissingPackageError without the extra `report`.
    """
    evidence, samples = gather(store, seed=seed)
    page = render_page(
        Contents(
            title=title,
            database=store.path.name,
            made_at=datetime.now(UTC),
            evidence=evidence,
            paper=paper(),
            claims=[*training_claims(evidence, paper()), *corrector_claims(evidence, paper())],
            answers=list(_answers(evidence)),
            figures=[(figure, _svg(figure.spec)) for figure in figures(evidence, paper(), ON_PAGE)],
            samples=samples,
            manifest=gather_manifest(store, profile),
            rejections=store.rows("from rejections"),
            costs=store.rows("from correction_cost"),
            missing=_missing(evidence),
            seed=seed,
        )
    )
    written = [_write(output, page.encode("utf-8", "replace"))]
    if pictures is not None:
        forests = (forest(e, IN_FILE, name=f"answer-{number}") for number, e in enumerate(evidence.experiments, 1))
        drawn = [*filter(None, forests), *figures(evidence, paper(), IN_FILE)]
        written += [path for figure in drawn for path in _pictures(figure, pictures)]
    return written


def _answers(evidence: Evidence) -> Iterator[tuple[Headline, Figure | None, str | None]]:
    for number, experiment in enumerate(evidence.experiments, 1):
        answer = headline(experiment)
        if answer is not None:
            picture = forest(experiment, ON_PAGE, name=f"answer-{number}")
            yield answer, picture, _svg(picture.spec) if picture else None


def _missing(evidence: Evidence) -> list[tuple[str, str]]:
    """What a whole run would have and this database has not, with the command that makes it."""
    arms = {arm.arm for e in evidence.experiments for arm in e.result.arms}
    if not evidence.mistakes_by_level and not evidence.experiments:
        return [("Nothing was sampled yet.", "make data train eval")]
    found = []
    if not evidence.self_correction_rate:
        found.append(("No mistake was corrected yet.", "make data"))
    if not evidence.experiments:
        found.append(("Nothing was evaluated yet.", "make train eval"))
    elif not arms:
        found.append(("Only the base model was evaluated: no arm is trained yet.", "make train eval"))
    elif len(arms) == 1:
        found.append(
            (f"Only arm {next(iter(arms))} was evaluated: there is nothing to compare it with.", "make train eval")
        )
    if arms and not any(e.result.dev for e in evidence.experiments):
        found.append(("No dev split chooses the checkpoints: set evaluation.dev_problems in the profile.", "make eval"))
    return found


def _svg(spec: Spec | None) -> str | None:
    return None if spec is None else str(_vega().vegalite_to_svg(spec))


def _pictures(figure: Figure, folder: Path) -> list[Path]:
    if figure.spec is None:
        return []
    svg, png = _vega().vegalite_to_svg(figure.spec), _vega().vegalite_to_png(figure.spec, scale=PNG_SCALE)
    return [_write(folder / f"{figure.name}.svg", svg.encode()), _write(folder / f"{figure.name}.png", png)]


def _vega() -> Any:
    try:
        import vl_convert
    except ImportError as error:
        raise MissingPackageError("Figures need vl-convert-python: pip install 'lema-local[report]'") from error
    return vl_convert


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
