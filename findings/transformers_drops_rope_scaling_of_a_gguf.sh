#!/usr/bin/env bash
# transformers reads a GGUF of Llama 3.1 or 3.2 without its scaled positions: what it trains is not what is served.
#
# Our guess: the scaling comes along, or the file is refused. llama.cpp's converter writes Llama 3's as a tensor,
# rope_freqs.weight: by how much each frequency is divided. Seen with transformers 5.24.0, gguf 0.19.0, torch 2.13.0: a
# random Llama with that tensor loads without a word, its rope_type is "default" and its frequencies are those of the
# same file without the tensor. llama.cpp divides by it, so that an adapter is trained over another model than the one
# that it is served on.
# Fails where that changes. So lema reads the tensor itself, and refuses a scaling that is not Llama 3's.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
    "torch==2.13.0" "transformers==5.24.0" "accelerate==1.15.0" "gguf==0.19.0"
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers

WIDTH, INNER, WORDS = 64, 128, 300
FACTORS = [1, 1, 1, 1, 1.6, 4, 8, 8]  # of 8 frequencies, as for Llama 3.1's factor 8


def write_model(path: Path, *, factors: bool) -> None:
    writer, random = gguf.GGUFWriter(path, "llama"), np.random.default_rng(0)
    writer.add_block_count(1)
    writer.add_context_length(131_072)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(500_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(WORDS)
    for name, *shape in (
        ("token_embd", WORDS, WIDTH),
        ("output", WORDS, WIDTH),
        *((f"blk.0.attn_{part}", WIDTH, WIDTH) for part in ("q", "k", "v", "output")),
        ("blk.0.ffn_gate", INNER, WIDTH),
        ("blk.0.ffn_up", INNER, WIDTH),
        ("blk.0.ffn_down", WIDTH, INNER),
    ):
        writer.add_tensor(f"{name}.weight", random.normal(scale=0.1, size=shape).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    if factors:
        writer.add_tensor("rope_freqs.weight", np.array(FACTORS, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


models = []
for factors in (False, True):
    file = Path(f"{'scaled' if factors else 'plain'}.gguf")
    write_model(file, factors=factors)
    models.append(
        transformers.AutoModelForCausalLM.from_pretrained(
            ".", gguf_file=file.name, quantization_config=transformers.GgufConfig(dequantize=True), dtype=torch.float32
        )
    )
plain, scaled = models
print("transformers", transformers.__version__, scaled.config.rope_parameters)
assert scaled.config.rope_parameters["rope_type"] == "default", "the scaling is no longer dropped"
assert torch.equal(plain.model.rotary_emb.inv_freq, scaled.model.rotary_emb.inv_freq), "the frequencies are scaled now"
ids = torch.arange(200)[None]
with torch.no_grad():
    assert torch.equal(plain(ids).logits, scaled(ids).logits), "the two files are two models now"
PY
