"""Adapters with random weights, which change what SmolLM2 writes."""

import json
from pathlib import Path


def adapter(folder: Path, *, strength: float, width: int = 576, rank: int = 4, seed: int = 0) -> Path:
    """A LoRA adapter over the queries of SmolLM2's first three layers, as peft writes one."""
    import numpy
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    random = numpy.random.default_rng(seed)
    tensors = {}
    for layer in range(3):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{name}.lora_A.weight"] = random.normal(size=(rank, width)).astype("float32")
        tensors[f"{name}.lora_B.weight"] = (strength * random.normal(size=(width, rank))).astype("float32")
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "base_model_name_or_path": "smollm2-135m-instruct"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
