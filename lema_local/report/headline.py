"""The answer first: one sentence that says whether LeMa helped, and what it rests on. Pure.

    headline(experiment).sentence
    # "No difference was shown: lema solved 4.0 points more than cot (95% interval -5.7 to +15.4; 3 seeds, 300
    #  problems); 5 points would need about 46 seeds."

With several seeds the interval over seeds and problems speaks; with one seed, exact McNemar with Holm's p does. Where
the same arms were also trained for as many tokens, that answer stands beside it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lema_local.report.claims import named, points, side_of, student_of, what_would_tell
from lema_local.report.evidence import Effect, Experiment, OtherComparison
from lema_local.statistics.comparison import SIGNIFICANT
from lema_local.statistics.seeds import ADVISED

ARM, AGAINST = "lema", "cot"


@dataclass(frozen=True, slots=True)
class Headline:
    """The answer of one experiment, and what it rests on: student, problems, corrections."""

    sentence: str
    basis: str
    beside: tuple[str, ...] = ()  # the same of runs of as many tokens


def headline(experiment: Experiment, others: Iterable[OtherComparison] = ()) -> Headline | None:
    """None where arms lema and cot were not both evaluated on the same problems."""
    effect, difference = experiment.effect(ARM, AGAINST), experiment.difference(ARM, AGAINST)
    if effect is None or difference is None:
        return None
    seeds, seen = experiment.over_seeds(ARM, AGAINST), side_of(effect.low, effect.high)
    if seeds is None:
        side = seen if difference.p_holm < SIGNIFICANT else 0
        counted, why = "1 seed", difference.because or "one seed says nothing of the next"
        then = f"{why}; more: --seeds {ADVISED}"
    else:
        side, counted, then = seen, f"{len(seeds.compared.seeds)} seeds", what_would_tell(seeds)
    data = experiment.arms.get(ARM)
    what = "Training on corrections from reference solutions" if data and data.reference_derived else "LeMa"
    verdict = ("No difference was shown", f"{what} helped", f"{what} harmed")[side]
    if side == 0 and effect.is_level:
        verdict = f"The two are level within {100 * effect.margin:g} points"
    sentence = f"{verdict}: {_measured(effect, counted)}"
    sentence = f"{sentence}; {then}." if side == 0 else f"{sentence}."
    beside = tuple(_of_equal_tokens(other) for other in others if _is_beside(other, experiment))
    return Headline(sentence, _basis(experiment), beside)


def _is_beside(other: OtherComparison, experiment: Experiment) -> bool:
    """Whether it is the answer's own for as many tokens: on its data and base, and one of the two is its run."""
    place = (experiment.model, experiment.base, experiment.dataset, experiment.result.split)
    arms, data = (other.difference.arm, other.difference.against), other.data[0]
    is_same = (other.model, other.base, other.dataset, other.split) == place and arms == (ARM, AGAINST)
    shown = {result.checkpoint_id for result in experiment.result.checkpoints}
    is_of_answer = data == experiment.arms.get(ARM) and not shown.isdisjoint(other.checkpoints)
    return is_same and other.matched_by == "tokens" and is_of_answer


def _of_equal_tokens(other: OtherComparison) -> str:
    c, (one, against) = other.difference.compared, other.difference.steps[0]
    more, seeds = "more" if c.difference >= 0 else "fewer", len(c.seeds)
    return (
        f"For as many tokens ({ARM} {one:,} steps, {AGAINST} {against:,}): {100 * abs(c.difference):.1f} points {more} "
        f"({points(c.low)} to {points(c.high)}; {seeds} seed{'s' * (seeds > 1)})."
    )


def _measured(effect: Effect, seeds: str) -> str:
    more = "more" if effect.difference >= 0 else "fewer"
    return (
        f"{ARM} solved {100 * abs(effect.difference):.1f} points {more} than {AGAINST} (95% interval "
        f"{points(effect.low)} to {points(effect.high)}; {seeds}, {effect.n:,} problems)"
    )


def _basis(experiment: Experiment) -> str:
    result, data = experiment.result, experiment.arms.get(ARM)
    student = f"Student {student_of(experiment)}, {named(experiment.dataset)}, {result.split} split"
    if data is None or not data.corrections:
        return f"{student}."
    by = f" by {', '.join(data.correctors)}" if data.correctors else ""
    derived = {0: "none of them", data.corrections: "all of them"}.get(
        data.reference_derived, f"{data.reference_derived:,} of them"
    )
    return f"{student}; trained on {data.corrections:,} corrections{by}, {derived} written from reference solutions."
