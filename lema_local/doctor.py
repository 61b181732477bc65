"""What a profile needs and whether it is here: one check a line, each gap with what to type.

Check("llama-cpp-python", "ok", "0.3.36")
Check("endpoint corrector", "missing", "no answer at http://127.0.0.1:8001/v1", "start it, or give another with
--corrector-url")
"""

import http.client
import importlib.metadata
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lema_local.calls.transport import is_loopback
from lema_local.errors import LemaError
from lema_local.hardware import Gpu, cores, free_disk_gib, gpus, ram_gib
from lema_local.records.store import Store
from lema_local.serving import ray_cluster
from lema_local.serving.command import is_built
from lema_local.serving.forms import known_choice
from lema_local.serving.recipes import load_recipe
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.models import Model, resolve_model
from lema_local.settings.profiles import Profile

NEEDED_DISK_GIB = 10.0
PROBE_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table. "note": worth knowing, stops nothing."""

    what: str
    state: Literal["ok", "note", "missing"]
    found: str
    todo: str | None = None


def examine(profile: Profile, db: Path) -> list[Check]:
    """Every check for this profile."""
    devices = gpus()
    return [
        *_machine(db, devices),
        *_packages(profile, devices),
        *_endpoints(profile),
        *_cluster(profile),
        _database(db),
    ]


def _machine(db: Path, devices: Sequence[Gpu]) -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    yield Check("python", "missing" if old else "ok", version, "install Python 3.11 or newer" if old else None)
    compiler = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
    yield Check(
        "C++ compiler",
        "ok" if compiler else "note",
        compiler or "none: llama-cpp-python cannot be built",
        None if compiler else "apt-get install g++",
    )
    yield Check("cores, memory", "ok", f"{cores()} cores, {ram_gib():.0f} GiB")
    found = ", ".join(f"{device.name} {device.memory_gib:.0f} GiB" for device in devices)
    yield Check("GPUs", "ok" if devices else "note", found or "none: the CPU profiles (smoke, laptop, gguf) run")
    free = free_disk_gib(db.absolute().parent)
    enough = free >= NEEDED_DISK_GIB
    yield Check(
        "free disk",
        "ok" if enough else "note",
        f"{free:.0f} GiB",
        None if enough else f"make room: {NEEDED_DISK_GIB:.0f} GiB are comfortable",
    )


def _packages(profile: Profile, devices: Sequence[Gpu]) -> Iterator[Check]:
    recipes = {endpoint.recipe for endpoint in profile.endpoints.values()}
    if recipes & {"llama_cpp", "llama_server"}:
        yield _package("llama-cpp-python", "make setup, or pip install 'lema-local[llama]'")
    if profile.data.dataset == "gsm-symbolic":
        yield _package("reasoning-gym", "make setup, or pip install 'lema-local[data]'")
    for name in ("torch", "transformers", "peft", "bitsandbytes", "accelerate"):
        found = _package(name, "make setup-train, or pip install 'lema-local[train]'")
        yield _for_gpus(found) if name == "torch" and devices else found
    if "vllm" in recipes:
        here = Path(load_recipe("vllm").interpreter or "").exists()
        yield Check(
            "vllm",
            "ok" if here else "missing",
            ".venv-vllm" if here else "no .venv-vllm here",
            None if here else "make setup-vllm",
        )


def _for_gpus(torch: Check) -> Check:
    """A build of torch for CPUs says so in its version; one that is too new for the driver does not."""
    if "+cpu" not in torch.found:
        return torch
    return replace(
        torch, state="missing", found=f"{torch.found} cannot use the GPUs", todo="install torch's CUDA build"
    )


def _package(name: str, todo: str) -> Check:
    try:
        return Check(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "missing", "not installed", todo)


def _endpoints(profile: Profile) -> Iterator[Check]:
    for name, endpoint in profile.endpoints.items():
        yield _served(name, endpoint) if endpoint.recipe else _reachable(name, endpoint)


def _served(name: str, endpoint: EndpointProfile) -> Check:
    what = f"endpoint {name}"
    recipe = load_recipe(str(endpoint.recipe))
    if recipe.weights == "none":
        return Check(what, "ok", f"{recipe.name}, started when needed")
    try:
        model = resolve_model(endpoint.model)
        place = str(model.gguf()) if recipe.weights == "gguf" else model.source
    except LemaError as error:
        return Check(what, "missing", endpoint.model, str(error))
    if recipe.weights == "hf" and model.path is None and not _in_hub_cache(place):
        return Check(what, "note", f"{place} is not in the Hub cache: fetched when needed", f"hf download {place}")
    if not is_built(recipe):
        found = f"{recipe.program} is not built: {recipe.otherwise} serves {model.name}, one call at a time"
        return Check(what, "note", found, "make llama-server")
    form = f", weights as {_form(endpoint, model)}" if recipe.forms else ""
    return Check(what, "ok", f"{recipe.name} serves {model.name}{form}")


def _form(endpoint: EndpointProfile, model: Model) -> str:
    if endpoint.form != "auto":
        return endpoint.form
    if (chosen := known_choice(model)) is None:
        return "the first run measures"
    return f"{chosen.form} ({chosen.speed_up:.1f} x the file as it is)" if chosen.measured else chosen.form


def _in_hub_cache(hub_id: str) -> bool:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    return (Path(os.environ.get("HF_HUB_CACHE", home / "hub")) / f"models--{hub_id.replace('/', '--')}").is_dir()


def _reachable(name: str, endpoint: EndpointProfile) -> Check:
    what, url = f"endpoint {name}", f"{str(endpoint.base_url).rstrip('/')}/models"
    if endpoint.api_key_env and not os.environ.get(endpoint.api_key_env):
        return Check(what, "missing", f"${endpoint.api_key_env} is not set", f"export {endpoint.api_key_env}=...")
    if not url.startswith(("http://", "https://")):
        return Check(
            what,
            "missing",
            f"{endpoint.base_url} is no http address",
            "give a base URL such as http://127.0.0.1:8000/v1",
        )
    key = os.environ.get(endpoint.api_key_env or "", "none")
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310 (checked above)
    # a proxy does not know this machine's ports; a redirect would carry the key to wherever it points
    direct = [urllib.request.ProxyHandler({})] if is_loopback(url) else []
    opener = urllib.request.build_opener(_NoRedirect, *direct)
    try:
        with opener.open(request, timeout=PROBE_TIMEOUT_S):
            return Check(what, "ok", f"{endpoint.base_url} answers")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return Check(what, "missing", f"{endpoint.base_url} refuses the key", f"check ${endpoint.api_key_env}")
        return Check(what, "ok", f"{endpoint.base_url} answers")
    except (OSError, ValueError, http.client.HTTPException):
        return Check(what, "missing", f"no answer at {endpoint.base_url}", "start it, or give another base URL")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: the redirect is the answer."""


def _cluster(profile: Profile) -> Iterator[Check]:
    """Each node, and whether it finds the weights that its replicas would serve."""
    if profile.scale.engine != "ray":
        return
    served = [e for e in profile.endpoints.values() if e.recipe and load_recipe(e.recipe).weights != "none"]
    try:
        ray_cluster.join(profile.scale.address)
        answers = ray_cluster.on_each_node(weights_missing, served)
        ray_cluster.leave()
    except LemaError as error:
        yield Check("Ray cluster", "missing", profile.scale.address, str(error))
        return
    for node, answer in answers.items():
        has = f"{node.cpus:g} cores, {node.gpus:g} GPUs"
        missing = answer if isinstance(answer, list) else [str(answer)]
        todo = "the same weights at the same path on each node, or a Hub id" if missing else None
        state: Literal["ok", "missing"] = "missing" if missing else "ok"
        yield Check(f"node {node.name}", state, "; ".join([has, *missing]), todo)


def weights_missing(served: list[EndpointProfile]) -> list[str]:
    """Why this machine cannot serve one or the other of these; called on each node."""
    found = [_served(endpoint.model, endpoint) for endpoint in served]
    return [check.todo or check.found for check in found if check.state == "missing"]


def _database(db: Path) -> Check:
    if not db.exists():
        return Check("database", "note", f"{db} is not there yet", "make data")
    try:
        completions = Store(db).rows("select count(*) as n from completion")[0]["n"]
    except LemaError as error:
        return Check("database", "missing", str(error))
    return Check("database", "ok", f"{db}: {completions} completions")
