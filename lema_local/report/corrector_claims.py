"""The paper's claims about correctors (sections 3.1 and 4.3, Figure 4) as rows. Pure.

Rows of correctors that write from the reference solution decide nothing and are left out here. Counts are effective
ones (db/views/1_mistakes.sql): several mistakes at one problem say less than as many problems.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lema_local.report.claims import (
    CLOSE,
    ORACLE,
    Claim,
    Verdict,
    named,
    near,
    percent,
    points,
    side_of,
    verdict_of,
    what_would_tell,
)
from lema_local.report.evidence import Evidence, Row, in_one_way
from lema_local.report.paper import Paper
from lema_local.settings.models import size_in_name
from lema_local.statistics.comparison import SIGNIFICANT, mcnemar_exact, wilson_interval
from lema_local.statistics.trends import fisher_exact, trend

RATES = "How often corrections succeed (section 4.3)"
SELF = "Self-correction (section 4.3)"
SAME = "Larger correctors put more right"
HELPS = "Larger correctors' corrections help more"
LEVELS = "Success falls with difficulty (Figure 4)"
GRADES = "People's grades of corrections (section 3.1)"
THEIR_CORRECTOR = "gpt-4"
# An order, for the two whose sizes are not published.
_UNPUBLISHED = {"gpt-3.5-turbo": 10.0**11, THEIR_CORRECTOR: 10.0**12}


def corrector_claims(evidence: Evidence, paper: Paper) -> list[Claim]:
    """One row or more for each claim."""
    rates = [row for row in evidence.self_correction_rate if not row["is_reference_derived"]]
    grades = [row for row in evidence.corrector_grades if not (row["is_reference_derived"] or row["by_model"])]
    by_level = [row for row in evidence.correction_by_level if not row["is_reference_derived"]]
    return [
        *_rates(rates, paper),
        *_self_correction(rates),
        *_same_mistakes(evidence),
        *_helping(evidence),
        *_levels(by_level, evidence.mistakes_by_level),
        *_grades(grades, paper),
        *_weak_correctors(grades, evidence),
    ]


def _interval(successes: float, total: float) -> str:
    low, high = wilson_interval(successes, total)
    return f"{percent(low)} to {percent(high)}"


def _held_against(claim: Claim, printed: float, successes: float, total: float) -> Claim:
    """The claim with the verdict on a rate that the paper prints (`near`)."""
    side = near(*wilson_interval(successes, total), printed)
    farther = f", which reaches more than {100 * CLOSE:.0f} points from it: more of them would tell"
    because = f"The printed rate lies {'outside' if side < 0 else 'in'} our interval{'' if side else farther}."
    return replace(claim, verdict=verdict_of(side), because=because)


def _by_test(p_value: float, *, is_as_claimed: bool) -> Verdict:
    """The verdict where a test compares two rates, or looks for a trend."""
    return "open" if p_value >= SIGNIFICANT else verdict_of(1 if is_as_claimed else -1)


def _more(p_value: float, of: str) -> str:
    """What would tell, where a test does not."""
    return f" More {of} would tell." if p_value >= SIGNIFICANT else ""


def _rates(rates: Sequence[Row], paper: Paper) -> Iterator[Claim]:
    for printed in paper.correction_rate:
        of = f" ({printed.corrected} of {printed.mistakes:,})" if printed.mistakes else ""
        whose = "its own mistakes" if printed.reasoner == THEIR_CORRECTOR else f"the mistakes of {printed.reasoner}"
        text = f"GPT-4 puts {printed.rate}% of {whose} right"
        claim = Claim(RATES, text, f"{printed.reasoner}, MATH", f"{printed.rate}%{of}")
        same = [
            row for row in rates
            if (row["reasoner"], row["corrector"], row["dataset"]) == (printed.reasoner, THEIR_CORRECTOR, "math")
        ]  # fmt: skip
        if not same:
            command = "make data PROFILE=a100 DATASET=math, with this reasoner and CORRECTOR_MODEL=gpt-4"
            yield replace(claim, because=command)
            continue
        right, given = _right(same[0])
        found = replace(claim, ours=percent(right / given), n=round(given), interval=_interval(right, given))
        yield _held_against(found, printed.rate / 100, right, given)


def _self_correction(rates: Sequence[Row]) -> Iterator[Claim]:
    """Per corrector and data set: its own mistakes against those of others."""
    text = "A model puts its own mistakes right less often than others'"
    claim = Claim(SELF, text, "", "GPT-4: 8.0% of its own, 26.9% and 37.5% of others'")
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rates:
        groups[row["corrector"], row["dataset"]].append(row)
    tested = False
    for (corrector, dataset), asked in groups.items():
        rows = in_one_way(asked, first=lambda row: row["is_self"])
        own, others = _summed(r for r in rows if r["is_self"]), _summed(r for r in rows if not r["is_self"])
        if not own[1]:
            continue
        tested = True
        ours = f"{percent(own[0] / own[1])}% of its own"
        where = f"{corrector}, {named(dataset)}"
        found = replace(claim, where=where, ours=ours, n=round(own[1]), interval=_interval(*own))
        if not others[1]:
            because = "It corrected no other reasoner's mistakes: name a second one in sampling.reasoners."
            yield replace(found, because=because)
            continue
        p = fisher_exact(own, others)
        is_less = own[0] / own[1] < others[0] / others[1]
        yield replace(
            found,
            ours=f"{ours}, {percent(others[0] / others[1])}% of others'",
            p_value=p,
            verdict=_by_test(p, is_as_claimed=is_less),
            because="Fisher's exact test of the two rates; the mistakes differ, so it is no paired comparison."
            + _more(p, "mistakes"),
        )
    if not tested:
        yield replace(claim, where="any model", because="Make a model its own corrector: make data CORRECTOR_MODEL=...")


def _size(name: str, known: Mapping[str, int]) -> float | None:
    """Parameters of a model, where they are known or its name ends by saying them: qwen2.5-coder-1.5b."""
    sizes: Mapping[str, float] = {**known, **_UNPUBLISHED}
    if name in sizes:
        return sizes[name]
    return size_in_name(name)


def _same_mistakes(evidence: Evidence) -> Iterator[Claim]:
    """Every two correctors, one larger than the other, that were given the same mistakes. Not those of a cascade, of
    which the second is given what the first failed to correct."""
    claim = Claim(SAME, "Of the same mistakes a larger corrector puts more right", "", "not run by the authors")
    corrected: dict[tuple[str, str, str], int] = defaultdict(int)
    for row in evidence.self_correction_rate:
        corrected[row["dataset"], row["reasoner"], row["corrector"]] += row["corrected"]
    tested = False
    for row in evidence.corrector_agreement:
        sizes = [_size(row[name], evidence.parameters) for name in ("corrector", "other")]
        if row["is_reference_derived"] or None in sizes or sizes[0] == sizes[1]:
            continue
        sides = [(size, row[name], row["both_kept"] + row[f"only_{name}"], row[f"{name}_ahead"])
                 for size, name in zip(sizes, ("corrector", "other"), strict=True)]  # fmt: skip
        if any(not kept and corrected[row["dataset"], row["reasoner"], name] for _, name, kept, _ in sides):
            continue
        (_, small, few, behind), (_, large, many, ahead) = sorted(sides)
        tested = True
        p = mcnemar_exact(ahead, behind)
        yield replace(
            claim,
            where=f"{large} against {small} on {row['reasoner']}, {named(row['dataset'])}",
            ours=f"{percent(many / row['mistakes'])}% against {percent(few / row['mistakes'])}%",
            n=row["mistakes"],
            p_value=p,
            verdict=_by_test(p, is_as_claimed=ahead > behind),
            because=f"Exact McNemar over the problems where one has more corrections kept ({ahead} and {behind})."
            + _more(p, "mistakes"),
        )
    if not tested:
        because = "Have the same mistakes corrected by a second model: make data CORRECTOR_MODEL=..."
        yield replace(claim, where="two models", because=because)


def _helping(evidence: Evidence) -> Iterator[Claim]:
    """Every two correctors, one larger than the other, of whose corrections an arm was trained beside the same CoT
    examples. The oracle counts as the larger, and decides nothing."""
    claim = Claim(HELPS, "An arm learns more from a larger corrector's corrections", "", "not run by the authors")
    tested = False
    for other in evidence.others:
        data = [each for each in other.data if each and each.corrections and len(each.correctors) == 1]
        if not other.is_of_corrections or len(data) < 2:
            continue
        names = [each.correctors[0] for each in data]
        sizes = [
            math.inf if each.reference_derived else _size(name, evidence.parameters)
            for name, each in zip(names, data, strict=True)
        ]
        if None in sizes or sizes[0] == sizes[1]:
            continue
        tested, d, sign = True, other.difference, 1 if (sizes[0] or 0) > (sizes[1] or 0) else -1
        low, high = sorted((sign * d.compared.low, sign * d.compared.high))
        (large, small), (most, least) = names[::sign], data[::sign]
        because = f"{d.in_words}; {what_would_tell(d)}." if side_of(low, high) == 0 else f"{d.in_words}."
        derived = any(each.reference_derived for each in data)
        yield replace(
            claim,
            where=f"{large} against {small}, {other.model}, {named(other.dataset)}",
            ours=f"{points(sign * d.compared.difference)} ({most.corrections} corrections against {least.corrections})",
            n=d.compared.n,
            interval=f"{points(low)} to {points(high)}",
            verdict="not tested" if derived else verdict_of(side_of(low, high)),
            because=f"{ORACLE} (Here {because.removesuffix('.')}.)" if derived else because,
        )
    if not tested:
        because = "Train an arm on the corrections of a second corrector too: make data train eval CORRECTOR_MODEL=..."
        yield replace(claim, where="two correctors", because=because)


def _right(row: Row) -> tuple[float, float]:
    """(right answers, mistakes given), as so many independent ones."""
    n = row["right_effective_n"]
    return n * row["right_answer"] / row["mistakes"], n


def _summed(rows: Iterator[Row]) -> tuple[float, float]:
    found = [_right(row) for row in rows]
    return sum(k for k, _ in found), sum(n for _, n in found)


def _levels(by_level: Sequence[Row], mistakes: Sequence[Row]) -> Iterator[Claim]:
    falls = Claim(
        LEVELS, "The success of corrections falls with the level", "MATH", "falls from level 1 to 5 (a curve)"
    )
    rises = Claim(
        LEVELS, "Mistakes are more frequent at higher levels", "MATH", "more mistakes from level 1 to 5 (a curve)"
    )
    corrected = list(_trends(falls, by_level, "corrector", is_falling=True))
    sampled = list(_trends(rises, mistakes, "reasoner", is_falling=False))
    because = "The problems corrected so far have no levels: make data DATASET=math"
    yield from corrected or [replace(falls, because=because)]
    yield from sampled or [replace(rises, because=because)]


def _trends(claim: Claim, rows: Sequence[Row], who: str, *, is_falling: bool) -> Iterator[Claim]:
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        digits = "".join(filter(str.isdecimal, row["level"]))
        if digits and row["rate"] is not None:
            groups[row[who], row["dataset"]].append({**row, "score": int(digits)})
    for (name, dataset), asked in groups.items():
        group = [(r["effective_n"] * r["rate"], r["effective_n"], r["score"]) for r in in_one_way(asked)]
        found = trend(*zip(*group, strict=True))
        if found is None:
            continue
        least, most = min(level for _, _, level in group), max(level for _, _, level in group)
        because = f"Cochran-Armitage trend, {100 * found.slope:+.1f} points a level.{_more(found.p_value, 'mistakes')}"
        if dataset != "math":
            because = f"{named(dataset)} has levels of its own, not MATH's. {because}"
        yield replace(
            claim,
            where=f"{name}, {named(dataset)}",
            ours=f"{_rate(group, least)}% at level {least}, {_rate(group, most)}% at level {most}",
            n=round(sum(n for _, n, _ in group)),
            p_value=found.p_value,
            verdict=_by_test(found.p_value, is_as_claimed=(found.slope < 0) == is_falling),
            because=because,
        )


def _rate(group: Sequence[tuple[float, float, int]], level: int) -> str:
    part, whole = (sum(item[k] for item in group if item[2] == level) for k in (0, 1))
    return percent(part / whole) if whole else "-"


def _grades(grades: Sequence[Row], paper: Paper) -> Iterator[Claim]:
    g = paper.grades
    claim = Claim(
        GRADES, "GPT-4's corrections are mostly excellent", "GPT-4 on LLaMA-2-70B, GSM8K",
        f"{g.excellent} excellent, {g.good} good, {g.poor} poor of {g.total}",
    )  # fmt: skip
    for row in grades:
        counts = f"{row['excellent']} / {row['good']} / {row['poor']}"
        found = replace(
            claim, where=f"{row['corrector']} on {row['reasoner']}, {named(row['dataset'])}", ours=counts,
            n=row["corrections"], interval=f"{percent(row['low'])} to {percent(row['high'])} excellent",
        )  # fmt: skip
        if row["corrector"] != THEIR_CORRECTOR:
            yield replace(
                found, because="Not the paper's corrector: shown beside its figure, decides nothing about it."
            )
            continue
        side = side_of(row["low"] - 0.5, row["high"] - 0.5)
        because = f"The interval {('holds', 'lies above', 'lies below')[side]} one half."
        yield replace(found, verdict=verdict_of(side), because=because)
    if not grades:
        yield replace(claim, because="Grade some: lema review")


def _weak_correctors(grades: Sequence[Row], evidence: Evidence) -> Iterator[Claim]:
    """Per reasoner and data set: the smallest corrector against the largest."""
    claim = Claim(
        GRADES, "A weaker corrector's corrections are poor far more often", "GPT-3.5-Turbo against GPT-4, GSM8K",
        "nearly half of 20 poor, against 4 of 50",
    )  # fmt: skip
    sizes: dict[str, float] = {}
    groups: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(dict)
    for row in grades:
        size = _size(row["corrector"], evidence.parameters)
        if size is not None:
            sizes[row["corrector"]] = size
            group = groups[row["reasoner"], row["dataset"]]
            group.setdefault(row["corrector"], []).append(row)  # one for each template
    tested = False
    for (reasoner, dataset), by_corrector in groups.items():
        weak, strong = (find(by_corrector, key=sizes.__getitem__) for find in (min, max))
        if sizes[weak] == sizes[strong]:
            continue
        tested = True
        of_weak, of_strong = (_poor(by_corrector[name]) for name in (weak, strong))
        p = fisher_exact(*(_effectively_poor(by_corrector[name]) for name in (weak, strong)))
        is_more = of_weak[0] / of_weak[1] > of_strong[0] / of_strong[1]
        yield replace(
            claim,
            where=f"{weak} against {strong} on {reasoner}, {named(dataset)}",
            ours=f"{of_weak[0]} of {of_weak[1]} poor, against {of_strong[0]} of {of_strong[1]}",
            n=of_weak[1] + of_strong[1],
            p_value=p,
            verdict=_by_test(p, is_as_claimed=is_more),
            because=f"Fisher's exact test of the two shares.{_more(p, 'graded corrections')}",
        )
    if not tested:
        because = "Grade corrections of one reasoner's mistakes by two correctors of different size: lema review"
        yield replace(claim, because=because)


def _poor(rows: Sequence[Row]) -> tuple[int, int]:
    """Poor corrections, of how many."""
    return sum(row["poor"] for row in rows), sum(row["corrections"] for row in rows)


def _effectively_poor(rows: Sequence[Row]) -> tuple[float, float]:
    """The same, as effective counts."""
    effective = [(row["poor"] / row["corrections"], row["poor_effective_n"]) for row in rows]
    return sum(share * n for share, n in effective), sum(n for _, n in effective)
