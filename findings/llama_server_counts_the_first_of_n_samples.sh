#!/usr/bin/env bash
# llama.cpp's server counts, of n samples that one request brought, the tokens of the first alone.
#
# Our guess: usage.completion_tokens is the sum over all choices, as OpenAI's is. Seen with the llama.cpp in xllamacpp
# 2026.10.11549, over a random Llama of one layer: n = 3 and max_tokens = 8 bring three texts that each ended at their
# length, and completion_tokens 8. Costs, tokens a second and budgets that add usage up are too small by a factor of n.
# Fails where that changes. So lema knows that server by the `timings` in its reply, keeps the sample that was counted,
# and asks it for one at a time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "xllamacpp==2026.10.11549" "gguf==0.19.0"
cd "$folder"
cat > ask.py <<'PY'
import json
import os
import urllib.request
from importlib.metadata import version

import gguf
import numpy as np
import xllamacpp

WIDTH, INNER = 64, 128
# byte-level BPE: each byte is a letter of its own, printable ones themselves
LETTERS = [chr(k) for k in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
WORDS = ["<|begin|>", "<|end|>", *LETTERS, "12"]


def write_model(path: str) -> None:
    writer, random = gguf.GGUFWriter(path, "llama"), np.random.default_rng(0)
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // 4)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, *[1] * (len(WORDS) - 2)])
    writer.add_token_merges(["1 2"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    for name, *shape in (
        ("token_embd", len(WORDS), WIDTH),
        ("output", len(WORDS), WIDTH),
        *((f"blk.0.attn_{part}", WIDTH, WIDTH) for part in ("q", "k", "v", "output")),
        ("blk.0.ffn_gate", INNER, WIDTH),
        ("blk.0.ffn_up", INNER, WIDTH),
        ("blk.0.ffn_down", WIDTH, INNER),
    ):
        writer.add_tensor(f"{name}.weight", random.normal(scale=0.1, size=shape).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


write_model("random.gguf")
settings = xllamacpp.CommonParams()
settings.model.path, settings.n_ctx, settings.n_parallel, settings.cpuparams.n_threads = "random.gguf", 2048, 4, 1
server = xllamacpp.Server(settings)
body = {"prompt": "12 + 12 =", "max_tokens": 8, "n": 3, "temperature": 1.0, "seed": 7}
request = urllib.request.Request(
    f"{server.listening_address}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
)
with urllib.request.urlopen(request, timeout=120) as answer:
    reply = json.load(answer)
ends, counted = [choice["finish_reason"] for choice in reply["choices"]], reply["usage"]["completion_tokens"]
print("xllamacpp", version("xllamacpp"), ends, "completion_tokens", counted, flush=True)
assert ends == ["length"] * 3, "three texts of eight tokens did not come"
assert counted == 8, "it no longer counts the first alone"
assert "timings" in reply, "the reply no longer has timings"
os._exit(0)  # the server's threads have no end of their own
PY
"$folder/venv/bin/python" ask.py 2> log || { tail -n 20 log; exit 1; }
