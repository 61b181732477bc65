"""Tiny random models, a family each, in transformers and as the GGUF that llama.cpp reads: no tokenizer, float32.

What a family's GGUF has (names of tensors by the package gguf, keys and rows' order) is as in llama.cpp's
convert_hf_to_gguf.py.
"""

from pathlib import Path
from typing import Any

from lema_local.training.adapter_gguf import interleave_rows

LAYERS, WIDTH, HEADS, KV_HEADS, VOCABULARY = 2, 64, 4, 2, 96
_WINDOWED = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 128, "tie_word_embeddings": True}
# transformers' model type -> llama.cpp's architecture, and what its config has beside the common
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "mistral": ("llama", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "gemma2": ("gemma2", _WINDOWED),
    "gemma3_text": ("gemma3", _WINDOWED),
    "phi3": ("phi3", {}),
    "smollm3": ("smollm3", {}),
    "granite": (
        "granite",
        {
            "embedding_multiplier": 2.0,
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.5,
            "logits_scaling": 2.0,
        },
    ),
    "olmo2": ("olmo2", {}),
}
_PERMUTED = ("llama", "smollm3", "granite")


def tiny_of(family: str) -> Any:
    """A model with random weights and norms, in float32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    common = {
        "hidden_size": WIDTH,
        "intermediate_size": 128,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
    }
    config = AutoConfig.for_model(family, **{**common, **FAMILIES[family][1]})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            torch.nn.init.normal_(parameter, std=0.2 if parameter.ndim > 1 else 0.3)
            if "norm" in name and not family.startswith("gemma"):  # Gemma's are kept less one
                parameter += 1
    return model


def write_gguf(model: Any, family: str, target: Path) -> None:
    """The model as llama.cpp reads it."""
    import gguf

    config, architecture = model.config, FAMILIES[family][0]
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    size = getattr(config, "head_dim", None) or WIDTH // HEADS
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer = gguf.GGUFWriter(target, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(128)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(VOCABULARY)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(rope.get("rope_theta", 10_000.0))
    writer.add_tokenizer_model("no_vocab")
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if architecture in ("gemma2", "gemma3", "phi3"):
        writer.add_sliding_window(config.sliding_window or 256)
    if architecture == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    names = gguf.get_tensor_name_map(arch, LAYERS)
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy() + (1 if "norm" in key and family.startswith("gemma") else 0)
        if architecture in _PERMUTED and (".q_proj." in key or ".k_proj." in key):
            values = interleave_rows(values, HEADS if ".q_proj." in key else KV_HEADS)
        writer.add_tensor(names.get_name(key, try_suffixes=(".weight", ".bias")), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
