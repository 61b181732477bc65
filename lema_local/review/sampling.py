"""How many corrections each stratum gives to a sample. Pure.

A stratum is corrector x reasoner x data set x level. Each corrector gets a sample of its own (the paper: 50 of GPT-4,
20 of GPT-3.5-Turbo), spread over its strata in proportion, so that the counts of grades stand for all it wrote:

    allocate({("gpt-4", "llama", "math", "1"): 310, ("gpt-4", "llama", "math", "2"): 90}, SampleSize(50))
    # {(..., "1"): 39, (..., "2"): 11}
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from lema_local.records.keys import content_key

Stratum = tuple[str, str, str, str]  # corrector, reasoner, data set, level


@dataclass(frozen=True, slots=True)
class SampleSize:
    """How many corrections of each corrector, and of those that are named."""

    each: int = 50
    named: Mapping[str, int] = field(default_factory=dict)

    def of(self, corrector: str) -> int:
        """How many of this corrector's corrections are wanted."""
        return self.named.get(corrector, self.each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which corrections to draw; empty filters let all pass."""

    size: SampleSize = field(default_factory=SampleSize)
    seed: int = 1
    with_rejected: bool = False  # the paper's reviewers saw kept ones only
    correctors: tuple[str, ...] = ()
    reasoners: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()


def allocate(strata: Mapping[Stratum, int], size: SampleSize, *, seed: int = 1) -> dict[Stratum, int]:
    """Stratum -> how many to draw: in proportion to what it holds, the largest remainders first; ties fall by seed."""
    by_corrector: defaultdict[str, dict[Stratum, int]] = defaultdict(dict)
    for stratum, count in strata.items():
        by_corrector[stratum[0]][stratum] = count
    drawn: dict[Stratum, int] = {}
    for corrector, counts in by_corrector.items():
        total = sum(counts.values())
        wanted = min(size.of(corrector), total)
        share = {stratum: divmod(count * wanted, total) for stratum, count in counts.items() if total}
        left = wanted - sum(whole for whole, _ in share.values())
        order = sorted(share, key=lambda s: (-share[s][1], content_key("stratum", seed, *s)))
        drawn |= {stratum: share[stratum][0] + (k < left) for k, stratum in enumerate(order)}
    return {stratum: count for stratum, count in drawn.items() if count}
