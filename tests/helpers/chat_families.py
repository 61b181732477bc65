"""Tiny tokenizers of the families of chat models, in each one's manner, as a folder of Hugging Face and as a GGUF file.

The templates are ours: they write turns as the family's own do (model cards of SmolLM2, Qwen 2.5, Llama 3.2, Gemma 2).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXTS = ["Please solve the following math problem. Question: Ada has 12 pens. Answer: The answer is 19.\n"] * 3
_CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou do sums.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LLAMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set text = messages[0].content | trim %}"
    "{% set turns = messages[1:] %}{% else %}{% set text = '' %}{% set turns = messages %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\n"
    "Today Date: {% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}26 Jul 2024{% endif %}\n\n"
    "{{ text }}<|eot_id|>"
    "{% for m in turns %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """`end`: what closes a turn. `eos`: the tokenizer's EOS, which Gemma's turns do not end with."""

    name: str
    template: str
    bos: str | None
    eos: str
    end: str
    special: tuple[str, ...]
    adds_bos: bool = False
    is_sentencepiece: bool = False


FAMILIES = (
    Family("smollm2", _CHATML, "<|im_start|>", "<|im_end|>", "<|im_end|>", ("<|im_start|>", "<|im_end|>")),
    Family("qwen2", _CHATML, None, "<|im_end|>", "<|im_end|>", ("<|endoftext|>", "<|im_start|>", "<|im_end|>")),
    Family(
        "llama3",
        _LLAMA,
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|eot_id|>",
        ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
        adds_bos=True,
    ),
    Family(
        "gemma",
        _GEMMA,
        "<bos>",
        "<eos>",
        "<end_of_turn>",
        ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
        adds_bos=True,
        is_sentencepiece=True,
    ),
)


def write_tokenizer(family: Family, folder: Path) -> Any:
    """The tokenizer as transformers loads it, with its chat template, in `folder`."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    alphabet: list[str] = []
    if family.is_sentencepiece:
        # every space is a mark and none is added; bytes for what is not in the vocabulary
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback()])
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340 if alphabet else 120,
        special_tokens=list(family.special),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    if family.is_sentencepiece:
        learned = json.loads(tokenizer.to_str())["model"]
        vocab = learned["vocab"] | {f"<0x{byte:02X}>": len(learned["vocab"]) + byte for byte in range(256)}
        merges = [tuple(pair) for pair in learned["merges"]]
        tokenizer.model = models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    if family.adds_bos:
        first = [(family.bos, tokenizer.token_to_id(family.bos))]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{family.bos} $A", special_tokens=first)
    loaded = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.eos,
        clean_up_tokenization_spaces=False,
        additional_special_tokens=list(family.special),
    )
    loaded.chat_template = family.template
    loaded.save_pretrained(folder)
    (folder / "config.json").write_text("{}")
    return PreTrainedTokenizerFast.from_pretrained(folder)


def write_gguf(family: Family, tokenizer: Any, file: Path) -> Path:
    """The same vocabulary as llama.cpp reads it, without weights."""
    import gguf

    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(pair) for pair in model["merges"]]
    rank = {left + right: place for place, (left, right) in enumerate(model["merges"])}
    writer = gguf.GGUFWriter(file, "llama")
    for add, value in (
        (writer.add_context_length, 512),
        (writer.add_embedding_length, 8),
        (writer.add_block_count, 1),
        (writer.add_feed_forward_length, 8),
        (writer.add_head_count, 1),
        (writer.add_layer_norm_rms_eps, 1e-5),
    ):
        add(value)
    kinds = [_kind(family, token) for token in tokens]
    if family.is_sentencepiece:
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([-float(rank.get(token, len(rank))) for token in tokens])
        writer.add_add_space_prefix(False)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges(merges)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    # a GGUF of Qwen names a BOS that its tokenizer has not
    writer.add_bos_token_id(tokens.index(family.bos or "<|endoftext|>"))
    writer.add_eos_token_id(tokens.index(family.eos))
    writer.add_add_bos_token(family.adds_bos)
    writer.add_chat_template(family.template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _kind(family: Family, token: str) -> Any:
    import gguf

    if token in family.special:
        return gguf.TokenType.CONTROL
    return gguf.TokenType.BYTE if family.is_sentencepiece and token.startswith("<0x") else gguf.TokenType.NORMAL
