"""The tables of a profile, one dataclass each: what its keys mean, and what holds where a profile is silent.

[sampling]
reasoners = ["reasoner", "wizard"]
samples = 4
[sampling.of.wizard]
prompt = "alpaca"
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from lema_local.corrections.checks import Check
from lema_local.errors import ProfileError
from lema_local.problems.datasets import Fields
from lema_local.records.types import AnswerKind, Grade, PromptFormat
from lema_local.review.rubric import Graders
from lema_local.settings.endpoints import EndpointProfile

Arm = Literal[
    "cot", "lema", "lema-controlled",
    "cot-expanded", "cot-matched-tokens", "warm-up",
    "lema-no-step", "lema-no-explanation", "lema-no-solution",
    "evolved",
]  # fmt: skip

Engine = Literal["local", "ray"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleProfile:
    """Where calls are made: in this process, or by replicas on the nodes of a Ray cluster. Changes no record."""

    engine: Engine = "local"
    address: str = "auto"  # of the cluster
    replicas: int | tuple[int, ...] | None = None  # so many, or [at least, at most]; None: what the cluster holds
    gpus_per_replica: int | None = None  # None: what tensor parallelism takes
    batch: int = 16  # requests that a replica fetches at a time

    def with_options(self, engine: Engine | None, address: str | None) -> "ScaleProfile":
        """The same as --engine and --ray-address have it."""
        if address is not None and (engine or self.engine) != "ray":
            raise ProfileError("--ray-address goes with --engine ray.")
        return replace(self, engine=engine or self.engine, address=address or self.address)


def check_scale(profile: str, scale: ScaleProfile) -> None:
    """ProfileError for counts that mean nothing."""
    bounds = (scale.replicas,) if isinstance(scale.replicas, int) else scale.replicas or (1,)
    if min(bounds) < 1 or len(bounds) > 2 or list(bounds) != sorted(bounds) or scale.batch < 1:
        raise ProfileError(f"Profile {profile}, scale: replicas = 8, or [2, 8], 1 or more; batch from 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataProfile:
    """Which problems: generated (gsm-symbolic), from a path, or from the Hub. `None` counts mean all there are.

    A data set that is no preset: a path, or `hub` with `files` of each split; `fields` where its rows need a mapping.
    """

    dataset: str
    train_path: str | None = None
    test_path: str | None = None
    kind: AnswerKind | None = None
    train_problems: int | None = None
    test_problems: int | None = None
    seed: int = 1
    templates: tuple[int, ...] | None = None  # gsm-symbolic only
    hub: str | None = None
    revision: str | None = None
    files: Mapping[str, tuple[str, ...]] | None = None  # split -> its files on the Hub
    fields: Fields | None = None
    decontaminate: bool = True  # leave out train problems that overlap the test split (problems/decontamination.py)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerProfile:
    """What one endpoint does otherwise than `[sampling]` says; None leaves its word."""

    samples: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    prompt: PromptFormat | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingProfile:
    """How rationales are sampled: by each of the reasoners M_r, whose mistakes are corrected, and by the augmenter,
    where the profile has one, for CoT data. `of` has what an endpoint does otherwise."""

    reasoners: tuple[str, ...] = ("reasoner",)
    samples: int = 1
    temperature: float = 0.7
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 1
    prompt: PromptFormat | None = None  # None: what the model was tuned with (models.toml, warm-up), else few-shot
    of: Mapping[str, SamplerProfile] = field(default_factory=dict)

    def by(self, name: str) -> "SamplingProfile":
        """As this endpoint samples."""
        own = asdict(self.of[name]) if name in self.of else {}
        return replace(self, **{key: value for key, value in own.items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class EvolutionProfile:
    """New train questions by the endpoint `evolver`, made from seed questions: those of the corrections, or all."""

    questions: int = 0  # draws of a seed; some come to nothing
    seeds: Literal["corrections", "all"] = "corrections"
    answers: int = 3  # to each new question; the majority is its answer
    temperature: float = 0.7
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionProfile:
    """Who corrects (M_c): a cascade of endpoints, each gets only what the ones before it failed to correct; with
    `everyone` each gets every mistake.

    What trains, beyond the paper's rule (the right answer, in the form): corrections that pass the checks that
    `require` names, and of which at least `agree` correctors name the same wrong step. `resolve`: the reasoner goes on
    from the corrected step (the check "resolved"). `structured`: JSON by schema, from servers that can. `grades`: of
    those that people (`graded_by`) graded in `lema review`, only these train; the rest as `ungraded` says."""

    correctors: tuple[str, ...] = ("corrector",)
    everyone: bool = False
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 768
    seed: int = 1
    structured: bool = False
    resolve: bool = False
    require: tuple[Check, ...] = ()
    agree: int = 1
    grades: tuple[Grade, ...] = ()
    graded_by: Graders = "people"
    ungraded: Literal["keep", "drop"] = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildProfile:
    """Which arms are built from the data (examples/arms.py says what each is). `augment`: right sampled rationales join
    the gold ones in CoT data; those of the augmenter first, then the reasoners', by `augment_with`; `augment_target` is
    how many sampled paths are taken up at most, right or wrong (the paper: 30,000)."""

    arms: tuple[Arm, ...] = ("cot", "lema")
    augment: bool = True
    augment_with: tuple[Literal["augmenter", "reasoner"], ...] = ("augmenter", "reasoner")
    augment_target: int | None = None
    seed: int = 1


def check_correction(name: str, correction: CorrectionProfile, endpoints: Mapping[str, EndpointProfile]) -> None:
    """Refuse what no correction could ever pass, in one line."""
    where, c = f"Profile {name}, correction", correction
    if "resolved" in c.require and not c.resolve:
        raise ProfileError(f'{where}: require "resolved" needs resolve = true.')
    if not 1 <= c.agree <= len(c.correctors) or (c.agree > 1 and not c.everyone):
        raise ProfileError(f"{where}: agree = {c.agree} needs as many correctors, and everyone = true.")
    raw = [name for name in c.correctors if endpoints[name].api == "completions"]
    if c.structured and raw:
        raise ProfileError(f'{where}: structured needs api = "chat", but {", ".join(raw)} takes raw completions.')
