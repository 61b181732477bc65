"""Which checkpoints a report shows: of each student those of one comparison, so that its arms differ in what they say
that they differ in. Pure.

    shown_checkpoints(rows, data)["7f0c..."]        # same_step=True: its arm is compared with others at the same step

A database may hold several: other corrections, other settings, and, where the learning rate falls to zero, runs of
other lengths: arms of as many steps, `lema` cut to the tokens that `cot` saw, `cot` trained on to those of `lema`. The
answer is the one that rests on most seeds, of as many the newest: so what is under way takes no finished one's place.
The others are said beside it (report/other_runs.py).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from lema_local.report.runs import Data, Row, Runs, runs_of


def shown_checkpoints(
    rows: Sequence[Row], data: Data | None = None, preferred: Collection[str] = ()
) -> dict[str, bool]:
    """Of rows of db/stages/report_checkpoints.sql, oldest first, the ids of those to show, each with whether its arm is
    compared at the step that it shares with another (else each where it ends).

    Of each student and data set an arm against cot, of one design and on the same CoT examples, chosen by, in this
    order: that its training set is among `preferred`; that both take as many steps; that it is lema; the seeds that
    both have; which is newest. Beside the two, other arms of that design and length, on the same data. Where no arm
    can be compared with cot, what was trained last.
    """
    students: dict[tuple[str, str], list[Runs]] = defaultdict(list)
    for runs in runs_of(rows):
        students[runs.student].append(runs)
    shown: dict[str, bool] = {}
    for every in students.values():
        kept, same_step = _shown(every, data or Data(), preferred)
        shown |= {row["id"]: same_step for runs in kept for of_seed in runs.seeds.values() for row in of_seed}
    return shown


def _shown(every: Sequence[Runs], data: Data, preferred: Collection[str]) -> tuple[Iterable[Runs], bool]:
    pairs = [
        (one, cot)
        for cot in every
        for one in every
        if cot.arm == "cot" != one.arm
        and one.design == cot.design
        and one.common_seeds(cot)
        and (one.length == cot.length or not (one.is_by_steps and cot.is_by_steps))
        and not data.is_unlike(one, cot)
    ]
    if not pairs:
        last = every[-1]
        return _latest(runs for runs in every if (runs.design, runs.length) == (last.design, last.length)), True

    def rank(pair: tuple[Runs, Runs]) -> tuple[int, ...]:
        one, cot = pair
        is_preferred, is_lema = one.training_set in preferred, one.arm == "lema"
        return is_preferred, _is_by_steps(*pair), is_lema, len(one.common_seeds(cot)), one.last, cot.last

    one, cot = max(pairs, key=rank)
    same_step = _is_by_steps(one, cot)
    beside = (
        runs
        for runs in every
        if runs.arm not in (one.arm, "cot")
        and runs.design == cot.design
        and (runs.length == cot.length or not same_step)
        and not data.is_unlike(runs, cot)
        and not data.has_other_corrections(runs, one)
    )
    return [cot, one, *_latest(beside)], same_step


def _is_by_steps(one: Runs, other: Runs) -> bool:
    """Whether they are to be compared after as many steps; at a constant learning rate they pass each other's."""
    return one.length == other.length and (one.length is not None or one.is_by_steps or other.is_by_steps)


def _latest(every: Iterable[Runs]) -> list[Runs]:
    """Of each arm the runs that were trained last."""
    return list({runs.arm: runs for runs in every}.values())
