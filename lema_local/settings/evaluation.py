"""`[evaluation]` of a profile: on what, how often, and what counts as level. Pure.

[evaluation]
max_tokens = 256
dev_problems = 40            # held out from the train side: they choose the checkpoint, the test split reports it
samples = 8                  # beside the greedy answer, for pass@k and majority@k
[[evaluation.also]]
dataset = "svamp"
path = "data/svamp"
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lema_local.errors import ProfileError
from lema_local.problems.datasets import Fields
from lema_local.records.types import AnswerKind


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSetProfile:
    """One more set of problems that every checkpoint answers: its test split, from a path (a file is that split), from
    the Hub, or generated (gsm-symbolic)."""

    dataset: str
    path: str | None = None
    problems: int | None = None  # the first so many; None: all
    kind: AnswerKind | None = None
    fields: Fields | None = None
    hub: str | None = None
    revision: str | None = None
    files: Mapping[str, tuple[str, ...]] | None = None
    templates: tuple[int, ...] | None = None  # gsm-symbolic only
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationProfile:
    """Zero-shot, greedy, one answer a problem, on the test split; the rest is asked for. Nothing here but max_tokens
    and base is in the key of a greedy answer, so what was evaluated stays evaluated."""

    max_tokens: int = 2048
    test: bool = True  # false: only the sets of `also`
    also: tuple[EvaluationSetProfile, ...] = ()
    dev_problems: int = 0
    repeats: int = 1  # of the greedy answer: what serving alone changes
    samples: int = 0  # beside it, by the three settings that follow
    temperature: float = 0.7
    top_p: float = 1.0
    seed: int = 1
    pass_at: tuple[int, ...] = ()  # k of pass@k and majority@k; empty: 1, 2, 4, ... and `samples`
    checkpoints: Literal["all", "last"] = "all"  # last: of each run the last one, and that of training.match_beside
    base: Literal["bf16", "nf4", "merged"] | None = None  # over which weights vLLM serves (stages/bases.py)
    margin: float = 3.0  # points of pass@1; arms whose interval is within them are called level

    @property
    def ks(self) -> tuple[int, ...]:
        """The k of pass@k."""
        return self.pass_at or default_ks(self.samples)


def default_ks(samples: int) -> tuple[int, ...]:
    """The powers of two up to the number of samples, and that number; none without samples."""
    powers = {2**power for power in range(samples.bit_length()) if 2**power <= samples}
    return tuple(sorted(powers | {samples})) if samples else ()


def with_options(
    evaluation: EvaluationProfile,
    *,
    on: Sequence[str] = (),
    data_path: str | None = None,
    repeats: int | None = None,
    samples: int | None = None,
    temperature: float | None = None,
    checkpoints: str | None = None,
) -> EvaluationProfile:
    """As options say. `on` names sets instead of the profile's, "svamp" or "svamp=PATH"; `data_path` is the path of
    the one that has none."""
    named = [each.partition("=") for each in on]
    own = {each.dataset: each for each in evaluation.also}
    sets = []
    for name, _, path in named:
        known = own.get(name, EvaluationSetProfile(dataset=name))
        sets.append(replace(known, path=path or data_path or known.path))
    given = {"repeats": repeats, "samples": samples, "temperature": temperature, "checkpoints": checkpoints}
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if sets:
        changed |= {"also": tuple(sets), "test": False}
    return replace(evaluation, **changed)


def check_evaluation(name: str, evaluation: EvaluationProfile) -> None:
    """Refuse what cannot be evaluated, in one line."""
    where, e = f"Profile {name}, evaluation", evaluation
    if e.max_tokens < 1 or not 0 < e.top_p <= 1 or e.temperature > 2:
        raise ProfileError(f"{where}: max_tokens from 1, top_p to 1, temperature to 2.")
    if e.repeats < 1:
        raise ProfileError(f"{where}: repeats must be 1 or more.")
    if e.samples < 0 or e.temperature < 0:
        raise ProfileError(f"{where}: samples and temperature must be 0 or more.")
    if e.samples and not e.temperature:
        raise ProfileError(f"{where}: samples at temperature 0 are all the same; give a temperature, or use repeats.")
    if e.pass_at and not 1 <= min(e.pass_at) <= max(e.pass_at) <= e.samples:
        worst = min(e.pass_at) if min(e.pass_at) < 1 else max(e.pass_at)
        raise ProfileError(f"{where}: pass@{worst} needs {worst} samples or more, and samples = {e.samples}.")
    if not e.test and not e.also:
        raise ProfileError(f"{where}: test = false needs a set in [[evaluation.also]].")
    names = [each.dataset for each in e.also]
    if twice := next((each for each in names if names.count(each) > 1), None):
        raise ProfileError(f"{where}: {twice} stands twice in also; give each set a name of its own.")
