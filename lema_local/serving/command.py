"""What a recipe's server is started with: its argument list, and the file of models that llama.cpp's server takes.

build_command(load_recipe("vllm"), model, ServeOptions(adapters={"cot-100": Path("/a")}), port=8000)
# [".venv-vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", ..., "--lora-modules", "cot-100=/a"]
"""

import importlib.util
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lema_local.errors import ServerError
from lema_local.hardware import cores, gpus, ram_gib
from lema_local.serving.recipes import Recipe, data_parallel_size, tensor_parallel_size
from lema_local.settings.models import Model, shapes_of

VLLM_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the sizes that --max-lora-rank takes
MOST_ADAPTERS_IN_MEMORY = 8  # the others wait on the disk: of a 70B each takes 1.6 GB
_SERVER_OPTIONS = ("host", "port", "interrupt_requests")  # of llama.cpp's server; its other options are the model's


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What a recipe's placeholders are filled with."""

    host: str = "127.0.0.1"
    port: int | None = None  # None: any free one
    context_length: int = 4096
    servers: int = 1  # that share the cores
    parallel: int = 16  # calls in one batch, of a recipe that batches
    weights: Path | None = None  # the GGUF that is served, where it is not the model's own file (forms.py)
    # What ends the name under which it serves the model: by it lema knows its own server. Empty: the plain name.
    mark: str = field(default_factory=lambda: secrets.token_hex(4))
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)  # for servers that take one
    # name -> what this recipe loads: a LoRA GGUF (which may be made later) or a peft folder
    adapters: Mapping[str, Path] = field(default_factory=dict)
    lora_rank: int = 64  # the largest of the adapters
    dtype: str = "auto"  # in which a GPU computes
    problems: Path | None = None  # for the oracle
    is_verbose: bool = False  # llama.cpp's own timings go to the log
    log_directory: Path = Path("runs/logs")
    scratch: Path = Path(os.devnull)  # a folder of the server's own, for as long as it runs

    def models_path(self, recipe: Recipe, port: int) -> Path:
        """Where the file of models lies, for a server that takes one."""
        return self.log_directory / f"{recipe.name}-{port}.json"

    def served_model(self, recipe: Recipe, model: Model | None) -> str:
        """The name under which it serves the model."""
        return "-".join(part for part in (model.name if model else recipe.name, self.mark) if part)


def servers_that_fit(asked: int, recipe: Recipe, model: Model | None) -> int:
    """As many servers side by side as are asked for, but no more than there are cores, and than hold their GGUF files
    in half of the memory: each loads its own."""
    if recipe.weights != "gguf" or model is None:
        return asked
    in_memory = int(ram_gib() * 2**29 // max(1, model.gguf().stat().st_size))
    return max(1, min(asked, cores(), in_memory))


def batch_that_fits(asked: int, recipe: Recipe, model: Model | None, *, context_length: int, servers: int) -> int:
    """As many calls in one batch as are asked for, but no more than have room for their caches in a quarter of the
    memory: keys and values of `context_length` tokens in every layer, two bytes each."""
    shapes = shapes_of(model) if recipe.batches and model is not None else None
    if shapes is None:
        return asked
    cache_bytes = context_length * shapes.layers * 2 * shapes.keys * 2
    return max(1, min(asked, int(ram_gib() * 2**28 // (cache_bytes * servers))))


def build_command(recipe: Recipe, model: Model | None, options: ServeOptions, *, port: int) -> list[str]:
    """The argument list that starts this server. Pure but for the look at the GPUs and cores."""
    values = _values(recipe, model, options, port)
    command = [part.format(**values) for part in (*recipe.command, *(recipe.gpu if gpus() else recipe.cpu))]
    if not options.adapters:
        return command
    if recipe.has_models_file:  # which says all the rest
        command = command[: _options_begin(command)]
    command += [part.format(**values) for part in recipe.adapter]
    for name, path in options.adapters.items():
        command += [part.format(adapter_name=name, adapter_path=path) for part in recipe.each_adapter]
    return command


def models_file(recipe: Recipe, model: Model | None, options: ServeOptions, *, port: int) -> str:
    """The base and every adapter over it as models of one llama.cpp server, in its own JSON: it holds one at a time,
    and loads the one that a request names. What the recipe's command says in options, `--n_ctx 2048`, is the same here,
    `"n_ctx": "2048"`: each has one value."""
    values = _values(recipe, model, options, port)
    command = [part.format(**values) for part in recipe.command]
    given = command[_options_begin(command) :]
    said = dict(zip((name.removeprefix("--") for name in given[::2]), given[1::2], strict=True))
    base = {name: value for name, value in said.items() if name not in _SERVER_OPTIONS}
    tuned = [base | {"model_alias": name, "lora_path": str(path)} for name, path in options.adapters.items()]
    return json.dumps({name: said[name] for name in _SERVER_OPTIONS} | {"models": [base, *tuned]}, indent=1)


def _options_begin(command: list[str]) -> int:
    return next(k for k, part in enumerate(command) if part.startswith("--"))


def _values(recipe: Recipe, model: Model | None, options: ServeOptions, port: int) -> dict[str, str]:
    share = max(1, cores() // options.servers)
    values = {
        "python": _interpreter(recipe),
        "host": options.host,
        "port": str(port),
        "context_length": str(options.context_length),
        "cores": str(share),
        # One core stays free: a token waits for the slowest thread at hundreds of barriers, so a single busy neighbour
        # on the last core costs more than that core gives (2 cores: 160 -> 58 tokens/s; one thread: 135, undisturbed).
        "threads": str(max(1, cores() - 1) if options.servers == 1 else share),
        "problems": str(options.problems or os.devnull),
        "served_model": options.served_model(recipe, model),
        "parallel": str(options.parallel),
        "batch_context": str(options.parallel * options.context_length),
        "dtype": options.dtype,
        "verbose": str(options.is_verbose).lower(),
        "models_file": str(options.models_path(recipe, port)),
        "scratch": str(options.scratch),
    }
    if recipe.weights == "gguf" and model is not None:
        values["model_path"] = str(options.weights or model.gguf())
    elif recipe.weights == "hf" and model is not None:
        devices = gpus()
        tensor_parallel = tensor_parallel_size(model, devices)
        values["model_path"] = model.source
        values["tensor_parallel"] = str(tensor_parallel)
        values["data_parallel"] = str(data_parallel_size(tensor_parallel, devices))
    if recipe.program is not None:
        values["program"] = str(program_path(recipe))
    if options.adapters:
        rank = next((rank for rank in VLLM_LORA_RANKS if rank >= options.lora_rank), None)
        if rank is None:
            raise ServerError(f"An adapter has rank {options.lora_rank}; {recipe.name} serves up to 512.")
        values["lora_rank"] = str(rank)
        values["adapters_in_memory"] = str(min(len(options.adapters), MOST_ADAPTERS_IN_MEMORY))
    return values


def program_path(recipe: Recipe) -> Path:
    """Where a recipe's program lies if it was built: beside llama-cpp-python's library. ServerError without that."""
    package = importlib.util.find_spec("llama_cpp")
    if package is None or package.origin is None or recipe.program is None:
        raise ServerError(f"{recipe.name} comes with llama-cpp-python: pip install 'lema-local[llama]'")
    return Path(package.origin).parent / "lib" / recipe.program


def is_built(recipe: Recipe) -> bool:
    """Whether a recipe's program is here; True for one that has none of its own."""
    try:
        return recipe.program is None or program_path(recipe).exists()
    except ServerError:
        return False


def _interpreter(recipe: Recipe) -> str:
    return sys.executable if recipe.interpreter is None else str(Path(recipe.interpreter).absolute())
