"""Profiles: one TOML file is one experiment. Unknown keys and values are refused with the nearest right one.

    [data]                          [sampling]                 [correction]
    dataset = "gsm-symbolic"        samples = 1                correctors = ["corrector", "oracle"]
    train_problems = 160            temperature = 0.7          max_tokens = 256

An option beats the environment, the environment beats the profile. `--set` writes into the parsed TOML, before it
becomes frozen dataclasses. Keys are never in a profile; it names the environment variable that holds one.
"""

import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from lema_local.errors import ProfileError, did_you_mean
from lema_local.settings.assignments import Assignment, assign, keys_set, not_set
from lema_local.settings.data_options import forget_own_data, with_data_options
from lema_local.settings.endpoints import OUTSIDE_CONCURRENCY, EndpointProfile, check_endpoint, given_outside
from lema_local.settings.evaluation import EvaluationProfile, check_evaluation
from lema_local.settings.models import prompt_of
from lema_local.settings.reasoners import apply_presets
from lema_local.settings.tables import (
    Arm,
    BuildProfile,
    CorrectionProfile,
    DataProfile,
    Engine,
    EvolutionProfile,
    SamplerProfile,
    SamplingProfile,
    ScaleProfile,
    check_correction,
    check_scale,
)
from lema_local.settings.training import Match, Tracker, TrainingSettings, named_seeds
from lema_local.settings.variants import choose_variants
from lema_local.typed_toml import build

ENDPOINTS = ("reasoner", "corrector", "augmenter", "evolver", "student", "judge")
_OF_TRAINING = ("keep", "tensorboard", "report_to", "processes", "accelerate_config", "match", "truncate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One experiment."""

    name: str
    description: str
    data: DataProfile
    endpoints: Mapping[str, EndpointProfile]
    sampling: SamplingProfile = field(default_factory=SamplingProfile)
    correction: CorrectionProfile = field(default_factory=CorrectionProfile)
    evolution: EvolutionProfile = field(default_factory=EvolutionProfile)
    build: BuildProfile = field(default_factory=BuildProfile)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationProfile = field(default_factory=EvaluationProfile)
    scale: ScaleProfile = field(default_factory=ScaleProfile)

    def endpoint(self, name: str) -> EndpointProfile:
        """The endpoint of that name, or ProfileError."""
        if name not in self.endpoints:
            raise ProfileError(f"Profile {self.name} has no [endpoints.{name}]{did_you_mean(name, self.endpoints)}.")
        return self.endpoints[name]

    def with_student(self, model: str) -> "Profile":
        """The same with another student model."""
        student = replace(self.endpoint("student"), model=model)
        return replace(self, endpoints={**self.endpoints, "student": student})

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for manifests."""
        return asdict(self) | {"endpoints": {name: asdict(e) for name, e in self.endpoints.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the command line says; None leaves the environment's or the profile's word."""

    model: str | None = None
    dataset: str | None = None
    data_path: str | None = None
    limit: int | None = None
    corrector_url: str | None = None
    corrector_model: str | None = None
    corrector_key_env: str | None = None
    judge_url: str | None = None
    judge_model: str | None = None
    judge_key_env: str | None = None
    seeds: int | range | None = None  # so many, or these
    keep: int | None = None
    tensorboard: bool | None = None
    report_to: Tracker | None = None
    processes: int | None = None
    accelerate_config: str | None = None
    match: Match | None = None
    arms: tuple[Arm, ...] | None = None
    truncate: bool | None = None
    endpoint: str | None = None  # a server that is evaluated as it is; the next three say how
    served_model: str | None = None
    api: Literal["chat", "completions"] | None = None
    key_env: str | None = None
    base: Literal["bf16", "nf4", "merged"] | None = None  # over which weights adapters are evaluated
    engine: Engine | None = None
    ray_address: str | None = None
    assignments: tuple[Assignment, ...] = ()  # of any key: it beats file and environment, the named options beat it


def profile_names() -> list[str]:
    """The profiles that come with the package."""
    folder = files("lema_local.settings").joinpath("profiles")
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def load_profile(name: str, overrides: Overrides | None = None, environment: Mapping[str, str] = os.environ) -> Profile:
    """A shipped profile by name, or a TOML file by path, with --set, the environment and the options applied.

    Raises ProfileError, one line, for an unknown profile, key or value.
    """
    overrides = overrides or Overrides()
    environment = not_set(environment, overrides.assignments)
    raw, where = _read(name, overrides)
    raw = apply_presets(raw, where)
    raw, _ = choose_variants(raw, where, model=_student(overrides, environment), dataset=overrides.dataset)
    profile = build(Profile, assign(raw, _of_training(overrides), where), where)
    profile = _apply_outside(profile, overrides, environment)
    profile = _own_prompts(_apply_options(profile, overrides))
    _check(profile)
    return profile


def training_origins(
    name: str, overrides: Overrides | None = None, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Where each training setting of load_profile's profile comes from; what is not named has its default."""
    overrides = overrides or Overrides()
    raw, where = _read(name, overrides)
    student = _student(overrides, not_set(environment, overrides.assignments))
    _, origins = choose_variants(raw, where, model=student, dataset=overrides.dataset)
    origins |= {key.partition(".")[2]: "--set" for key, _ in _of_training(overrides)}
    return origins | dict.fromkeys(_training_options(overrides), "option")


def _of_training(options: Overrides) -> list[Assignment]:
    """What `--set` gives of training settings; it goes before the variants."""
    return [(key, value) for key, value in options.assignments if key.startswith("training.")]


def _training_options(options: Overrides) -> dict[str, Any]:
    """The training settings that the options give."""
    given = {name: getattr(options, name) for name in _OF_TRAINING} | named_seeds(options.seeds)
    return {name: value for name, value in given.items() if value is not None}


def _student(overrides: Overrides, environment: Mapping[str, str]) -> str | None:
    return overrides.model or environment.get("LEMA_STUDENT_MODEL")


def _read(name: str, options: Overrides) -> tuple[dict[str, Any], str]:
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(
                f"Cannot read profile {name}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}."
            ) from error
        default_name = path.stem
    else:
        if name not in profile_names():
            raise ProfileError(
                f"No profile named {name}{did_you_mean(name, profile_names())}. List them: lema profiles"
            )
        text = files("lema_local.settings").joinpath("profiles", f"{name}.toml").read_text(encoding="utf-8")
        default_name = name
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"Profile {name} is not valid TOML: {error}") from error
    where = f"profile {name}" + (" with --set" if options.assignments else "")
    raw = forget_own_data(raw, dataset=options.dataset, data_path=options.data_path)
    return assign({"name": default_name} | raw, options.assignments, where), where


def _apply_outside(profile: Profile, options: Overrides, environment: Mapping[str, str]) -> Profile:
    """The endpoints as the options have them, and the environment where they are silent."""
    given: dict[str, tuple[str | None, str | None, str | None]] = {
        "corrector": (options.corrector_url, options.corrector_model, options.corrector_key_env),
        "judge": (options.judge_url, options.judge_model, options.judge_key_env),
        "student": (None, options.model, None),
    }
    for name in ENDPOINTS:
        url, model, key = given.get(name, (None, None, None))
        variables = ("BASE_URL", "MODEL", "API_KEY_ENV")
        of_url, of_model, of_key = (environment.get(f"LEMA_{name.upper()}_{what}") or None for what in variables)
        if url is not None:
            of_key = None  # it is for the environment's host, or the profile's
        url = of_url if url is None else url
        if name == "corrector" and url is None and (model is not None or key is not None):
            _refuse_without_corrector(profile, "model" if model is not None else "key-env")
        model, key = of_model if model is None else model, of_key if key is None else key
        kept = keys_set(name, options.assignments)
        profile = _override_endpoint(profile, name, url=url, model=model, key_env=key, kept=kept)
    return profile


def _refuse_without_corrector(profile: Profile, option: str) -> None:
    """An option for an endpoint that the profile does not have would be lost without a word."""
    if "corrector" not in profile.endpoints:
        key = "model" if option == "model" else "api_key_env"
        raise ProfileError(
            f"Profile {profile.name} has no [endpoints.corrector] for --corrector-{option}: give --corrector-url too, "
            f"or --set endpoints.NAME.{key}=... of one of its correctors ({', '.join(profile.correction.correctors)})."
        )


def _apply_options(profile: Profile, options: Overrides) -> Profile:
    profile = _apply_evaluated(profile, options)
    data = with_data_options(profile.data, dataset=options.dataset, data_path=options.data_path, limit=options.limit)
    training = replace(profile.training, **_training_options(options))
    build = replace(profile.build, arms=options.arms) if options.arms else profile.build
    scale = profile.scale.with_options(options.engine, options.ray_address)
    return replace(profile, data=data, training=training, build=build, scale=scale)


def _apply_evaluated(profile: Profile, options: Overrides) -> Profile:
    """What `lema eval` alone is told: a server that is evaluated as it is, or the base under the adapters."""
    if options.base is not None:
        profile = replace(profile, evaluation=replace(profile.evaluation, base=options.base))
    if options.endpoint is None:
        for name in ("served_model", "api", "key_env"):
            if getattr(options, name) is not None:
                raise ProfileError(f"--{name.replace('_', '-')} goes with --endpoint URL.")
        return profile
    if options.served_model is None:
        raise ProfileError(f"--endpoint needs --served-model NAME: curl {options.endpoint}/models lists the names.")
    kept = keys_set("student", options.assignments)
    profile = _override_endpoint(
        profile, "student", url=options.endpoint, model=options.served_model, key_env=options.key_env, kept=kept
    )
    student = profile.endpoint("student")
    at_once = 1 if "concurrency" in kept else OUTSIDE_CONCURRENCY
    student = replace(student, api=options.api or student.api, concurrency=max(student.concurrency, at_once))
    return replace(profile, endpoints={**profile.endpoints, "student": student})


def _override_endpoint(
    profile: Profile, name: str, *, url: str | None, model: str | None, key_env: str | None, kept: Collection[str] = ()
) -> Profile:
    """A base URL given from outside starts no server; a model alone changes what the recipe serves; either replaces a
    cascade."""
    if url is None and model is None and key_env is None:
        return profile
    base = profile.endpoints.get(name)
    if base is None and url is None:
        return profile  # a variable for an endpoint that this profile does not have
    if base is None and model is None:
        raise ProfileError(f"Profile {profile.name} has no {name}: give its model too.")
    endpoint = base or EndpointProfile(model=model or "")
    endpoint = given_outside(endpoint, name, url=url, model=model, key_env=key_env, kept=kept)
    profile = replace(profile, endpoints={**profile.endpoints, name: endpoint})
    if name == "corrector" and (url is not None or model is not None):
        profile = replace(profile, correction=replace(profile.correction, correctors=("corrector",)))
    return profile


def _own_prompts(profile: Profile) -> Profile:
    """Reasoners that were tuned with an input of their own are asked by it, unless the profile says otherwise."""
    sampling = profile.sampling
    if sampling.prompt is not None:
        return profile
    of = dict(sampling.of)
    for name in (*sampling.reasoners, "augmenter"):
        own, endpoint = of.get(name, SamplerProfile()), profile.endpoints.get(name)
        if endpoint is None or own.prompt is not None:
            continue
        if prompt_of(endpoint.model) == "alpaca":
            of[name] = replace(own, prompt="alpaca")
        elif endpoint.warm_up_steps:
            of[name] = replace(own, prompt="cot")
    return replace(profile, sampling=replace(sampling, of=of, prompt="few-shot"))


def _check(profile: Profile) -> None:
    for name in (*profile.sampling.reasoners, "student", *profile.correction.correctors, *profile.sampling.of):
        profile.endpoint(name)
    if profile.evolution.questions:
        profile.endpoint("evolver")
    check_correction(profile.name, profile.correction, profile.endpoints)
    _check_warm_up(profile)
    check_evaluation(profile.name, profile.evaluation)
    check_scale(profile.name, profile.scale)
    if len(set(profile.sampling.reasoners)) != len(profile.sampling.reasoners) or not profile.sampling.reasoners:
        raise ProfileError(f"Profile {profile.name}: name each reasoner once.")
    if not profile.correction.correctors:
        raise ProfileError(f"Profile {profile.name}: correctors is empty; name at least one endpoint.")
    sampled = [(f"sampling of {name}", profile.sampling.by(name)) for name in profile.sampling.of]
    tables: list[tuple[str, SamplingProfile | EvolutionProfile | CorrectionProfile]] = [
        ("sampling", profile.sampling), *sampled, ("evolution", profile.evolution), ("correction", profile.correction)
    ]  # fmt: skip
    for table, values in tables:
        if values.max_tokens < 1 or not 0 < values.top_p <= 1 or values.temperature > 2:
            raise ProfileError(f"Profile {profile.name}, {table}: max_tokens from 1, top_p to 1, temperature to 2.")
    for name, endpoint in profile.endpoints.items():
        check_endpoint(profile.name, name, endpoint)
    if min(values.samples for values in (profile.sampling, *(each for _, each in sampled))) < 1:
        raise ProfileError(f"Profile {profile.name}: samples must be 1 or more.")
    if profile.evolution.answers < 2:
        raise ProfileError(f"Profile {profile.name}, evolution: a majority needs 2 answers or more.")
    if len(set(profile.build.arms)) != len(profile.build.arms) or not profile.build.arms:
        raise ProfileError(f"Profile {profile.name}: name each arm once.")
    if profile.build.augment_target is not None and profile.build.augment_target < 1:
        raise ProfileError(f"Profile {profile.name}: augment_target must be 1 or more; leave it out for all there are.")


def _check_warm_up(profile: Profile) -> None:
    """A warm-up makes an adapter over the student's weights, to sample by."""
    student = profile.endpoint("student")
    for name, endpoint in profile.endpoints.items():
        if endpoint.warm_up_steps and name not in profile.sampling.reasoners:
            raise ProfileError(f"Profile {profile.name}, endpoint {name}: warm_up_steps is for reasoners.")
        if endpoint.warm_up_steps and (endpoint.model, endpoint.recipe) != (student.model, student.recipe):
            raise ProfileError(
                f"Profile {profile.name}, endpoint {name}: only the student is warmed up; give the reasoner its model "
                "and recipe, or leave warm_up_steps out."
            )
    if student.adapter is not None:
        raise ProfileError(f"Profile {profile.name}: an adapter is evaluated as the student's model, not its adapter.")
