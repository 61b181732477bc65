"""The model of a run as it trains: a frozen base (NF4 or plain) with a LoRA adapter, or all of its weights.

    load_model("HuggingFaceTB/SmolLM2-135M-Instruct", base, settings)   PeftModel: 19.5 of 154 million parameters train

The same code on a CPU, on CUDA, and where accelerate shards the model over several GPUs (FSDP, arXiv 2304.11277).
"""

import importlib.util
import math
import os
from pathlib import Path
from typing import Any

from lema_local.errors import TrainingError
from lema_local.hardware import ram_gib
from lema_local.settings.training import Attention, TrainingSettings
from lema_local.training import attention, lora_linear, pointwise
from lema_local.training.base import BaseModel, default_cache
from lema_local.training.failures import cannot_load
from lema_local.training.memory import unpacks
from lema_local.training.nf4 import nf4_folder
from lema_local.training.packages import require
from lema_local.training.quantization import Nf4, cast_unquantized, refuse_experts, unpack
from lema_local.training.weights import shapes_in, weight_files


def attention_implementation(wanted: Attention, *, on_cuda: bool, is_nf4: bool = True) -> str | None:
    """What transformers is asked for: `auto` is flash_attention_2 where CUDA and its package are there and the base is
    NF4, else None, its own choice: sdpa, and eager for families that have no other (Gemma 2). A base that is not is
    asked a few tokens before it is on a GPU, or in float32: flash attention takes neither."""
    has_flash = on_cuda and importlib.util.find_spec("flash_attn") is not None
    if wanted == "flash_attention_2" and not has_flash:
        raise TrainingError(
            'training.attention = "flash_attention_2" needs CUDA and the package flash-attn: take "auto" or "sdpa".'
        )
    return ("flash_attention_2" if has_flash and is_nf4 else None) if wanted == "auto" else wanted


def load_model(place: str, base: BaseModel, settings: TrainingSettings, *, cache: Path | None = None) -> Any:
    """The frozen base (NF4 or plain) with a fresh LoRA adapter on every linear layer but lm_head; or, for method full,
    the model itself, all its weights trained in float32 (bfloat16 is autocast's there, over these).

    On a CPU that has room for them an NF4 base is the values that it stands for. Those of a GGUF are kept in `cache`
    (None: default_cache()), as its weights are: rounding 135M weights takes six seconds of CPU, reading them one."""
    torch, transformers, peft = require("torch"), require("transformers"), require("peft")
    on_cuda = torch.cuda.is_available()
    on_cpu = not on_cuda and not is_sharded()
    automatic = "bfloat16" if on_cuda else "float32"
    wanted = automatic if settings.compute_dtype == "auto" else settings.compute_dtype
    dtype = torch.float32 if settings.method == "full" else getattr(torch, wanted)
    quantization = device_map = None
    is_nf4 = settings.quantization == "nf4"
    if is_nf4 and on_cpu and base.gguf_path is not None and _has_room(Path(place), dtype):
        nf4 = Nf4(double=settings.double_quantization)
        place = str(nf4_folder(place, cache=cache or default_cache(), nf4=nf4, dtype=wanted))
    elif is_nf4:
        quantization = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=settings.double_quantization,
            bnb_4bit_compute_dtype=dtype,
            # FSDP flattens parameters of one dtype only, so the packed 4-bit values must pose as the others' dtype.
            bnb_4bit_quant_storage=dtype if is_sharded() else torch.uint8,
        )
        # What is to be sharded is quantised in host memory: a GPU that cannot hold all of it gets its shard alone.
        to_gpu = on_cuda and not is_sharded()
        device_map = {"": int(os.environ.get("LOCAL_RANK", "0")) if to_gpu else "cpu"}
    try:
        config = transformers.AutoConfig.from_pretrained(place)
        refuse_experts(config.to_dict(), base.name)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            place,
            dtype=dtype if quantization is None else "auto",  # NF4 rounds what the file has
            quantization_config=quantization,
            device_map=device_map,
            attn_implementation=attention_implementation(settings.attention, on_cuda=on_cuda, is_nf4=is_nf4),
        )
    except (OSError, ValueError, ImportError) as error:
        raise TrainingError(cannot_load(base, error)) from error
    if quantization is not None:
        cast_unquantized(model, dtype)
    if on_cpu:
        if quantization is not None and unpacks(model.num_parameters(), dtype.itemsize, _memory_gib()):
            unpack(model)
        if dtype is torch.bfloat16 and settings.attention == "auto":
            attention.use(model)
    model.config.use_cache = False  # with a cache transformers would not look for packed examples, and mix them
    transformers.set_seed(settings.seed)
    if settings.method == "full":
        return model
    if settings.gradient_checkpointing:
        model.enable_input_require_grads()  # a frozen embedding's output would cut the graph of the first segment
    adapted = peft.get_peft_model(
        model,
        peft.LoraConfig(
            r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules="all-linear",  # peft leaves the output layer out
            task_type="CAUSAL_LM",
        ),
    )
    if on_cpu:
        pointwise.use(model)
        pointwise.keep_stream(model)
        lora_linear.fuse(adapted)
    return adapted


def _has_room(folder: Path, dtype: Any) -> bool:
    """Whether the memory has room for the weights of these files, unpacked."""
    shapes = [shape for file in weight_files(folder) for shape in shapes_in(file).values()]
    return unpacks(sum(map(math.prod, shapes)), dtype.itemsize, _memory_gib())


def _memory_gib() -> float:
    """What one of this machine's training processes has."""
    return ram_gib() / int(os.environ.get("WORLD_SIZE", "1"))


def is_sharded() -> bool:
    """Whether accelerate was told to shard the model over the processes (FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def uses_flash(model: Any) -> bool:
    """Whether attention takes examples laid end to end, by their position ids, and no mask."""
    return str(getattr(model.config, "_attn_implementation", "")).startswith("flash")
