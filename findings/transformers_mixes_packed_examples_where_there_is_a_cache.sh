#!/usr/bin/env bash
# transformers keeps packed examples apart by their position ids, but not with a cache, and a cache is the default.
#
# Our guess: position ids that begin anew (0 1 2 .. 0 1 2 ..) are the border of an example, or are not, whatever else is
# asked for. Seen with transformers 5.24.0, torch 2.13.0 on a CPU, sdpa, random models of Llama's and Gemma 3's kind:
# with use_cache=False the logits of an example do not move when the one before it in the pack changes; as the model is
# called by default (use_cache=True), or with an attention mask of ones, they do, and nothing is said. So an evaluation
# or a loop of one's own over packed rows lets examples see each other.
# Fails where that changes. So lema turns the cache off and gives no mask, and refuses to pack for a model whose logits
# move all the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile "torch==2.13.0" "transformers==5.24.0"
"$folder/venv/bin/python" - <<'PY'
import torch
import transformers

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
POSITIONS = torch.cat([torch.arange(8), torch.arange(12)])[None]


def moved(model: torch.nn.Module, **options: object) -> float:
    """By how much the second example's logits change with the first example's tokens."""
    logits = []
    for first in (range(4, 12), range(20, 28)):
        ids = torch.tensor([[*first, *range(30, 42)]])
        with torch.no_grad():
            logits.append(model(input_ids=ids, position_ids=POSITIONS, **options).logits[:, 8:])
    return float((logits[0] - logits[1]).abs().max())


torch.manual_seed(0)
for config in (transformers.LlamaConfig(**SHAPE), transformers.Gemma3TextConfig(**SHAPE)):
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    apart, plain = moved(model, use_cache=False), moved(model)
    masked = moved(model, use_cache=False, attention_mask=torch.ones_like(POSITIONS))
    print("transformers", transformers.__version__, config.model_type, apart, round(plain, 3), round(masked, 3))
    assert apart == 0.0, "examples are no longer kept apart without a cache"
    assert plain > 0.01, "a cache no longer mixes them"
    assert masked > 0.01, "a mask no longer mixes them"
PY
