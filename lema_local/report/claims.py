"""Every claim of the paper as a row: its number, ours, how sure ours is, and a verdict. Pure.

    Claim(topic="LeMa against CoT (Table 1)", text="LeMa is above CoT", where="llama-2-7b, GSM8K", paper="52.5 -> 53.8",
          ours="51.9 -> 54.0", n=1319, interval="+0.2 to +4.0", p_value=0.03, verdict="reproduced", because="...")

Four verdicts. "reproduced": our interval, or test, shows what the claim says. "contradicted": it shows the contrary.
"open": it was tested and holds both; `because` says what would tell. "not tested": it was not run, or rests on
corrections that the oracle wrote from reference solutions. Each claim's rule stands in its `because`, all of them in
docs/evaluation.md.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from lema_local.report.evidence import Effect, Evidence, Experiment
from lema_local.report.over_seeds import SeedDifference
from lema_local.report.paper import Paper
from lema_local.report.results import CheckpointResult
from lema_local.statistics.comparison import SIGNIFICANT
from lema_local.statistics.seeds import compare_over_seeds, seeds_needed
from lema_local.statistics.trends import difference_of_effects

Verdict = Literal["reproduced", "contradicted", "open", "not tested"]

TABLE_1 = "LeMa against CoT (Table 1)"
TABLE_2 = "Fine-tuned models (Table 2)"
CURVES = "All along the training (Figure 2)"
CONTROLLED = "At equal size of the data (Figure 3)"
SIZES = "Larger models gain more"
SPECIALISED = "Specialised models gain too"

NAMES = {"gsm8k": "GSM8K", "math": "MATH", "svamp": "SVAMP", "asdiv": "ASDiv", "csqa": "CSQA"}
NOT_THEIRS = "not run by the authors"
CLOSE = 0.05  # a share: how near a printed figure our whole interval must be to count as that figure
ORACLE = "The corrections trained on are the oracle's, written from reference solutions: they decide nothing."


@dataclass(frozen=True, slots=True)
class Claim:
    """One row. `paper` and `ours` are texts for people; percentages unless they say otherwise."""

    topic: str
    text: str
    where: str
    paper: str
    ours: str = ""
    n: int | None = None
    interval: str = ""
    p_value: float | None = None
    verdict: Verdict = "not tested"
    because: str = ""
    note: str = ""


def training_claims(evidence: Evidence, paper: Paper) -> list[Claim]:
    """The claims about fine-tuned models."""
    experiments = [e for e in evidence.experiments if e.result.split != "dev"]
    return [
        *_table_1(experiments, paper),
        *_table_2(experiments, paper),
        *_curves(experiments),
        *_controlled(experiments, paper),
        *_sizes(experiments),
        *_specialised(experiments, paper),
    ]


def named(dataset: str) -> str:
    """A data set as people write it."""
    return NAMES.get(dataset, dataset)


def points(share: float) -> str:
    """+2.1: a difference of shares in points; +0.0 whatever the side on which it is nothing."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def percent(share: float) -> str:
    """52.5: a share in percent, as the paper prints it."""
    return f"{100 * share:.1f}"


def run_it(model: str, dataset: str) -> str:
    """The command that would make what is missing."""
    return f"make data train eval PROFILE=a100 MODEL={model} DATASET={dataset}"


def compared(claim: Claim, experiment: Experiment, arm: str, against: str, *, missing: str) -> Claim:
    """A claim that `arm` is above `against`, judged by the paired comparison (Holm's p); over seeds, where there are
    several, by their interval."""
    d, seeds = experiment.difference(arm, against), experiment.over_seeds(arm, against)
    effect = experiment.effect(arm, against)
    if d is None or effect is None:
        return replace(claim, because=missing)
    if seeds is not None:
        because, side = f"{seeds.in_words}; {what_would_tell(seeds)}", side_of(effect.low, effect.high)
    else:
        because = f"{d.in_words}; {d.because}" if d.because else d.in_words
        side = 0 if d.p_holm >= SIGNIFICANT else 1 if effect.difference > 0 else -1
    claim = replace(
        claim,
        ours=claim.ours or points(effect.difference),
        n=effect.n,
        interval=f"{points(effect.low)} to {points(effect.high)}",
        p_value=None if seeds is not None else d.p_holm,
    )
    most = experiment.result.asked
    if effect.n < most:
        because = f"Both answered {effect.n:,} of {most:,} problems so far: lema eval"
        return replace(claim, verdict="open", because=because)
    return decided(claim, experiment, (arm, against), side, because=f"{because}.")


def side_of(low: float, high: float) -> int:
    """On which side of zero an interval lies: 1 above, -1 below, 0 on both."""
    return 1 if low > 0 else -1 if high < 0 else 0


def what_would_tell(seeds: SeedDifference) -> str:
    """How many seeds would show a difference of five points, by how much these vary."""
    needed = seeds_needed(seeds.compared, CLOSE) if seeds.compared.n > 1 else None
    shown = f"{100 * CLOSE:.0f} points"
    return f"{shown} would need about {needed} seeds" if needed else f"{shown} would need more problems"


def verdict_of(side: int) -> Verdict:
    """The verdict on a claim that the data are for (1), against (-1) or cannot tell (0)."""
    return "reproduced" if side > 0 else "contradicted" if side < 0 else "open"


def near(low: float, high: float, printed: float) -> int:
    """A printed share beside our interval: 1 the whole interval is within CLOSE of it, -1 it is outside the interval,
    0 the interval holds it and reaches farther."""
    if not low <= printed <= high:
        return -1
    return int(printed - CLOSE <= low and high <= printed + CLOSE)


def decided(claim: Claim, experiment: Experiment, arms: Sequence[str], side: int, *, because: str) -> Claim:
    """The claim with its verdict; none where one of the arms trained on the oracle's corrections."""
    if any(experiment.arms[arm].reference_derived for arm in arms if arm in experiment.arms):
        return replace(claim, because=f"{ORACLE} (Here {because.removesuffix('.')}.)")
    return replace(claim, verdict=verdict_of(side), because=because)


def printed_at(experiments: Sequence[Experiment], model: str, dataset: str) -> Experiment | None:
    """The experiment that a printed figure is about: trained on the data set that it answers; of several bases one."""
    return next((e for e in experiments if (e.model, e.dataset) == (model, dataset) and not e.is_transfer), None)


def _where(experiment: Experiment | None, model: str = "", dataset: str = "") -> str:
    """Student and data set; of a printed figure its own where there is no experiment of it."""
    if experiment is None:
        return f"{model}, {named(dataset)}"
    return f"{student_of(experiment)}, {named(experiment.dataset)}"


def student_of(experiment: Experiment) -> str:
    """The student; the data set that it was trained on where it answers another, its base where it has several."""
    on = f" trained on {named(experiment.trained_on)}" if experiment.is_transfer and experiment.trained_on else ""
    over = f" over {experiment.base}" if experiment.is_one_of_bases else ""
    return f"{experiment.model}{on}{over}"


def best_three(experiment: Experiment | None, arm: str) -> str:
    """53.0 / 52.1 / 51.9 (52.3): an arm as the paper sums it up; of several seeds the mean of those means."""
    results = experiment.of_arm(arm) if experiment else []
    if not results:
        return "–"
    if len(results) > 1:
        return f"{percent(fmean(result.mean for result in results))}, mean of {len(results)} seeds"
    return " / ".join(map(percent, results[0].best)) + f" ({percent(results[0].mean)})"


def _table_1(experiments: Sequence[Experiment], paper: Paper) -> Iterator[Claim]:
    printed = {(row.model, row.dataset): row for row in paper.table_1}
    claim, seen = Claim(TABLE_1, "LeMa is above CoT", where="", paper=NOT_THEIRS), list[Experiment | None]()
    for (model, dataset), row in printed.items():
        experiment = printed_at(experiments, model, dataset)
        where, printed_means = _where(experiment, model, dataset), f"{row.cot_mean} to {row.lema_mean}"
        theirs = replace(claim, where=where, paper=printed_means, note=row.note)
        yield _lema_against_cot(theirs, experiment) if experiment else replace(theirs, because=run_it(model, dataset))
        seen.append(experiment)
    for experiment in experiments:
        if experiment not in seen and experiment.of_arm("lema"):
            yield _lema_against_cot(replace(claim, where=_where(experiment)), experiment)


def _lema_against_cot(claim: Claim, experiment: Experiment) -> Claim:
    ours = f"{best_three(experiment, 'cot')} to {best_three(experiment, 'lema')}"
    missing = "Arms cot and lema were not both evaluated: lema train, then lema eval"
    return compared(replace(claim, ours=ours), experiment, "lema", "cot", missing=missing)


def _table_2(experiments: Sequence[Experiment], paper: Paper) -> Iterator[Claim]:
    for row in (row for rows in paper.table_2.values() for row in rows if row.model is not None):
        for dataset in ("gsm8k", "math"):
            value, model = row.on(dataset) or 0.0, row.model or ""
            experiment = printed_at(experiments, model, dataset)
            where = _where(experiment, model, dataset)
            claim = Claim(TABLE_2, f"{row.name} reaches {value}", where=where, paper=f"{value}")
            of_arm = [r for r in experiment.result.whole if r.arm == "lema"] if experiment else []
            if experiment is None or not of_arm:
                yield replace(claim, because=run_it(model, dataset))
                continue
            best = max(of_arm, key=lambda r: r.pass_at_1)
            interval = f"{percent(best.low)} to {percent(best.high)}"
            claim = replace(claim, ours=percent(best.pass_at_1), n=best.n, interval=interval)
            if 100 * best.high < value:
                side, because = -1, "stays below the printed figure."
            elif 100 * (best.low + CLOSE) < value:
                side, because = 0, f"reaches from above it to more than {100 * CLOSE:.0f} points below: more problems."
            else:
                side, because = 1, f"reaches the printed figure, and at most {100 * CLOSE:.0f} points below it."
            because = f"The best checkpoint, as in the paper; its interval {because}"
            yield decided(claim, experiment, ["lema"], side, because=because)


def _curves(experiments: Sequence[Experiment]) -> Iterator[Claim]:
    text, theirs = "LeMa is above CoT at every checkpoint", "LLaMA-2-70B: yes, on both data sets"
    claims = [found for e in experiments if (found := _curve(Claim(CURVES, text, _where(e), theirs), e))]
    because = "It needs two checkpoints or more of arms cot and lema at the same steps: lema train, then lema eval"
    yield from claims or [Claim(CURVES, text, "LLaMA-2-70B", theirs, because=because)]


def _curve(claim: Claim, experiment: Experiment) -> Claim | None:
    cot, lema = ({(r.seed or 0, r.step): r for r in experiment.result.whole if r.arm == arm} for arm in ("cot", "lema"))
    both = sorted(cot.keys() & lema.keys())
    if len({step for _, step in both}) < 2:
        return None
    above = sum(lema[key].pass_at_1 > cot[key].pass_at_1 for key in both)
    problems = sorted(set.intersection(*(set(arm[key].by_problem) for key in both for arm in (cot, lema))))
    seeds = sorted({seed for seed, _ in both})
    if not problems:  # two sets under one name
        return None

    def solved(arm: dict[tuple[int, int], CheckpointResult], seed: int) -> list[float]:
        """Of each problem, by what share of a seed's checkpoints."""
        results = [arm[key] for key in both if key[0] == seed]
        return [fmean(result.by_problem[p] for result in results) for p in problems]

    one, two = ({seed: solved(arm, seed) for seed in seeds} for arm in (cot, lema))
    over = compare_over_seeds(one, two)
    drawn = "seeds and problems" if len(seeds) > 1 else "problems"
    because = f"The mean over the checkpoints, with an interval over {drawn}."
    claim = replace(
        claim,
        ours=f"above at {above} of {len(both)}, {points(over.difference)} on average",
        n=len(problems),
        interval=f"{points(over.low)} to {points(over.high)}",
    )
    side = side_of(over.low, over.high)
    if side > 0 and above < len(both):
        side, because = 0, f"{because} It is above zero, but not at every checkpoint."
    return decided(claim, experiment, ["lema", "cot"], side, because=because)


def _controlled(experiments: Sequence[Experiment], paper: Paper) -> Iterator[Claim]:
    arm = "lema-controlled"
    for model, bars in paper.figure_3.items():
        is_level = model == "llama-2-7b"
        text = "LeMa and CoT are level" if is_level else "LeMa is above CoT"
        experiment = printed_at(experiments, model, "gsm8k")
        claim = Claim(CONTROLLED, text, _where(experiment, model, "gsm8k"), f"{bars['cot']} to {bars[arm]}")
        if experiment is None:
            yield replace(claim, because=run_it(model, "gsm8k"))
            continue
        judged = compared(claim, experiment, arm, "cot", missing=run_it(model, "gsm8k"))
        yield _as_level(judged, experiment) if is_level else judged
    for experiment in experiments:
        is_gsm8k = experiment.dataset == "gsm8k" and not experiment.is_transfer
        is_printed = is_gsm8k and experiment.model in paper.figure_3
        if not is_printed and experiment.of_arm(arm):
            claim = Claim(CONTROLLED, "LeMa is above CoT", _where(experiment), NOT_THEIRS)
            yield compared(
                claim, experiment, arm, "cot", missing="Arm cot was not evaluated: lema train, then lema eval"
            )


def _as_level(claim: Claim, experiment: Experiment) -> Claim:
    """The 7B model's claim is the other way round: no difference."""
    effect = experiment.effect("lema-controlled", "cot")
    if effect is None or claim.verdict == "not tested":
        return claim
    within = f"within {100 * effect.margin:g} points"
    if effect.is_level:
        return replace(claim, verdict="reproduced", because=f"{claim.because} The whole interval lies {within}.")
    if effect.low > effect.margin or effect.high < -effect.margin:
        return replace(claim, verdict="contradicted", because=f"{claim.because} The whole interval lies beyond that.")
    return replace(claim, verdict="open", because=f"{claim.because} The interval does not lie {within}: more problems.")


def _sizes(experiments: Sequence[Experiment]) -> Iterator[Claim]:
    arm, text = "lema-controlled", "LeMa adds more to a larger model, at equal size of the data"
    theirs = "7B +0.1, 13B +1.2, 34B +2.0, 65B +1.1, 70B +0.9 (GSM8K)"
    effects: dict[str, list[tuple[int, Experiment, Effect]]] = defaultdict(list)
    for e in experiments:
        effect = e.effect(arm, "cot")
        derived = arm in e.arms and e.arms[arm].reference_derived
        if effect is not None and e.parameters and not derived and not e.is_transfer:
            effects[e.dataset].append((e.parameters, e, effect))
    tested = False
    for dataset, group in effects.items():
        (least, small, one), *_, (most, large, other) = sorted([*group, *group], key=lambda item: item[0])
        if least == most:
            continue
        tested = True
        change, low, high = difference_of_effects(one.interval, other.interval)
        claim = Claim(
            SIZES, text, f"{small.model} and {large.model}, {named(dataset)}", theirs,
            ours=f"{points(one.difference)} and {points(other.difference)}",
            n=min(one.n, other.n),
            interval=f"{points(low)} to {points(high)}",
            verdict=verdict_of(side_of(low, high)),
            because=f"The larger model gains {points(change)} points more; the interval is of that.",
        )  # fmt: skip
        yield claim
    if not tested:
        because = f"It needs two students of different size on one data set, arms cot and {arm}, corrected by a model."
        yield Claim(SIZES, text, "two sizes", theirs, because=because)


def _specialised(experiments: Sequence[Experiment], paper: Paper) -> Iterator[Claim]:
    for row in paper.specialised:
        where = f"{row.model}, {named(row.dataset)}"
        claim = Claim(SPECIALISED, "LeMa is above the published model", where, f"+{row.gain} points")
        experiment, missing = printed_at(experiments, row.model, row.dataset), run_it(row.model, row.dataset)
        yield (
            compared(claim, experiment, "lema", "base", missing=missing)
            if experiment
            else replace(claim, because=missing)
        )
