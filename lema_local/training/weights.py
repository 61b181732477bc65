"""The safetensors files of a folder of weights, and the shapes in them, by their headers alone.

shapes_in(Path("SmolLM2-135M/model.safetensors"))    {"model.embed_tokens.weight": (49152, 576), ...}
"""

import json
from pathlib import Path

from lema_local.errors import TrainingError
from lema_local.training.packages import require

INDEX = "model.safetensors.index.json"


def weight_files(base: Path) -> list[Path]:
    """The safetensors of a folder of weights, in order. Raises TrainingError where there are none."""
    index = base / INDEX
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [base / name for name in names]
    else:
        files = [base / "model.safetensors"]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise TrainingError(
            f"{base} lacks {', '.join(missing[:3])}: a base to merge into needs all of its *.safetensors."
        )
    return files


def shapes_in(file: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by name. Raises TrainingError for a file that is none."""
    safetensors = require("safetensors")
    try:
        with safetensors.safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise TrainingError(f"Cannot read {file} ({error}): fetch the base model again.") from error
