"""The tables and lines that lema eval prints, set by set."""

from collections.abc import Collection, Iterator, Sequence
from textwrap import fill
from typing import Any

from lema_local.report.evaluation import By, Row, SetReport, by_group
from lema_local.report.headline import Headline
from lema_local.report.results import CheckpointResult, Difference
from lema_local.statistics.sample_metrics import MeanOverProblems
from lema_local.statistics.selection import Optimism

from .tables import format_rows

_RATE = ("arm", "seed", "step", "correct", "pass@1", "95% interval")
WIDTH = 80  # columns of a terminal: what is alike in all rows stands in a line above the table
MISSING = "missing: no reply yet; such a problem counts as not solved until it has one"


def report_text(report: SetReport, rows: Sequence[Row], by: By | None, answer: Headline | None) -> str:
    """All of one set: the answer, where there is one, then what it rests on; `by` splits it by level or subject."""
    parts = [f"{fill(answer.sentence, WIDTH)}\n{fill(answer.basis, WIDTH)}"] if answer else []
    parts.append(_checkpoints(report))
    if by:
        parts.append(_by(report, rows, by))
    parts += filter(None, [_lines(_arms(report)), _seeds(report), _lines(_beside(report))])
    if report.differences:
        parts.append(_differences(report.differences))
    if len(report.checkpoints) > 1:
        parts.append(f"{report.never_solved} of {report.problems} problems are solved by none of these.")
    return "\n\n".join(parts)


def _lines(lines: Iterator[str]) -> str:
    return "\n".join(fill(line, WIDTH) for line in lines)


def _name(result: CheckpointResult, report: SetReport) -> str:
    """The arm, or the model where several, or others than ours, stand in the table."""
    models = {each.model for each in report.checkpoints if each.arm == "base"}
    return result.model if result.arm == "base" and (len(models) > 1 or _is_imported(result)) else result.arm


def _is_imported(result: CheckpointResult) -> bool:
    """Whether its answers were made elsewhere."""
    return result.base.startswith("imported:")


def _folded(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, fold: Collection[str]) -> str:
    """A table without those columns of `fold` that say nothing, or the same in each row: a line above says it once."""
    values = {k: {row[k] for row in rows} for k, name in enumerate(columns) if name in fold}
    alike = {k for k, found in values.items() if found == {None} or len(found) == 1 < len(rows)}
    left = [k for k in range(len(columns)) if k not in alike]
    table = format_rows([columns[k] for k in left], [[row[k] for k in left] for row in rows])
    said = ", ".join(f"{columns[k]} {rows[0][k]}" for k in sorted(alike) if rows[0][k] is not None)
    return f"In each row: {said}.\n{table}" if said else table


def _checkpoints(report: SetReport) -> str:
    dev = {result.checkpoint_id: result for result in report.dev}
    columns = [*_RATE, "no answer", "cut off"]
    is_missing = any(r.missing for r in report.checkpoints)
    columns += ["missing"] if is_missing else []
    cells = []
    for r in report.checkpoints:
        on_dev = dev.get(r.checkpoint_id)
        cells.append(
            [
                *_rate(r, report),
                f"{r.no_answer}/{r.n}",
                None if _is_imported(r) and not r.cut_off else f"{r.cut_off}/{r.n}",  # files rarely say
                *([f"{r.missing}/{r.n}"] if is_missing else []),
                *([f"{on_dev.correct}/{on_dev.n}" if on_dev else None] if dev else []),
            ]
        )
    table = _folded(columns + (["dev"] if dev else []), cells, fold={"seed", "no answer", "cut off", "missing"})
    return f"{table}\n\n{MISSING}" if is_missing else table


def _by(report: SetReport, rows: Sequence[Row], by: By) -> str:
    cells = [(group, *_rate(r, report)) for group, r in by_group(report, rows, by)]
    return _folded([by, *_RATE], cells, fold={"seed"})


def _rate(r: CheckpointResult, report: SetReport) -> tuple[Any, ...]:
    """The cells of the columns _RATE."""
    rate = (f"{r.correct}/{r.n}", f"{r.pass_at_1:.1%}", f"{r.low:.1%} to {r.high:.1%}")
    return (_name(r, report), r.seed, r.step, *rate)


def _arms(report: SetReport) -> Iterator[str]:
    """The paper's way, and beside it what did not look at the test split."""
    for arm in report.arms:
        name = f"{arm.arm}{_of_seed(arm.seed, report)}"
        if len(arm.best) > 1:
            best = " / ".join(f"{value:.1%}" for value in arm.best)
            yield (
                f"{name}: best {len(arm.best)} checkpoints {best}, mean {arm.mean:.1%} (chosen on the test split: "
                f"{_worth(arm.best_three)}; the best one: {_worth(arm.best_one)})"
            )
        if arm.chosen_on_dev is not None and arm.dev_pass_at_1 is not None:
            chosen = arm.chosen_on_dev
            yield (
                f"{name}: step {chosen.step} is best on the dev split ({arm.dev_pass_at_1:.1%}), on the test split "
                f"{chosen.pass_at_1:.1%} ({chosen.low:.1%} to {chosen.high:.1%})"
            )
    if report.not_yet_whole:
        yield report.not_yet_whole


def _of_seed(seed: int | None, report: SetReport) -> str:
    """Nothing where there is one seed."""
    several = len({r.seed for r in report.checkpoints if r.seed is not None}) > 1
    return f" (seed {seed})" if several and seed is not None else ""


def _worth(optimism: Optimism) -> str:
    if not optimism.optimism:
        return "nothing to choose from"
    return f"{100 * optimism.optimism:+.1f} points come of the choice, {optimism.honest:.1%} without"


def _seeds(report: SetReport) -> str:
    """Arms over their seeds, and what the interval over seeds and problems says of two."""
    spreads = [
        (each.arm, s.n, *map(_percent, (s.mean, s.sd, s.least, s.most))) for each in report.seeds for s in [each.spread]
    ]
    parts = [format_rows(["arm", "seeds", "mean", "sd", "least", "most"], spreads)] if spreads else []
    if report.seed_differences:
        cells = [
            (
                f"{d.arm} - {d.against}",
                len(d.compared.seeds),
                f"{100 * d.compared.difference:+.1f}",
                f"{100 * d.compared.low:+.1f} to {100 * d.compared.high:+.1f}",
            )
            for d in report.seed_differences
        ]
        parts.append(format_rows(["over seeds and problems", "seeds", "points", "95% interval"], cells))
        parts.append("\n".join(fill(d.in_words, WIDTH) for d in report.seed_differences))
    return "\n\n".join(parts)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def _beside(report: SetReport) -> Iterator[str]:
    """Repeats and samples, a line a checkpoint."""
    for result, repeats, samples in zip(report.checkpoints, report.repeats, report.samples, strict=True):
        step = "" if result.arm == "base" else f" {result.step}"
        name = f"{_name(result, report)}{step}{_of_seed(result.seed, report)}"
        if repeats is not None:
            yield (
                f"{name}, the same greedy calls {repeats.repeats} times: {repeats.changed} of {repeats.problems} "
                f"answers changed, {repeats.flipped} between right and wrong; pass@1 {repeats.least:.1%} to "
                f"{repeats.most:.1%}"
            )
        if samples is not None:
            passed = ", ".join(f"pass@{k} {_mean(value)}" for k, value in samples.pass_at.items())
            voted = ", ".join(f"majority@{k} {_mean(value)}" for k, value in samples.majority_at.items())
            yield f"{name}, {samples.samples} samples a problem: {', '.join(filter(None, (passed, voted)))}"


def _mean(value: MeanOverProblems) -> str:
    return f"{value.value:.1%} ({value.low:.1%} to {value.high:.1%})"


def _differences(differences: Sequence[Difference]) -> str:
    several = len(differences) > 1
    columns = ["difference", "seed", "steps", "points", "95% interval", "won/lost", "Holm p" if several else "p"]
    cells = [
        [
            f"{d.arm} - {d.against}",
            d.seed,
            f"{d.step} - {d.against_step}",
            f"{100 * d.paired.difference:+.1f}",
            f"{100 * d.paired.low:+.1f} to {100 * d.paired.high:+.1f}",
            f"{d.paired.gained}/{d.paired.lost}",
            f"{d.p_holm:.2g}",
        ]
        for d in differences
    ]
    said = ["Intervals: Wilson's above, Newcombe's here. Won: problems wrong before, right now. p: exact McNemar."]
    if several:
        said.append(f"Holm's p allows for {len(differences)} comparisons; the words go by it.")
    if len({d.seed for d in differences}) == 1:  # of several seeds all together speak, above
        said += [d.in_words + (f": {d.because}" if d.because else "") for d in differences]
    table = _folded(columns, cells, fold={"seed", "steps"})
    return table + "\n\n" + "\n".join(fill(line, WIDTH) for line in said)
