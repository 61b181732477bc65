"""A peft LoRA checkpoint as a LoRA GGUF, so that llama.cpp serves it over the base GGUF without a merge.

    base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight (64, 576)  ->  blk.0.attn_q.weight.lora_a (64, 576)
    base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight (576, 64)  ->  blk.0.attn_q.weight.lora_b (576, 64)

Format from llama.cpp (convert_lora_to_gguf.py and src/llama-adapter.cpp): general.type = adapter, adapter.type = lora,
adapter.lora.alpha; the strength alpha / r is worked out by the server. Converted for "llama", "smollm3" and "granite",
q and k rows change their order, as the base's did: Hugging Face's rotary embedding pairs row i with i + d/2 of a head
of size d, llama.cpp's pairs 2i with 2i + 1. The others keep theirs.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from lema_local.errors import TrainingError
from lema_local.training.base import write_f32_gguf
from lema_local.training.merge import Needs
from lema_local.training.packages import require

# Whether q and k rows change their order, of the architectures that tests compare with peft. Mistral is a "llama".
_PERMUTED = {
    "llama": True,
    "smollm3": True,
    "granite": True,
    "qwen2": False,
    "qwen3": False,
    "gemma2": False,
    "gemma3": False,
    "phi3": False,
    "olmo2": False,
}
BYTES = {"f32": 4, "bf16": 2, "f16": 2, "q8_0": 34 / 32, "q4_0": 18 / 32}  # of a weight, scales counted
_NAME = re.compile(r"base_model\.model\.(model\.layers\.\d+\.\w+\.\w+)\.lora_([AB])\.weight")


def convert_adapter(checkpoint: Path, target: Path, *, base_gguf: Path, dtype: Literal["f16", "f32"] = "f16") -> None:
    """Writes `checkpoint`'s adapter as the GGUF `target`, atomically.

    `base_gguf` is the model it will be served over, in any quantisation: its architecture, heads and shapes are read
    from it. float16 halves what every generated token must read; its rounding is far below that of a 4-bit base. Raises
    TrainingError where the adapter is of another base or of a kind that llama.cpp does not know.
    """
    gguf, safetensors, load_file = require("gguf"), require("safetensors"), require("safetensors.numpy").load_file
    try:
        config = json.loads((checkpoint / "adapter_config.json").read_text())
        tensors = load_file(checkpoint / "adapter_model.safetensors")
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise TrainingError(f"No adapter in {checkpoint} ({error}): train it again.") from error
    _refuse_unknown(config, checkpoint)
    base = _read_base(base_gguf)
    architecture, heads_of, shapes = base.architecture, base.heads_of, base.shapes
    if architecture not in _PERMUTED:
        known = ", ".join(_PERMUTED)
        raise TrainingError(
            f"Adapters of {architecture} models are not converted (those of {known} are): serve {checkpoint} with vLLM."
        )
    names = gguf.get_tensor_name_map(_model_arch(gguf, architecture), base.layers)

    partial = target.with_name(f".{target.name}.{os.getpid()}")
    writer = gguf.GGUFWriter(partial, architecture)
    try:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(config["lora_alpha"]))
        for name, tensor in sorted(tensors.items()):
            match = _NAME.fullmatch(name)
            module = names.get_name(match[1]) if match else None
            if match is None or module is None or f"{module}.weight" not in shapes:
                raise TrainingError(f"{base_gguf.name} has no place for {name}: {checkpoint} is of another base model.")
            side = match[2].lower()
            inputs, outputs = shapes[f"{module}.weight"]
            if tensor.shape[1 if side == "a" else 0] != (inputs if side == "a" else outputs):
                raise TrainingError(f"{name} does not fit {base_gguf.name}: {checkpoint} is of another base model.")
            part = module.rsplit(".", 1)[-1]
            if side == "b" and _PERMUTED[architecture] and part in heads_of:
                tensor = interleave_rows(tensor, heads_of[part])
            writer.add_tensor(f"{module}.weight.lora_{side}", tensor.astype("float16" if dtype == "f16" else "float32"))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def merge_gguf(checkpoint: Path, scale: float, base_gguf: Path, target: Path) -> None:
    """Writes the base as float32 with the adapter added, W + `scale` B A, as the GGUF `target`. Memory: the whole model
    in float32. Raises TrainingError as convert_adapter does."""
    adapter = target.with_suffix(".lora.gguf")
    try:
        convert_adapter(checkpoint, adapter, base_gguf=base_gguf, dtype="f32")
        factors = {tensor.name: tensor.data for tensor in require("gguf").GGUFReader(adapter).tensors}
        names = {name.removesuffix(".lora_a") for name in factors if name.endswith(".lora_a")}
        added = {name: (scale * factors[f"{name}.lora_b"], factors[f"{name}.lora_a"]) for name in names}
        write_f32_gguf(base_gguf, target, added=added)
    finally:
        adapter.unlink(missing_ok=True)


def gguf_needs(checkpoint: Path, base_gguf: Path, form: str) -> Needs:
    """What merge_gguf and llama.cpp's conversion into `form` take: the float32 file lies beside the result until that
    is written, and its tensors are in memory until it is. q4_0 keeps embeddings and output at a byte a weight."""
    reader = require("gguf").GGUFReader(base_gguf)
    counts = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    head = base_gguf.stat().st_size - sum(int(tensor.n_bytes) for tensor in reader.tensors)
    wide = {tensor.name for tensor in reader.tensors if len(tensor.shape) > 1}
    kept = {name for name in counts if form == "q4_0" and name in ("token_embd.weight", "output.weight")}
    sizes = {name: BYTES["q8_0" if name in kept else form if name in wide else "f32"] for name in counts}
    written = sum(count * sizes[name] for name, count in counts.items())
    whole = 4 * sum(counts.values())
    adapter = 2 * (checkpoint / "adapter_model.safetensors").stat().st_size  # which may be in half the precision
    return Needs(disk=round(whole + written) + 2 * head + adapter, memory=whole + 8 * max(counts.values()) + head)


@dataclass(frozen=True, slots=True)
class _Base:
    """What an adapter must fit."""

    architecture: str
    layers: int
    heads_of: Mapping[str, int]
    shapes: Mapping[str, tuple[int, int]]  # tensor -> inputs, outputs


@cache  # the reader walks the whole vocabulary: 2 s for each of the adapters of a sweep
def _read_base(base_gguf: Path) -> _Base:
    reader = require("gguf").GGUFReader(base_gguf)
    architecture = str(reader.fields["general.architecture"].contents())
    heads = int(reader.fields[f"{architecture}.attention.head_count"].contents())
    kv_field = reader.fields.get(f"{architecture}.attention.head_count_kv")
    return _Base(
        architecture=architecture,
        layers=int(reader.fields[f"{architecture}.block_count"].contents()),
        heads_of={"attn_q": heads, "attn_k": heads if kv_field is None else int(kv_field.contents())},
        # GGUF counts dimensions from the innermost: (inputs, outputs)
        shapes={tensor.name: (int(tensor.shape[0]), int(tensor.shape[-1])) for tensor in reader.tensors},
    )


def interleave_rows(rows: Any, heads: int) -> Any:
    """An array of rows (heads x d, ...) with the halves of each head interleaved: 0, d/2, 1, d/2 + 1, ..."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _model_arch(gguf: Any, architecture: str) -> Any:
    return next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)


def _refuse_unknown(config: dict[str, Any], checkpoint: Path) -> None:
    odd = [
        name
        for name in ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out")
        if config.get(name)
    ]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or odd:
        raise TrainingError(
            f"{checkpoint} is no plain LoRA ({', '.join(odd) or 'see adapter_config.json'}): serve it with vLLM."
        )
