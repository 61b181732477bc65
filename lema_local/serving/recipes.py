"""Recipes: how each kind of server is started, as servers/NAME.toml says. The files are data; process.py runs them.

load_recipe("llama_cpp").command      # ("{python}", "-m", "llama_cpp.server", "--model", "{model_path}", ...)
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from lema_local.errors import ProfileError, ServerError
from lema_local.hardware import Gpu
from lema_local.settings.models import Model


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to start one kind of server; the fields of servers/NAME.toml."""

    name: str
    description: str
    module: str
    command: tuple[str, ...]
    health: str
    start_timeout_s: float
    weights: Literal["gguf", "hf", "none"]
    adapters: Literal["none", "many"]  # many: each is a model name of one server, beside the base
    adapter: tuple[str, ...] = ()  # added where there are any
    cpu: tuple[str, ...] = ()  # added where there is no GPU
    gpu: tuple[str, ...] = ()  # added where there is one
    bases: tuple[str, ...] = ()  # what `--base` may name; the first unless told otherwise
    interpreter: str | None = None
    extra: str | None = None
    reference_derived: bool = False
    structured: Literal["openai", "llama_cpp"] = "openai"
    request: Mapping[str, float] = field(
        default_factory=dict
    )  # sent with each call, to undo sampling defaults of the server

    @property
    def has_models_file(self) -> bool:
        """Whether its adapters are named in a file (command.models_file) and not on the command line."""
        return "{models_file}" in self.adapter


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(
        f.name.removesuffix(".toml") for f in files("lema_local.servers").iterdir() if f.name.endswith(".toml")
    )


@cache
def load_recipe(name: str) -> Recipe:
    """A recipe by name, or ProfileError."""
    if name not in recipe_names():
        raise ProfileError(f"No recipe named {name}; there are {', '.join(recipe_names())}.")
    raw = tomllib.loads(files("lema_local.servers").joinpath(f"{name}.toml").read_text(encoding="utf-8"))
    lists: dict[str, Any] = {key: tuple(value) for key, value in raw.items() if isinstance(value, list)}
    return Recipe(name=name, **(raw | lists))


def tensor_parallel_size(model: Model, devices: Sequence[Gpu]) -> int:
    """GPUs that one replica needs: weights in bf16 in at most 70% of each GPU's memory, a power of two that divides
    the heads.

    70% leaves room for the KV cache; an unknown architecture gets one GPU. ServerError when all GPUs together are too
    small.
    """
    if not devices or model.architecture is None:
        return 1
    weights_gib = (
        (model.architecture.linear_parameters + model.architecture.other_parameters)
        * model.architecture.bytes_per_parameter
        / 2**30
    )
    room_gib = 0.7 * min(device.memory_gib for device in devices)
    size: int = 2 ** math.ceil(math.log2(max(1.0, weights_gib / room_gib)))
    if size > len(devices) or model.architecture.heads % size:
        raise ServerError(
            f"{model.name} needs {weights_gib:.0f} GiB for its weights, {size} GPUs of this kind; here are "
            f"{len(devices)}. Take a smaller model."
        )
    return size


def data_parallel_size(tensor_parallel: int, devices: Sequence[Gpu]) -> int:
    """Replicas that the GPUs hold, each over `tensor_parallel` of them: a small model is served once on every GPU."""
    return max(1, len(devices) // tensor_parallel)
