"""What a training run takes of a GPU's memory (or of the RAM), by part, at its worst moment.

    memory_parts(llama_2_70b, settings, strategy="ddp", num_gpus=4)
    # {"weights": 33.8, "adapter": 4.6, "gradients": 6.2, "optimizer": 6.2, "activations": 11.5, "logits": 2.0, ...}

Every figure is counted from the operations that transformers' decoders and peft do and from what autograd keeps of
them; no factor is fitted. tests/training/test_memory.py holds the counts against autograd's own (saved tensors) and
the sums against the peak of real CPU runs; docs/training.md has the figures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lema_local.settings.architecture import Architecture
from lema_local.settings.training import TrainingSettings
from lema_local.training.launch import Strategy
from lema_local.training.loss import CHUNK

GIB = 2**30
# CUDA context, cuBLAS workspace and kernels: 0.5 to 1 GiB on Ampere and later.
_CUDA_BYTES = 1.0 * GIB
# Python, torch, transformers and peft imported, their threads started: 0.5 GiB, and the kernels' code as it is used.
_CPU_BYTES = 0.6 * GIB
# What is planned must leave this share free. CUDA's caching allocator fragments a little; on a CPU the C library's heap
# keeps freed blocks that nothing fits: 15 to 27% above what is in use were measured (docs/training.md).
_FREE_SHARE = 0.05
_CPU_FREE_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What goes through the model at once: `length` tokens in each row, logits at `kept` of them, loss at `targets`."""

    rows: int
    length: int
    kept: int
    targets: int

    @classmethod
    def longest(cls, settings: TrainingSettings) -> "MicroBatch":
        """The largest that the settings allow: every row is full (packed rows are no longer), and the prompts' ends lie
        so far apart that logits are kept everywhere."""
        length = settings.source_max_length + settings.target_max_length + 1  # BOS
        return cls(settings.per_device_batch_size, length, length, settings.target_max_length)


def fits(memory: Mapping[str, float], memory_gib: float, strategy: Strategy) -> bool:
    """Whether these parts (GiB) fit one GPU (or the RAM), with room for what the allocator loses."""
    return needed_gib(memory, strategy) <= memory_gib


def needed_gib(memory: Mapping[str, float], strategy: Strategy) -> float:
    """The smallest memory that these parts fit."""
    return sum(memory.values()) / (1 - (_CPU_FREE_SHARE if strategy == "cpu" else _FREE_SHARE))


def memory_parts(
    architecture: Architecture,
    settings: TrainingSettings,
    *,
    strategy: Strategy,
    num_gpus: int,
    batch: MicroBatch | None = None,
    memory_gib: float = 0.0,
) -> dict[str, float]:
    """GiB on each GPU by part. Their sum is the peak. On a CPU `memory_gib`, what a process has, decides whether an NF4
    base is unpacked.

    The peak comes either when the loss is computed, or, with gradient checkpointing, when a layer is computed again
    after the logits are gone: of that layer only what exceeds the logits counts, so that the parts add up.
    """
    a, batch = architecture, batch or MicroBatch.longest(settings)
    size = compute_bytes(settings, on_cpu=strategy == "cpu")
    shards = max(num_gpus, 1) if strategy == "fsdp" else 1
    tokens, is_full = batch.rows * batch.length, settings.method == "full"
    adapter = 0 if is_full else a.lora_parameters(settings.lora_r)
    trained = a.parameters if is_full else adapter
    autocast = 2 if size == 2 else 0  # float32 weights that are trained have a bfloat16 copy while a step lasts
    is_unpacked = strategy == "cpu" and unpacks(a.parameters, size, memory_gib)
    linear = replace(settings, quantization="none") if is_unpacked else settings
    base = float(a.parameters * (4 + autocast)) if is_full else _base_bytes(a, linear, size)

    layer = layer_bytes(a, settings, size=size, on_cpu=strategy == "cpu", length=batch.length)
    kept_layers = a.layers * (a.hidden_size * size if settings.gradient_checkpointing else layer)
    stored = tokens * (kept_layers + a.hidden_size * 4)  # the last norm's input
    # in the backward pass of a layer: its activations once more, and three gradients as wide as the feed-forward
    again = tokens * ((layer if settings.gradient_checkpointing else 0) + 3 * a.intermediate_size * size)
    logits = _logit_bytes(a, batch, size, strategy)
    parts = {
        "weights": base / shards,
        "adapter": adapter * (4 + autocast) / shards,
        # DDP sends the gradients from buckets of its own
        "gradients": trained * 4 * (2 if strategy == "ddp" else 1) / shards,
        "optimizer": trained * 8 / shards,  # AdamW: two float32 moments
        "activations": stored + max(0.0, again - logits),
        "logits": logits,
        "workspace": _workspace_bytes(a, linear, size=size, strategy=strategy),
    }
    return {part: bytes_ / GIB for part, bytes_ in parts.items()}


def unpacks(parameters: int, size: int, memory_gib: float) -> bool:
    """Whether a CPU's memory (of one process) has room to keep an NF4 base unpacked, `size` bytes a parameter: a
    quarter of it, for what a product then costs less."""
    return parameters * size <= memory_gib * GIB / 4


def compute_bytes(settings: TrainingSettings, *, on_cpu: bool) -> int:
    """Bytes of a value in the compute dtype."""
    is_float32 = settings.compute_dtype == "float32" or (settings.compute_dtype == "auto" and on_cpu)
    return 4 if is_float32 else 2


def _base_bytes(a: Architecture, settings: TrainingSettings, size: int) -> float:
    return linear_bytes(a, settings, size) + a.other_parameters * size


def linear_bytes(a: Architecture, settings: TrainingSettings, size: int) -> float:
    """4 bits a weight and a constant per block of 64: 32 bits, or 8 + 32/256 quantised doubly (arXiv 2305.14314, 3)."""
    if settings.quantization == "none":
        return float(a.linear_parameters * size)
    constants = (8 + 32 / 256) / 64 if settings.double_quantization else 32 / 64
    return a.linear_parameters * (4 + constants) / 8


def layer_bytes(a: Architecture, settings: TrainingSettings, *, size: int, on_cpu: bool, length: int) -> float:
    """Bytes that autograd keeps of one layer, per token.

    norms        their float32 input and its float32 root mean square
    attention    rotated queries and keys, values, output; float32 log-sum-exp of each head's scores (fused attention;
                 ours, training/attention.py, keeps no sums);
                 eager: keys and values once for each head, and each head's row of weights, `length` long
    feed-forward gate, its activation, up; on a CPU gate and up
    LoRA         for each module its input after dropout in the compute dtype, the dropout's mask (a byte) and r values;
                 on a CPU (training/lora_linear.py) each distinct input once and no mask
    full         instead of those: the normalised values before the norm's weight, and each distinct linear input
    """
    hidden, wide, q, k = a.hidden_size, a.intermediate_size, a.queries, a.keys
    is_lean = on_cpu and settings.method == "lora" and a.norms_per_layer == 2
    norms = a.norms_per_layer * (hidden + 1) * 4
    if a.qk_norm:
        norms += (q + k) * (size if is_lean else 4) + (a.heads + a.kv_heads) * 4
    is_eager = settings.attention == "eager" or a.is_soft_capped
    eager_output = q if is_eager else 0
    if is_eager:
        weights = 4 + (size if size < 4 else 0) + (size if a.is_soft_capped else 0)  # softmax is float32
        attention = 3 * q * size + a.heads * length * weights
    else:
        is_ours = on_cpu and size < 4 and settings.attention == "auto" and settings.method == "lora"
        attention = (2 * q + 2 * k) * size + (0 if is_ours else a.heads * 4)
    feed_forward = (2 if is_lean else 3) * wide * size
    inputs = [inputs for inputs, _ in a.linear_shapes.values()]
    if settings.method == "full":
        normalised = a.norms_per_layer * hidden + (q + k if a.qk_norm else 0)
        # Gemma multiplies in float32; fused attention's output is o_proj's input, the eager one's is copied
        learned = normalised * (4 if a.norms_per_layer > 2 else size) + (2 * hidden + wide + eager_output) * size
        return float(norms + attention + feed_forward + learned)
    masks = sum(inputs) if settings.lora_dropout and not on_cpu else 0
    shared = on_cpu or (size == 4 and not masks)
    adapters = masks + ((2 * hidden + wide + eager_output) if shared else sum(inputs)) * size
    return float(norms + attention + feed_forward + adapters + len(inputs) * settings.lora_r * size)


def _logit_bytes(a: Architecture, batch: MicroBatch, size: int, strategy: Strategy) -> float:
    """Bytes of logits and what is made of them. In chunks (training/loss.py): two float32 copies of one chunk, and the
    hidden states with loss and their gradient.

    Where logits are capped, or lm_head is sharded, all at once, at the worst of three moments: log-softmax forward (the
    logits, those with loss, their float32 copy, the result); its backward (result, the loss's gradient, its own); the
    gradient spread over all kept positions (twice: by index, by slice)."""
    if not a.is_soft_capped and strategy != "fsdp":
        targets = batch.rows * batch.targets
        return 8 * min(CHUNK, targets) * a.vocab_size + 2 * targets * a.hidden_size * size
    copies = size + 4 + (4 if size < 4 else 0)
    worst = max(size * batch.kept + copies * batch.targets, 12 * batch.targets, 2 * size * batch.kept)
    return batch.rows * a.vocab_size * (worst + (2 * size * batch.kept if a.is_soft_capped else 0))


def _workspace_bytes(a: Architecture, settings: TrainingSettings, *, size: int, strategy: Strategy) -> float:
    """The runtime; the largest matrix unpacked (bitsandbytes unpacks one at a time); what FSDP gathers: the layer at
    work and the next one, still packed, and all that is in no layer (embedding and lm_head)."""
    runtime = _CPU_BYTES if strategy == "cpu" else _CUDA_BYTES
    unpacked = 0.0
    if settings.quantization == "nf4":
        unpacked = max(inputs * outputs for inputs, outputs in a.linear_shapes.values()) * size
    gathered = 0.0
    if strategy == "fsdp":
        gathered = 2 * linear_bytes(a, settings, size) / a.layers + a.other_parameters * size
    return runtime + unpacked + gathered
