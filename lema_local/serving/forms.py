"""In which form llama.cpp's server holds a GGUF's weights: as the file has them, or the same weights unpacked.

A processor multiplies some forms many times faster than others, which depends on its units and on the size of a batch.
So the form is chosen by measurement, once a machine, model and build of llama.cpp, and kept in the cache:

    choose_form(model)
    # Choice(form="bf16", measured={"file": Measured(196), "bf16": Measured(434, 0.996), ...})

A form qualifies where its top token is that of the file's weights, computed in float32 from all their digits, at 99% of
the positions or more. The file's own kernels are not held to that: they are what was served before. Speeds are tokens
a second of one thread that writes 16 sequences on together.

The cache holds the weights in that form too, as that build writes them. Their checksum lies beside them, written last:
a file without it, or of which it is not true, is written anew.
"""

import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from lema_local.errors import ServerError
from lema_local.hardware import cores, ram_gib
from lema_local.records.keys import content_key
from lema_local.records.locks import lock
from lema_local.serving.command import program_path
from lema_local.serving.llama_batches import convert
from lema_local.serving.measuring import EXACT, Choice, choice_from, measure_in_child
from lema_local.serving.recipes import Recipe, load_recipe
from lema_local.settings.models import Model, cache_directory, cached_sha256


def served_form(recipe: Recipe, form: str) -> str:
    """What a model's identity says of engine and form, after the file's: its greedy text is another engine's not."""
    return f":{recipe.name}-{importlib.metadata.version(recipe.engine)}:{form}" if recipe.engine else ""


def weights_in_form(model: Model, form: str, *, on_notice: Callable[[str], None] = lambda message: None) -> Path:
    """The GGUF file that is served: the model's own, or one in the cache, which is made where it is not there."""
    if form == "file":
        return model.gguf()
    target = _cached(model, form)
    with _locked():
        if not _is_whole(target):
            on_notice(f"writing {model.name} as {form} (once)")
            convert(model.gguf(), target, form)
            _sign(target)
    return target


@cache
def choose_form(model: Model) -> Choice:
    """The fastest form that qualifies on this machine. Measured once: some 20 seconds for a small model. A model whose
    float32 weights would not fit in a quarter of the memory is served as its file has it."""
    with _locked():
        if (chosen := known_choice(model)) is None:
            chosen = _measure(model)
            _write(_read() | {_key(model): asdict(chosen)})
    return chosen


def known_choice(model: Model) -> Choice | None:
    """The same where nothing needs to be measured, else None."""
    if model.gguf().stat().st_size * 8 > ram_gib() * 2**30 / 4:
        return Choice("file", {})
    try:
        return choice_from(_read().get(_key(model)))
    except (AttributeError, LookupError, TypeError):  # not there, or not whole
        return None


def _key(model: Model) -> str:
    return str(content_key("form", model.gguf_identity, _machine(), *load_recipe("llama_server").forms))


def _measure(model: Model) -> Choice:
    forms = (EXACT, *load_recipe("llama_server").forms)
    choice = measure_in_child(model.gguf(), {form: _cached(model, form) for form in forms})
    if choice.form != "file":
        _sign(_cached(model, choice.form))
    return choice


def _machine() -> str:
    """Processor with its units, the cores, and llama.cpp."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        processor = [platform.machine(), platform.processor()]
    return "\n".join([*processor, str(cores()), _build()])


def _build() -> str:
    """llama.cpp as it is here: one that was compiled anew, of the same version too, is another."""
    recipe = load_recipe("llama_server")
    compiled = {path.stat().st_ino: path for path in sorted(program_path(recipe).parent.iterdir()) if path.is_file()}
    contents = sorted(cached_sha256(path) for path in compiled.values())  # a library has several names
    return content_key("llama.cpp", importlib.metadata.version(recipe.engine or ""), contents)


def _cached(model: Model, form: str) -> Path:
    file = model.gguf_identity.removeprefix("gguf:")[:32]
    return cache_directory() / "weights" / f"{file}-{_build()[:8]}-{form}.gguf"


def _signature(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _sign(target: Path) -> None:
    """From now on it is whole."""
    partial = _signature(target).with_suffix(f".{os.getpid()}")
    partial.write_text(cached_sha256(target), encoding="ascii")
    partial.replace(_signature(target))


def _is_whole(target: Path) -> bool:
    try:
        return _signature(target).read_text(encoding="ascii") == cached_sha256(target)
    except (OSError, ValueError):
        return False


@contextmanager
def _locked() -> Iterator[None]:
    """One process at a time makes files in the cache."""
    try:
        cache_directory().mkdir(parents=True, exist_ok=True)
        with (cache_directory() / "forms.lock").open("w", encoding="utf-8") as file:
            lock(file)
            yield
    except OSError as error:
        raise ServerError(f"Cannot write in {cache_directory()}: {error.strerror}. Set XDG_CACHE_HOME.") from error


def _read() -> dict[str, Any]:
    try:
        known = json.loads((cache_directory() / "forms.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(known: dict[str, Any]) -> None:
    partial = cache_directory() / f"forms.{os.getpid()}"
    partial.write_text(json.dumps(known, indent=1), encoding="utf-8")
    partial.replace(cache_directory() / "forms.json")
