"""merge(): an adapter added into the weights of a base model, as a folder that loaders of Hugging Face weights take.

    OUTPUT/config.json  model.safetensors  tokenizer.json ...  README.md  COMPLETE

W' = W + (alpha / r) B A for every adapted matrix (arXiv 2106.09685), in float32, then rounded once to the wanted dtype.
Weights are read and written a file at a time: the memory needed is that of the largest, not of the model.

An adapter trained over NF4 learned to live with NF4's rounding. Added to the plain weights it is another model; so the
base can also be NF4's own values: each matrix that training quantised, rounded as it was and multiplied out again.
"""

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lema_local.errors import TrainingError
from lema_local.hardware import available_bytes
from lema_local.records.keys import file_sha256
from lema_local.training.base import COMPLETE
from lema_local.training.failures import UNREADABLE
from lema_local.training.packages import require
from lema_local.training.quantization import Nf4, nf4_matrices, nf4_values
from lema_local.training.quiet import quiet
from lema_local.training.weights import INDEX, shapes_in, weight_files

Dtype = Literal["bf16", "fp16", "fp32"]
_TORCH: dict[Dtype, str] = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_BYTES: dict[Dtype, int] = {"bf16": 2, "fp16": 2, "fp32": 4}
_PREFIX = "base_model.model."
_ODD = (
    "use_dora",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "fan_in_fan_out",
    "trainable_token_indices",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a merge takes, in bytes: the files written, and the memory beside torch itself."""

    disk: int
    memory: int


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA as read: pairs (A, B) by the name of the weight that they change, and alpha / r."""

    pairs: dict[str, tuple[Any, Any]]
    scale: float
    base_name: str | None


def read_adapter(checkpoint: Path) -> Adapter:
    """The adapter of a checkpoint's directory. Raises TrainingError where it is damaged or no plain LoRA."""
    safetensors, load_file = require("safetensors"), require("safetensors.torch").load_file
    try:
        config = json.loads((checkpoint / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(checkpoint / "adapter_model.safetensors")
        scale = config["lora_alpha"] / config["r"]
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise TrainingError(
            f"No adapter can be read from {checkpoint} ({reason}): `lema train` makes it anew."
        ) from error
    odd = [name for name in _ODD if config.get(name)]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or odd:
        raise TrainingError(
            f"{checkpoint} is no plain LoRA ({', '.join(odd) or 'see adapter_config.json'}): not merged."
        )
    pairs: dict[str, tuple[Any, Any]] = {}
    for name, tensor in tensors.items():
        module, found, _ = name.removeprefix(_PREFIX).partition(".lora_A.weight")
        if found:
            other = tensors.get(name.replace(".lora_A.", ".lora_B."))
            if other is None or other.shape[1] != tensor.shape[0]:
                raise TrainingError(f"{checkpoint} has half of the adapter of {module}: `lema train` makes it anew.")
            pairs[f"{module}.weight"] = (tensor, other)
    if 2 * len(pairs) != len(tensors):
        raise TrainingError(f"{checkpoint} is no plain LoRA (it holds other tensors too): not merged.")
    return Adapter(pairs, scale, config.get("base_model_name_or_path"))


def needs(base: Path, dtype: Dtype) -> Needs:
    """What merging into `base` takes, from the headers of its files alone."""
    sizes = []
    largest = 0
    for file in weight_files(base):
        counts = [math.prod(shape) for shape in shapes_in(file).values()]
        sizes.append(sum(counts) * _BYTES[dtype])
        largest = max([largest, *counts])
    return Needs(disk=sum(sizes) + 32 * 2**20, memory=max(sizes) + largest * 16)  # W, BA, their sum; the read one


def make_sure_of_room(wanted: Needs, output: Path, what: str, on_notice: Callable[[str], None]) -> None:
    """Say what a merge takes and what there is. TrainingError where disk or memory has no room for it; makes the folder
    that `output` goes into."""
    output.parent.mkdir(parents=True, exist_ok=True)
    disk, memory = shutil.disk_usage(output.parent).free, available_bytes()
    on_notice(
        f"{what}: writes {_amount(wanted.disk)} ({_amount(disk)} free), needs about {_amount(wanted.memory)} of memory"
    )
    if wanted.disk > disk:
        raise TrainingError(f"No room for {_amount(wanted.disk)} beside {output}: make some, or name another --output.")
    if memory is not None and wanted.memory > memory:
        raise TrainingError(
            f"No memory for {_amount(wanted.memory)}: {_amount(memory)} are free. End what takes it, or merge on a "
            "larger machine."
        )


def refuse_other_base(adapter: Adapter, base: Path) -> None:
    """TrainingError where the adapter's matrices do not fit this base one for one."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(base):
        shapes |= shapes_in(file)
    for name, (a, b) in adapter.pairs.items():
        if shapes.get(name) != (b.shape[0], a.shape[1]):
            there = "x".join(map(str, shapes[name])) if name in shapes else "no such matrix"
            raise TrainingError(
                f"The adapter is of another base model: its {name} is {b.shape[0]}x{a.shape[1]}, the base has {there}. "
                "Name its own with --base."
            )
    # a deeper model of the same width would take the adapter for its first layers
    kinds = {name.split(".layers.")[-1].partition(".")[2] for name in adapter.pairs}
    bare = [n for n in shapes if n.split(".layers.")[-1].partition(".")[2] in kinds and n not in adapter.pairs]
    if any(".layers." in name for name in bare):
        raise TrainingError(
            f"The adapter is of another base model: it has nothing for {bare[0]}. Name its own with --base."
        )


def merge(
    adapter: Adapter,
    base: Path,
    output: Path,
    *,
    dtype: Dtype,
    nf4: Nf4 | None,
    readme: str,
    facts: dict[str, Any],
    on_notice: Callable[[str], None],
) -> None:
    """Writes the merged model into the new folder `output`, aside first and renamed when it is whole.

    `nf4` takes the base as training had it. `facts` go into COMPLETE with the hash of every file. Raises TrainingError:
    an adapter of another base, an output that is there, no room, values that the dtype cannot hold.
    """
    if output.exists():
        raise TrainingError(f"{output} is there already: give another --output, or remove it.")
    refuse_other_base(adapter, base)
    make_sure_of_room(needs(base, dtype), output, f"merging {len(adapter.pairs)} matrices into {base.name}", on_notice)
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        with quiet():
            rounded = nf4_matrices(base) if nf4 else frozenset[str]()
            files = weight_files(base)
            total = sum(_merge_file(adapter, file, partial / file.name, dtype, nf4, rounded) for file in files)
        _write_rest(base, partial, dtype, total)
        (partial / "README.md").write_text(readme, encoding="utf-8")
        sums = {file.name: [file_sha256(file), file.stat().st_size] for file in sorted(partial.iterdir())}
        (partial / COMPLETE).write_text(json.dumps({**facts, "files": sums}, indent=1) + "\n", encoding="utf-8")
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _merge_file(
    adapter: Adapter, source: Path, target: Path, dtype: Dtype, nf4: Nf4 | None, nf4_names: frozenset[str]
) -> int:
    torch, safetensors = require("torch"), require("safetensors")
    kind, merged = getattr(torch, _TORCH[dtype]), {}
    with safetensors.safe_open(source, framework="pt") as tensors, torch.no_grad():
        for name in tensors.keys():  # noqa: SIM118 (it is no dict)
            weight = tensors.get_tensor(name)
            if nf4 is not None and name in nf4_names:
                weight = nf4_values(weight, nf4)
            if name in adapter.pairs:
                a, b = adapter.pairs[name]
                weight = weight.float() + adapter.scale * (b.float() @ a.float())
            rounded = weight.to(kind) if weight.is_floating_point() else weight
            if weight.is_floating_point() and not bool(torch.isfinite(rounded).all()):
                raise TrainingError(f"{name} has values that {dtype} cannot hold: choose --dtype bf16 or fp32.")
            merged[name] = rounded.contiguous()
    require("safetensors.torch").save_file(merged, target, metadata={"format": "pt"})
    return sum(tensor.numel() * tensor.element_size() for tensor in merged.values())


def _write_rest(base: Path, target: Path, dtype: Dtype, total: int) -> None:
    """Config, index, generation settings and tokenizer."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    for gone in ("quantization_config", "torch_dtype"):
        config.pop(gone, None)
    config["dtype"] = _TORCH[dtype]
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if (base / INDEX).is_file():
        index = json.loads((base / INDEX).read_text(encoding="utf-8"))
        index["metadata"] = {"total_size": total}
        (target / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    if (base / "generation_config.json").is_file():
        shutil.copyfile(base / "generation_config.json", target / "generation_config.json")
    try:
        with quiet():
            require("transformers").AutoTokenizer.from_pretrained(base).save_pretrained(target)
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:120]
        raise TrainingError(f"{base} has no tokenizer that can be read ({reason}): complete the folder.") from error


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
