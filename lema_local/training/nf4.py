"""A base model's weights rounded to NF4 and back: what a QLoRA run multiplied by, as a folder that any server loads.

    q_proj.weight   0.0312, -0.0187, ...   ->   0.0298, -0.0191, ...      (16 values a block of 64)

QLoRA keeps 4 bits a weight and multiplies by the value they stand for. Serving those values needs no 4-bit kernels
(vLLM 0.32 has no bitsandbytes) and takes the memory of the dtype. Training on a CPU loads them too, where the base is a
GGUF's. Which matrices are rounded is what transformers and bitsandbytes say of the model's class:
training/quantization.py asks them.
"""

import shutil
from pathlib import Path

from lema_local.errors import TrainingError
from lema_local.records.keys import content_key
from lema_local.training.base import COMPLETE, made_once
from lema_local.training.packages import require
from lema_local.training.quantization import Nf4, nf4_matrices, nf4_values
from lema_local.training.weights import weight_files


def nf4_folder(source: str, *, cache: Path, nf4: Nf4, dtype: str) -> Path:
    """A folder of the weights of `source` (a folder, or a Hub id), rounded as `nf4` says and stored in `dtype` (torch's
    name), in which training multiplies. Made once for each source, file by file: memory is that of one file."""
    folder = local_folder(source)
    files = weight_files(folder)
    stamps = [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    once = [] if nf4.double else ["single"]  # folders made before there was a choice keep their names
    key = content_key("nf4 of what the file has", dtype, *stamps, *once)
    others = shutil.ignore_patterns("*.safetensors", "*.bin", "*.pth", "*.gguf", COMPLETE, "original")

    def make(target: Path) -> None:
        names = nf4_matrices(folder)
        shutil.copytree(folder, target, ignore=others, dirs_exist_ok=True)
        for file in files:
            _round_file(file, target / file.name, nf4, names, dtype)

    return made_once(cache / "bases" / f"{folder.name}-nf4-{key[:12]}", make, what=f"NF4 values of {source}")


def _round_file(source: Path, target: Path, nf4: Nf4, names: frozenset[str], dtype: str) -> None:
    torch, safetensors = require("torch"), require("safetensors.torch")
    kind = getattr(torch, dtype)
    tensors = safetensors.load_file(source)
    for name, tensor in tensors.items():
        tensors[name] = (nf4_values(tensor, nf4) if name in names else tensor).to(kind)
    safetensors.save_file(tensors, target, metadata={"format": "pt"})


def local_folder(source: str) -> Path:
    """A folder of weights here, fetched where `source` is a Hub id. TrainingError where it cannot be had."""
    if Path(source).is_dir():
        return Path(source)
    hub = require("huggingface_hub")
    try:
        return Path(hub.snapshot_download(source, ignore_patterns=["original/*", "*.bin", "*.pth", "*.gguf"]))
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, OSError) as error:
        raise TrainingError(f"Cannot fetch {source} from the Hub ({type(error).__name__}): give a folder.") from error
