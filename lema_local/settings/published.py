"""Adapters that were trained elsewhere: a peft folder, or a Hub id such as the authors' own (adapters.toml).

LEMAv1/peft-Llama-2-70b-gsm8k/adapter_config.json    {"peft_type": "LORA", "r": 64, "base_model_name_or_path": ...}

find_adapter("LEMAv1/peft-Llama-2-70b-gsm8k").base   # "llama-2-70b"
find_adapter("Qwen/Qwen2.5-7B-Instruct")             # None: a model of its own
"""

import json
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from lema_local.errors import MissingPackageError, ProfileError, TrainingError
from lema_local.records.keys import content_key
from lema_local.settings.models import HUB_ID, Model, cached_sha256, known_models

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_LAYER = re.compile(r"\.layers\.(\d{1,4})\.")
_NO_IDENTITY = ("base_model_name_or_path", "revision", "inference_mode", "peft_version", "auto_mapping")
_GGUF = b"GGUF"  # how such a file begins (ggml-org/ggml, docs/gguf.md)
_MOST_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter on this machine and the model it belongs over."""

    name: str
    path: Path  # a peft folder
    base: str  # a model's name, folder or Hub id
    identity: str  # of its weights and of what its config makes of them


@cache
def known_adapters() -> dict[str, dict[str, str]]:
    """adapters.toml as parsed."""
    return tomllib.loads(files("lema_local.settings").joinpath("adapters.toml").read_text(encoding="utf-8"))


def find_adapter(name: str) -> Adapter | None:
    """The adapter of that name, fetched once from the Hub; None where the name is a model's. ProfileError for what
    cannot be had."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if name in known_models() or name.endswith(".gguf") or not HUB_ID.fullmatch(name):
            return None
        fetched = _fetch(name)
        if fetched is None:
            return None
        folder = fetched
    if not (folder / CONFIG).is_file():
        return None
    weights = next((folder / file for file in WEIGHTS if (folder / file).is_file()), None)
    base = known_adapters().get(name, {}).get("base") or _model_of(str(_config(folder).get("base_model_name_or_path")))
    if weights is None or not base:
        raise ProfileError(f"{name} is no whole adapter: it needs {CONFIG} with its base model, and {WEIGHTS[0]}.")
    return Adapter(name, folder, base, _peft_identity(folder, weights))


def adapter_sha256(name: str, *, is_gguf: bool) -> str:
    """The content of an adapter as its server loads it: a LoRA GGUF, or the weights and config of a peft folder.
    ProfileError for anything else: a server would end when it loads it."""
    path = Path(name)
    if is_gguf:
        if not _begins_with(path, _GGUF):
            raise ProfileError(f"No adapter at {name}: llama_cpp loads a LoRA GGUF file.")
        return cached_sha256(path)
    weights = next((path / file for file in WEIGHTS if (path / file).is_file()), None)
    if weights is None:
        raise ProfileError(f"No adapter at {name}: vllm loads a peft folder, with its {WEIGHTS[0]}.")
    return _peft_identity(path, weights)


def _peft_identity(folder: Path, weights: Path) -> str:
    """Of the weights, and of what the config makes of them: another lora_alpha is another adapter. Where the base lies,
    and what wrote the file, is not."""
    config = {name: value for name, value in _config(folder).items() if name not in _NO_IDENTITY}
    return content_key("peft adapter", cached_sha256(weights), json.dumps(config, sort_keys=True))


def _begins_with(path: Path, magic: bytes) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def adapter_rank(folder: Path) -> int:
    """The rank that a server must have room for."""
    rank = _config(folder).get("r")
    return rank if isinstance(rank, int) else 64


def refuse_misfit(folder: Path, model: Model) -> None:
    """TrainingError where an adapter's layers or widths are another base's, as far as those of the model are known
    here: a server would end when it loads it."""
    known = _shape_of(model)
    if known is None or not (folder / WEIGHTS[0]).is_file():
        return
    layers, hidden = known
    for name, shape in _shapes(folder / WEIGHTS[0]).items():
        layer = _LAYER.search(name)
        is_deep = layer is not None and int(layer[1]) >= layers
        if is_deep or ("q_proj" in name and "lora_A" in name and shape[-1:] != [hidden]):
            raise TrainingError(f"{name} {shape} does not fit {model.name}: {folder} is of another base model.")


def _shape_of(model: Model) -> tuple[int, int] | None:
    """Layers and width."""
    if model.path is not None:
        config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
        layers, hidden = config.get("num_hidden_layers"), config.get("hidden_size")
        return (layers, hidden) if isinstance(layers, int) and isinstance(hidden, int) else None
    return (model.architecture.layers, model.architecture.hidden_size) if model.architecture else None


def _shapes(weights: Path) -> dict[str, list[int]]:
    """The shapes in a safetensors file: its header is JSON after 8 bytes of length (huggingface/safetensors)."""
    try:
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _MOST_HEADER_BYTES)))
        return {name: list(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{weights} is no safetensors file: train or fetch it again.") from error


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"No adapter in {folder}: {CONFIG} cannot be read.") from error
    return config if isinstance(config, dict) else {}


def _model_of(name: str) -> str:
    """The name that models.toml has for a Hub id, else the id or folder itself."""
    return next((known for known, entry in known_models().items() if entry.get("hub_id") == name), name)


def _fetch(name: str) -> Path | None:
    """The folder of a Hub adapter; None where the repository holds no adapter_config.json."""
    try:
        from huggingface_hub import snapshot_download, try_to_load_from_cache
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise MissingPackageError(f"Fetching {name} needs huggingface_hub: pip install 'lema-local[hub]'") from error
    if isinstance(try_to_load_from_cache(name, "config.json"), str) and name not in known_adapters():
        return None  # a model that is here already
    try:
        folder = Path(snapshot_download(name, allow_patterns=["adapter_*"]))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ProfileError(
            f"Cannot fetch {name} from the Hub ({type(error).__name__}): give a folder, or try again with a connection."
        ) from error
    return folder if (folder / CONFIG).is_file() else None
