"""The tables and lines that lema eval prints, set by set."""

from collections.abc import Iterator, Sequence

from lema_local.report.evaluation import By, Row, SetReport, by_group
from lema_local.report.results import CheckpointResult, Difference
from lema_local.statistics.sample_metrics import MeanOverProblems
from lema_local.statistics.selection import Optimism

from .tables import format_rows

MISSING = "missing: no reply yet; such a problem counts as not solved until it has one"


def report_text(report: SetReport, rows: Sequence[Row], by: By | None) -> str:
    """All of one set; `by` splits it by level or subject."""
    several_seeds = len({result.seed for result in report.checkpoints if result.seed is not None}) > 1
    parts = [_checkpoints(report, several_seeds=several_seeds)]
    if by:
        parts.append(_by(report, rows, by))
    parts += ["\n".join(lines) for lines in (list(_arms(report)), list(_seeds(report)), list(_beside(report))) if lines]
    if report.differences:
        parts.append(_differences(report.differences))
    if len(report.checkpoints) > 1:
        parts.append(f"{report.never_solved} of {report.problems} problems are solved by none of these.")
    return "\n\n".join(parts)


def _name(result: CheckpointResult, report: SetReport) -> str:
    """The arm, or the model where several, or others than ours, stand in the table."""
    models = {each.model for each in report.checkpoints if each.arm == "base"}
    return result.model if result.arm == "base" and (len(models) > 1 or _is_imported(result)) else result.arm


def _is_imported(result: CheckpointResult) -> bool:
    """Whether its answers were made elsewhere."""
    return result.base.startswith("imported:")


def _checkpoints(report: SetReport, *, several_seeds: bool) -> str:
    dev = {result.checkpoint_id: result for result in report.dev}
    columns = [
        "arm",
        *(["seed"] if several_seeds else []),
        "step",
        "correct",
        "pass@1",
        "95% interval (Wilson)",
        "no answer",
        "cut off",
    ]
    is_missing = any(r.missing for r in report.checkpoints)
    columns += ["missing"] if is_missing else []
    cells = []
    for r in report.checkpoints:
        on_dev = dev.get(r.checkpoint_id)
        cells.append(
            [
                _name(r, report),
                *([r.seed] if several_seeds else []),
                r.step,
                f"{r.correct}/{r.n}",
                f"{r.pass_at_1:.1%}",
                f"{r.low:.1%} to {r.high:.1%}",
                f"{r.no_answer}/{r.n}",
                None if _is_imported(r) and not r.cut_off else f"{r.cut_off}/{r.n}",  # files rarely say
                *([f"{r.missing}/{r.n}"] if is_missing else []),
                *([f"{on_dev.correct}/{on_dev.n}" if on_dev else None] if dev else []),
            ]
        )
    table = format_rows(columns + (["dev"] if dev else []), cells)
    return f"{table}\n\n{MISSING}" if is_missing else table


def _by(report: SetReport, rows: Sequence[Row], by: By) -> str:
    cells = [
        (group, _name(r, report), r.step, f"{r.correct}/{r.n}", f"{r.pass_at_1:.1%}", f"{r.low:.1%} to {r.high:.1%}")
        for group, r in by_group(report, rows, by)
    ]
    return format_rows([by, "arm", "step", "correct", "pass@1", "95% interval (Wilson)"], cells)


def _arms(report: SetReport) -> Iterator[str]:
    """The paper's way, and beside it what did not look at the test split."""
    several_seeds = len({arm.seed for arm in report.arms}) > 1
    for arm in report.arms:
        name = f"{arm.arm} (seed {arm.seed})" if several_seeds else arm.arm
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


def _worth(optimism: Optimism) -> str:
    if not optimism.optimism:
        return "nothing to choose from"
    return f"{100 * optimism.optimism:+.1f} points come of the choice, {optimism.honest:.1%} without"


def _seeds(report: SetReport) -> Iterator[str]:
    for each in report.seeds:
        s = each.spread
        sd = f", standard deviation {100 * s.sd:.1f} points" if s.sd is not None else ""
        yield f"{each.arm} over {s.n} seeds: mean {s.mean:.1%}{sd}, {s.least:.1%} to {s.most:.1%}"
    for found in report.seed_differences:
        c = found.compared
        yield (
            f"{found.arm} - {found.against} over seeds and problems: {100 * c.difference:+.1f} points "
            f"({100 * c.low:+.1f} to {100 * c.high:+.1f}; bootstrap over both): {found.in_words}"
        )


def _beside(report: SetReport) -> Iterator[str]:
    """Repeats and samples, a line a checkpoint."""
    for result, repeats, samples in zip(report.checkpoints, report.repeats, report.samples, strict=True):
        name = f"{_name(result, report)} {result.step}" if result.arm != "base" else _name(result, report)
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
    several, several_seeds = len(differences) > 1, len({d.seed for d in differences}) > 1
    columns = ["difference", "steps", "points", "95% interval (Newcombe)", "gained", "lost", "McNemar p"]
    if several_seeds:
        columns.insert(1, "seed")
    if several:
        columns.append("Holm p")
    cells = [
        [
            f"{d.arm} - {d.against}",
            *([d.seed] if several_seeds else []),
            f"{d.step} - {d.against_step}",
            f"{100 * d.paired.difference:+.1f}",
            f"{100 * d.paired.low:+.1f} to {100 * d.paired.high:+.1f}",
            d.paired.gained,
            d.paired.lost,
            f"{d.paired.p_value:.2g}",
            *([f"{d.p_holm:.2g}"] if several else []),
        ]
        for d in differences
    ]
    said = [d.in_words + (f": {d.because}" if d.because else "") for d in differences]
    if several:
        said.append(f"{len(differences)} comparisons were made: the words go by Holm's p, which allows for that.")
    return format_rows(columns, cells) + "\n\n" + "\n".join(said)
