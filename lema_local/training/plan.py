"""plan(): what a training run would do, without a GPU, weights or torch. The dry run prints it.

    {"model": "llama-2-70b", "dataset": "gsm8k", "arms": ["cot", "lema"], "max_steps": 2000, "global_batch_size": 96,
     "per_device_batch_size": 6, "gradient_accumulation_steps": 4, "num_gpus": 4, "epochs": {"cot": 5.92, "lema": 4.27},
     "memory_per_gpu_gib": {"weights": 34.3, "adapter": 6.2, ...}, "fits": true, "strategy": "ddp",
     "launch": "accelerate launch --multi_gpu --num_processes 4 ..."}

The memory is an estimate from the model's shapes at the longest rows allowed; every formula stands at its function.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lema_local.training.settings import TrainingSettings

Strategy = Literal["cpu", "single", "ddp", "fsdp"]

GIB = 2**30
# CUDA context, cuBLAS workspace and kernels: 0.5 to 1 GiB on Ampere and later. On CPU: Python, torch and transformers.
_RUNTIME_BYTES = 1.0 * GIB
# The caching allocator fragments: what is planned must leave this share of the memory free.
_FREE_SHARE = 0.05
_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The shapes of a decoder of the Llama family (config.json's names: hidden_size, num_hidden_layers, ...)."""

    hidden_size: int
    layers: int
    intermediate_size: int
    vocab_size: int
    heads: int
    kv_heads: int
    head_dim: int | None = None  # None: hidden_size / heads
    parameters: int | None = None  # all of them; None: counted from the shapes, with an lm_head of its own
    bytes_per_parameter: float = 2.0  # as served

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of a layer's linear modules, by name."""
        head = self.head_dim or self.hidden_size // self.heads
        hidden, wide, queries, keys = self.hidden_size, self.intermediate_size, self.heads * head, self.kv_heads * head
        shapes = ((hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden))
        return dict(zip(_TARGETS, (*shapes, (hidden, wide), (hidden, wide), (wide, hidden)), strict=True))

    @property
    def linear_parameters(self) -> int:
        """Parameters that NF4 packs and LoRA adapts."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_shapes.values())

    @property
    def other_parameters(self) -> int:
        """Embedding, lm_head and norms: they stay in the compute dtype."""
        if self.parameters is not None:
            return self.parameters - self.linear_parameters
        return 2 * self.vocab_size * self.hidden_size + (2 * self.layers + 1) * self.hidden_size

    def lora_parameters(self, r: int) -> int:
        """Two matrices of rank r, inputs x r and r x outputs, on every linear module (arXiv 2106.09685)."""
        return self.layers * sum(r * (inputs + outputs) for inputs, outputs in self.linear_shapes.values())


def plan(
    *,
    model: str,
    dataset: str,
    arms: Mapping[str, int],
    settings: TrainingSettings,
    architecture: Architecture,
    num_gpus: int,
    memory_gib: float,
    job: str = "RUN/job.json",
) -> dict[str, Any]:
    """The plan as JSON-able fields. `arms` gives each arm's examples; `memory_gib` is that of one GPU (or the RAM).

    `num_gpus` 0 means the CPU. The strategy is one replica per GPU (ddp) where that fits, the base sharded over the
    GPUs (fsdp) where it does not. Raises TrainingError where the global batch cannot be split evenly.
    """
    processes = settings.processes or max(num_gpus, 1)
    accumulation = settings.accumulation(processes)
    strategy = choose_strategy(architecture, settings, num_gpus=num_gpus, memory_gib=memory_gib)
    memory = memory_parts(architecture, settings, strategy=strategy, num_gpus=num_gpus)
    samples = settings.max_steps * settings.global_batch_size
    return {
        "model": model,
        "dataset": dataset,
        "arms": list(arms),
        "max_steps": settings.max_steps,
        "save_steps": settings.save_steps,
        "global_batch_size": settings.global_batch_size,
        "per_device_batch_size": settings.per_device_batch_size,
        "gradient_accumulation_steps": accumulation,
        "num_gpus": num_gpus,
        "learning_rate": settings.learning_rate,
        "lora": {
            "r": settings.lora_r,
            "alpha": settings.lora_alpha,
            "dropout": settings.lora_dropout,
            "target_modules": list(_TARGETS),
        },
        "quantization": {
            "type": settings.quantization,
            "double": settings.quantization == "nf4" and settings.double_quantization,
        },
        "source_max_length": settings.source_max_length,
        "target_max_length": settings.target_max_length,
        "epochs": {arm: round(samples / examples, 2) if examples else None for arm, examples in arms.items()},
        "memory_per_gpu_gib": {part: round(size, 2) for part, size in memory.items()},
        "fits": _fits(memory, memory_gib),
        "strategy": strategy,
        "launch": shlex.join(
            launch_arguments(job, strategy=strategy, num_processes=processes, config=settings.accelerate_config)
        ),
    }


def choose_strategy(
    architecture: Architecture, settings: TrainingSettings, *, num_gpus: int, memory_gib: float
) -> Strategy:
    """One replica per GPU (ddp) where that fits, the base sharded over the GPUs (fsdp) where it does not."""
    if num_gpus < 2:
        return "single" if num_gpus else "cpu"
    replica = memory_parts(architecture, settings, strategy="ddp", num_gpus=num_gpus)
    return "ddp" if _fits(replica, memory_gib) else "fsdp"


def _fits(memory: Mapping[str, float], memory_gib: float) -> bool:
    return sum(memory.values()) <= memory_gib * (1 - _FREE_SHARE)


def memory_parts(
    architecture: Architecture, settings: TrainingSettings, *, strategy: Strategy, num_gpus: int
) -> dict[str, float]:
    """GiB on each GPU by part, for micro-batches of the longest rows allowed (source + target)."""
    size = 4 if settings.compute_dtype == "float32" or (settings.compute_dtype == "auto" and strategy == "cpu") else 2
    lora = architecture.lora_parameters(settings.lora_r)
    tokens = settings.per_device_batch_size * (settings.source_max_length + settings.target_max_length)
    shards = num_gpus if strategy == "fsdp" else 1
    layer = max(inputs * outputs for inputs, outputs in architecture.linear_shapes.values())
    # FSDP gathers one decoder layer at a time, still packed; bitsandbytes unpacks one matrix at a time.
    gathered = _linear_bytes(architecture, settings, size) / architecture.layers if shards > 1 else 0.0
    parts = {
        "weights": (_linear_bytes(architecture, settings, size) + architecture.other_parameters * size) / shards,
        "adapter": lora * (4 + 4) / shards,  # float32 weights and gradients
        "optimizer": lora * 8 / shards,  # AdamW: two float32 moments
        "activations": tokens * _activation_bytes(architecture, settings, size),
        # logits and their gradient in the compute dtype; float32 copy, log-softmax and gradient in the loss
        "logits": float(tokens * architecture.vocab_size * (2 * size + 12)),
        "workspace": _RUNTIME_BYTES + gathered + (layer * size if settings.quantization == "nf4" else 0),
    }
    return {part: bytes_ / GIB for part, bytes_ in parts.items()}


def _linear_bytes(architecture: Architecture, settings: TrainingSettings, size: int) -> float:
    """4 bits a weight and a constant per block of 64: 32 bits, or 8 + 32/256 quantised doubly (arXiv 2305.14314, 3)."""
    if settings.quantization == "none":
        return float(architecture.linear_parameters * size)
    constants = (8 + 32 / 256) / 64 if settings.double_quantization else 32 / 64
    return architecture.linear_parameters * (4 + constants) / 8


def _activation_bytes(architecture: Architecture, settings: TrainingSettings, size: int) -> float:
    """Bytes kept per token for the backward pass.

    Per layer, counted from the operations of transformers' Llama with fused attention: two norms keep their input and
    its float32 copies (10 bytes + 2 sizes each), rotary and attention keep queries twice, keys and values twice and the
    output, the feed-forward keeps gate, its activation, up and their product; each LoRA module keeps its float32 input
    after dropout (4 bytes), the dropout's mask (1 byte) and r values. With gradient checkpointing only each layer's
    input is kept, and one layer's activations while it is computed again (arXiv 1604.06174).
    """
    shapes = architecture.linear_shapes
    hidden, wide = architecture.hidden_size, architecture.intermediate_size
    queries, keys = shapes["q_proj"][1], shapes["k_proj"][1]
    norms = 2 * hidden * (10 + 2 * size)
    attention = size * (3 * queries + 4 * keys)
    feed_forward = size * 4 * wide
    dropped = sum(inputs for inputs, _ in shapes.values()) * ((4 + 1) if settings.lora_dropout else 0)
    layer = norms + attention + feed_forward + dropped + 4 * settings.lora_r * len(shapes)
    if settings.gradient_checkpointing:
        return architecture.layers * hidden * size + layer
    return architecture.layers * layer


def launch_arguments(job: str, *, strategy: Strategy, num_processes: int, config: str = "") -> list[str]:
    """The command that trains `job` (the path of a job file, training/job.py) under accelerate.

    With `config`, a file that `accelerate config` wrote, nothing else is said: the file decides.
    """
    if config:
        return ["accelerate", "launch", "--config_file", config, "--module", "lema_local.training.run", "--job", job]
    if strategy == "cpu" and num_processes > 1:
        # accelerate launch starts several processes on CPUs through MPI only; under torchrun it finds them with gloo
        launcher = ["torchrun", "--standalone", "--nproc_per_node", str(num_processes)]
        return [*launcher, "--module", "lema_local.training.run", "--job", job]
    # num_machines and dynamo_backend are accelerate's own defaults: unsaid, it prints a warning.
    common = ["--num_machines", "1", "--dynamo_backend", "no", "--module", "lema_local.training.run", "--job", job]
    processes = ["--num_processes", str(num_processes)]
    if strategy == "cpu":
        return ["accelerate", "launch", "--cpu", *processes, "--mixed_precision", "no", *common]
    if strategy == "fsdp":
        # QLoRA under FSDP: one flat dtype (bnb_4bit_quant_storage), LoRA and frozen weights wrapped apart, and a full
        # state dict, so that the adapter is written as one file.
        sharding = {
            "--fsdp_version": "1",
            "--fsdp_sharding_strategy": "FULL_SHARD",
            "--fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "--fsdp_state_dict_type": "FULL_STATE_DICT",
            "--fsdp_use_orig_params": "false",
            "--fsdp_cpu_ram_efficient_loading": "true",
            "--fsdp_sync_module_states": "true",
        }
        flags = [word for pair in sharding.items() for word in pair]
        return ["accelerate", "launch", "--use_fsdp", *flags, *processes, "--mixed_precision", "bf16", *common]
    several = ["--multi_gpu"] if num_processes > 1 else []
    return ["accelerate", "launch", *several, *processes, "--mixed_precision", "bf16", *common]
