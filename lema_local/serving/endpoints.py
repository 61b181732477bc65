"""What an endpoint of a profile stands for: its recipe, its weights, and who answers there. Nothing is started.

    endpoints = Endpoints()                                # of a run: each model is looked up and hashed once
    found = endpoints.resolve("reasoner", profile.endpoint("reasoner"))
    found.endpoint.identity                                # gguf:8f3a...
    found.recipe, found.model                              # llama_cpp, smollm2-135m-instruct

Stages are handed what was resolved; process.py starts its server.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lema_local.calls.client import refuse_unpriced
from lema_local.calls.endpoint import Endpoint
from lema_local.calls.prices import Price, batch_share, dearest, find_price
from lema_local.calls.transport import is_loopback
from lema_local.errors import EndpointError, ProfileError
from lema_local.serving.forms import choose_form, served_form
from lema_local.serving.recipes import Recipe, load_recipe
from lema_local.settings.chat import ChatFrame
from lema_local.settings.chat_templates import frame_of
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.models import Model, resolve_model
from lema_local.settings.profiles import Profile
from lema_local.settings.published import adapter_sha256


@dataclass(frozen=True, slots=True)
class ResolvedEndpoint:
    """An endpoint of a profile with what its names stand for."""

    name: str
    profile: EndpointProfile
    recipe: Recipe | None  # None: served already, at a base URL
    model: Model | None  # the weights that its recipe serves; None where it serves none
    form: str  # of the weights that a recipe with a choice serves, else "file"
    endpoint: Endpoint  # who answers, what keys and dry runs need; a recipe's has no base URL before it is started


class Endpoints:
    """Resolves endpoints and models, each once; for the length of a run, in which no file of weights changes."""

    def __init__(self) -> None:
        self._resolved: dict[tuple[str, EndpointProfile], ResolvedEndpoint] = {}
        self._models: dict[str, Model] = {}
        self._frames: dict[tuple[Model, str | None], ChatFrame] = {}

    def resolve(self, name: str, profile: EndpointProfile) -> ResolvedEndpoint:
        """The endpoint that a profile calls `name`. ProfileError, MissingPackageError where it stands for nothing."""
        if (name, profile) not in self._resolved:
            self._resolved[name, profile] = self._look_up(name, profile)
        return self._resolved[name, profile]

    def model(self, name: str) -> Model:
        """The weights that a name stands for, as resolve_model has them."""
        if name not in self._models:
            self._models[name] = resolve_model(name)
        return self._models[name]

    def frame(self, model: Model, system: str | None) -> ChatFrame:
        """What a model's chat template puts around a text, as frame_of has it."""
        if (model, system) not in self._frames:
            self._frames[model, system] = frame_of(model, system=system)
        return self._frames[model, system]

    def _look_up(self, name: str, profile: EndpointProfile) -> ResolvedEndpoint:
        if profile.recipe is None:
            return ResolvedEndpoint(name, profile, None, None, "file", _served_already(name, profile))
        recipe = load_recipe(profile.recipe)
        model = None if recipe.weights == "none" else self.model(profile.model)
        form = "file"
        if recipe.forms and model is not None:
            form = choose_form(model).form if profile.form == "auto" else profile.form
        return ResolvedEndpoint(name, profile, recipe, model, form, _by_recipe(name, profile, recipe, model, form))


def _served_already(name: str, profile: EndpointProfile) -> Endpoint:
    if profile.base_url is None:
        raise ProfileError(f"Endpoint {name} needs a recipe or a base_url.")
    base_url = profile.base_url.rstrip("/")
    identity = profile.identity or f"served:{base_url}:{profile.model}"  # weights unknown: this name at this place
    return _endpoint(name, profile, base_url=base_url, model=profile.model, identity=identity)


def _by_recipe(name: str, profile: EndpointProfile, recipe: Recipe, model: Model | None, form: str) -> Endpoint:
    if model is None:
        model_name, identity = recipe.name, f"{recipe.name}:1"
    elif recipe.weights == "gguf":
        model_name, identity = model.name, model.gguf_identity + served_form(recipe, form)
    else:
        model_name, identity = model.name, f"{model.served_identity}:{recipe.name}"
    if profile.warm_up_steps:  # whose identity is that of the checkpoint it will be (stages/warm_up.py)
        model_name += f"+warm-up-{profile.warm_up_steps}"
        identity += f"+{profile.identity}"
    elif profile.adapter is not None:
        model_name += f"+{Path(profile.adapter).stem}"
        identity += f"+{adapter_sha256(profile.adapter, is_gguf=recipe.weights == 'gguf')}"
    return _endpoint(name, profile, base_url="", model=model_name, identity=identity, recipe=recipe)


def _endpoint(
    name: str, profile: EndpointProfile, *, base_url: str, model: str, identity: str, recipe: Recipe | None = None
) -> Endpoint:
    return Endpoint(
        name=name,
        base_url=base_url,
        served_model=model,
        model=model,
        identity=identity,
        api=profile.api,
        more_base_urls=tuple(url.rstrip("/") for url in profile.more_base_urls),
        concurrency=profile.parallel if recipe and recipe.batches else profile.concurrency,
        requests_per_minute=profile.requests_per_minute,
        tokens_per_minute=profile.tokens_per_minute,
        deadline_s=_deadline_s(recipe) if profile.deadline_s is None else profile.deadline_s,
        max_retries=profile.max_retries,
        price=_price(profile),
        requires_usage=profile.requires_usage,
        omit=profile.omit,
        max_tokens_field=profile.max_tokens_field,
        is_reference_derived=recipe.reference_derived if recipe else False,
        request=recipe.request if recipe else {},
        structured_form=profile.structured_form or (recipe.structured if recipe else "openai"),
    )


def _deadline_s(recipe: Recipe | None) -> float:
    """A slow machine works for minutes on a batch of its own server, which is watched and costs nothing."""
    return 300.0 if recipe is None else 1_800.0


def _price(profile: EndpointProfile) -> Price | None:
    """The user's own price, at the host's discount in batches, else the listed one, the dearest of several servers;
    None for what costs nothing or nobody knows."""
    given, written = profile.usd_per_million_input, profile.usd_per_million_output
    if given is not None and written is not None:
        cached = profile.usd_per_million_cached_input
        own = Price(given, given if cached is None else cached, written)
        return own.with_batch(batch_share(profile.base_url, profile.model)) if profile.base_url else own
    hosted = [url for url in (profile.base_url, *profile.more_base_urls) if url and not is_loopback(url)]
    return dearest([find_price(url, profile.model) for url in hosted])


def read_key(name: str, profile: EndpointProfile) -> str:
    """The API key that the profile's variable holds; "none" where none is named. ProfileError where it is not set."""
    if profile.api_key_env is None:
        return "none"
    key = os.environ.get(profile.api_key_env, "").strip()
    if not key:
        raise ProfileError(
            f"Endpoint {name} takes its key from ${profile.api_key_env}, which is not set: export "
            f"{profile.api_key_env}=..."
        )
    if not (key.isascii() and key.isprintable()):
        raise ProfileError(f"${profile.api_key_env} holds no API key: it has characters that no key has.")
    return key


def check_endpoints(profile: Profile, endpoints: Endpoints, *, priced: bool = False) -> None:
    """Find what is wrong with the endpoints before hours of work: an unknown model, a key that is not set; `priced`: a
    hosted model without a price, which no budget can hold."""
    extra = [name for name in ("augmenter", "evolver") if name in profile.endpoints]
    for name in dict.fromkeys((*profile.sampling.reasoners, *extra, *profile.correction.correctors, "student")):
        endpoint = profile.endpoint(name)
        described = endpoints.resolve(name, endpoint).endpoint
        if name != "student":
            read_key(name, endpoint)
            if priced:
                refuse_unpriced(described)
            if endpoint.base_url is not None and is_loopback(endpoint.base_url):
                _refuse_silence(endpoint.base_url)


def _refuse_silence(base_url: str) -> None:
    """A local server that is not up yet is found now, not after the sampling."""
    parts = urlsplit(base_url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=3).close()
    except OSError as error:
        raise EndpointError(f"No server at {base_url}. Start it, or give another base URL.") from error
