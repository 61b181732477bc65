"""Architecture: the shapes of a decoder, from models.toml or from a config.json, and what can be counted from them.

Architecture(hidden_size=4096, layers=32, intermediate_size=11008, vocab_size=32000, heads=32, kv_heads=32)
    .parameters                 # 6,738,415,616: Llama 2 7B, as published
    .lora_parameters(64)        # 159,907,840
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

# config.json's model_type -> what its decoder has beyond Llama's
_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "smollm3": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
    "gemma2": {"norms_per_layer": 4, "is_soft_capped": True},
    "gemma3_text": {"norms_per_layer": 4, "qk_norm": True},
}
# where a config.json may be silent, transformers' default
_TIED_BY_DEFAULT = ("gemma2", "gemma3_text", "smollm3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The shapes of a decoder: Llama, Mistral, Qwen2, Qwen3, Gemma 2 and 3 (text), SmolLM.

    config.json's names: hidden_size, num_hidden_layers, ...; head_dim where it is not hidden / heads.
    """

    hidden_size: int
    layers: int
    intermediate_size: int
    vocab_size: int
    heads: int
    kv_heads: int
    head_dim: int | None = None  # None: hidden_size / heads
    is_tied: bool = False  # lm_head is the embedding
    qkv_bias: bool = False  # Qwen2
    qk_norm: bool = False  # a norm over each head of queries and keys: Qwen3, Gemma 3
    norms_per_layer: int = 2  # Gemma: 4
    is_soft_capped: bool = False  # Gemma 2: tanh over attention scores and logits, which no fused attention does
    bytes_per_parameter: float = 2.0  # as served

    @property
    def head_size(self) -> int:
        return self.head_dim or self.hidden_size // self.heads

    @property
    def queries(self) -> int:
        """Outputs of q_proj; with grouped queries more than those of k_proj."""
        return self.heads * self.head_size

    @property
    def keys(self) -> int:
        """Outputs of k_proj, and of v_proj."""
        return self.kv_heads * self.head_size

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of a layer's linear modules, by name."""
        hidden, wide, queries, keys = self.hidden_size, self.intermediate_size, self.queries, self.keys
        shapes = ((hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden))
        return dict(zip(TARGETS, (*shapes, (hidden, wide), (hidden, wide), (wide, hidden)), strict=True))

    @property
    def linear_parameters(self) -> int:
        """Parameters that NF4 packs and LoRA adapts."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_shapes.values())

    @property
    def embedding_parameters(self) -> int:
        """The embedding, and lm_head where it has weights of its own."""
        return (1 if self.is_tied else 2) * self.vocab_size * self.hidden_size

    @property
    def other_parameters(self) -> int:
        """Embedding, lm_head, norms and biases: they stay in the compute dtype."""
        norms = self.norms_per_layer * self.hidden_size + (2 * self.head_size if self.qk_norm else 0)
        biases = self.queries + 2 * self.keys if self.qkv_bias else 0
        return self.embedding_parameters + self.layers * (norms + biases) + self.hidden_size

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.linear_parameters + self.other_parameters

    def lora_parameters(self, r: int) -> int:
        """Two matrices of rank r, inputs x r and r x outputs, on every linear module (arXiv 2106.09685)."""
        return self.layers * sum(r * (inputs + outputs) for inputs, outputs in self.linear_shapes.values())


def from_config(config: Mapping[str, Any]) -> Architecture | None:
    """The shapes that a config.json tells of; None for a family that is not known here (mixtures of experts, ...)."""
    family = config.get("model_type")
    if family not in _FAMILIES:
        return None
    extra = dict(_FAMILIES[family])
    if config.get("attention_bias") and family == "llama":
        return None  # a bias on o_proj too: no model that we know has it
    try:
        heads = int(config["num_attention_heads"])
        return Architecture(
            hidden_size=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            intermediate_size=int(config["intermediate_size"]),
            vocab_size=int(config["vocab_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config["head_dim"]) if config.get("head_dim") else None,
            is_tied=bool(config.get("tie_word_embeddings", family in _TIED_BY_DEFAULT)),
            **extra,
        )
    except (KeyError, TypeError, ValueError):
        return None


def from_gguf(metadata: Mapping[str, Any], *, is_tied: bool) -> Architecture | None:
    """The same from a GGUF's metadata (keys of github.com/ggml-org/ggml/blob/master/docs/gguf.md); it has no lm_head
    tensor (`output.weight`) where embeddings are tied."""
    family = str(metadata.get("general.architecture", ""))
    known = "gemma3_text" if family == "gemma3" else family
    if known not in _FAMILIES:
        return None
    names = {
        "hidden_size": "embedding_length",
        "num_hidden_layers": "block_count",
        "intermediate_size": "feed_forward_length",
        "vocab_size": "vocab_size",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
    }
    found = {name: metadata.get(f"{family}.{key}") for name, key in names.items()}
    return from_config({**found, "model_type": known, "tie_word_embeddings": is_tied})


def experts(config: Mapping[str, Any]) -> int:
    """How many experts a config.json tells of, in its text model where it has others too; 0 for a dense model."""
    names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    text = config.get("text_config")
    counts = [config.get(name) for name in names] + ([experts(text)] if isinstance(text, Mapping) else [])
    return max((count for count in counts if isinstance(count, int) and count > 1), default=0)
