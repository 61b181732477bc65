"""NF4 as training has it: which matrices of a model are rounded, to which values, and those values unpacked once.

    nf4_matrices(Path("SmolLM2-135M"))       frozenset({"model.layers.0.self_attn.q_proj.weight", ...}), 210 of them
    unpack(model)                            a 4-bit layer becomes a plain one of the same values: products cost less

The format is that of arXiv 2305.14314 in blocks of 64, by bitsandbytes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lema_local.errors import TrainingError
from lema_local.settings.architecture import experts
from lema_local.training.lora_linear import base_weight
from lema_local.training.packages import require
from lema_local.training.weights import shapes_in, weight_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Nf4:
    """How the base was quantised in training: the weights as their file has them, NF4 in blocks of 64."""

    double: bool


def nf4_values(weight: Any, nf4: Nf4) -> Any:
    """A weight as bitsandbytes' 4-bit matmul sees it: quantised as in training, multiplied out, float32."""
    functional, weight = require("bitsandbytes.functional"), weight.contiguous()
    packed, state = functional.quantize_4bit(weight, blocksize=64, compress_statistics=nf4.double, quant_type="nf4")
    return functional.dequantize_4bit(packed, state).float()


def nf4_matrices(folder: Path) -> frozenset[str]:
    """The weights of a folder's model that load_in_4bit rounds: the class is built without weights, and transformers'
    own function replaces its linear modules. Raises TrainingError for a mixture of experts, and where the files do not
    name the weights as the class does."""
    torch, transformers = require("torch"), require("transformers")
    bitsandbytes, base = require("transformers.integrations.bitsandbytes"), require("transformers.quantizers.base")
    refuse_experts(json.loads((folder / "config.json").read_text(encoding="utf-8")), str(folder))
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
    kept = base.HfQuantizer.get_modules_to_not_convert(model, None, model._keep_in_fp32_modules)
    replaced = bitsandbytes.replace_with_bnb_linear(
        model, modules_to_not_convert=kept, quantization_config=transformers.BitsAndBytesConfig(load_in_4bit=True)
    )
    kind = require("bitsandbytes").nn.Linear4bit
    names = frozenset(f"{name}.weight" for name, module in replaced.named_modules() if isinstance(module, kind))
    if missing := names.difference(*map(shapes_in, weight_files(folder))):
        raise TrainingError(
            f"The files of {folder} do not name {min(missing)}, which NF4 rounds: save the model anew by transformers."
        )
    return names


def refuse_experts(config: dict[str, Any], name: str) -> None:
    """TrainingError where a config.json is that of a mixture of experts."""
    if count := experts(config):
        raise TrainingError(
            f"{name} is a mixture of {count} experts, which NF4 would leave unquantised here: choose a dense model."
        )


def cast_unquantized(model: Any, dtype: Any) -> None:
    """Embeddings, norms and biases in `dtype`; 4-bit values stay those of the weights as they were loaded."""
    kind = require("bitsandbytes").nn.Params4bit
    for parameter in model.parameters():
        if parameter.is_floating_point() and not isinstance(parameter, kind):
            parameter.data = parameter.data.to(dtype)


def unpack(model: Any) -> None:
    """Replace each 4-bit linear layer by a plain one that holds the values it stands for, in its compute dtype."""
    torch, kind = require("torch"), require("bitsandbytes").nn.Linear4bit
    for name, module in list(model.named_modules()):
        if not isinstance(module, kind):
            continue
        with torch.device("meta"):
            plain = torch.nn.Linear(module.in_features, module.out_features, bias=False)
        plain.weight = torch.nn.Parameter(base_weight(module), requires_grad=False)
        plain.bias = module.bias
        model.set_submodule(name, plain)
