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
from lema_local.settings.models import Model, shapes_of


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to start one kind of server; the fields of servers/NAME.toml."""

    name: str
    description: str
    module: str  # that must be importable
    command: tuple[str, ...]
    health: str
    start_timeout_s: float
    weights: Literal["gguf", "hf", "none"]
    adapters: Literal["none", "many"]  # many: one server has them all, beside the base
    program: str | None = None  # beside llama-cpp-python's library, in place of Python
    otherwise: str | None = None  # the recipe in its place where that program is not built (stages/recipes.py)
    adapter: tuple[str, ...] = ()  # added where there are any
    each_adapter: tuple[str, ...] = ()  # added for each
    adapters_by: Literal["model", "scales"] = "model"  # how a request chooses one: its name, or llama.cpp's `lora`
    batches: bool = False  # many requests in one batch: `parallel` of the endpoint
    forms: tuple[str, ...] = ()  # in which it can serve a GGUF's weights, beside "file" (forms.py)
    engine: str | None = None  # the distribution whose version is part of the served identity
    key_variable: str | None = None  # by which it takes a key that only lema then has
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
    def loads_adapters_first(self) -> bool:
        """Whether the files of its adapters must be there when it starts."""
        return self.weights == "hf" or self.adapters_by == "scales"

    @property
    def has_models_file(self) -> bool:
        """Whether its adapters are named in a file (command.models_file) and not on the command line."""
        return "{models_file}" in self.adapter

    def has_use_for(self, option: str) -> bool:
        """Whether an option of `lema serve`, as "context_length", changes what this recipe starts."""
        if option == "model":
            return self.weights != "none"
        if option == "form":
            return bool(self.forms)
        fields = ("{context_length}", "{batch_context}") if option == "context_length" else (f"{{{option}}}",)
        return any(part in fields for part in self.command)


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
    shapes = shapes_of(model) if devices else None
    if shapes is None:
        return 1
    weights_gib = (shapes.linear_parameters + shapes.other_parameters) * shapes.bytes_per_parameter / 2**30
    room_gib = 0.7 * min(device.memory_gib for device in devices)
    size: int = 2 ** math.ceil(math.log2(max(1.0, weights_gib / room_gib)))
    if size > len(devices) or shapes.heads % size:
        raise ServerError(
            f"{model.name} needs {weights_gib:.0f} GiB for its weights, {size} GPUs of this kind; here are "
            f"{len(devices)}. Take a smaller model."
        )
    return size


def data_parallel_size(tensor_parallel: int, devices: Sequence[Gpu]) -> int:
    """Replicas that the GPUs hold, each over `tensor_parallel` of them: a small model is served once on every GPU."""
    return max(1, len(devices) // tensor_parallel)
