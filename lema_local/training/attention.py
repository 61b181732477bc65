"""Softmax attention in bfloat16 on a CPU, by matrix products: three times as fast as torch's fused kernel.

    use(model)      the model's layers attend by it, where they attend as Llama's do

torch 2.9's fused attention for CPUs takes 22 ms forward and backward for 4 rows of 184 tokens and 9 heads in bfloat16,
the same in float32 14, these products 6 (one thread, AVX-512 BF16). As in the fused one, no weights are kept: the
backward pass computes them again from queries and keys. One row at a time, so that what is not kept is small too.
"""

from functools import cache
from typing import Any

from lema_local.training.packages import require
from lema_local.training.products import multiply

_NAME = "lema_cpu"
# Families whose layers call an attention function for plain softmax attention: no cap on scores, no sinks.
_PLAIN = ("llama", "mistral", "smollm3", "qwen2", "qwen3", "gemma3_text")


def use(model: Any) -> bool:
    """Have a model of transformers attend by this; whether it does. Its masks are those of torch's fused attention."""
    config = model.config
    if config.model_type not in _PLAIN or getattr(config, "attention_dropout", None):
        return False
    transformers, masks = require("transformers"), require("transformers.masking_utils")
    transformers.AttentionInterface.register(_NAME, attend)
    masks.ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, masks.sdpa_mask)
    model.set_attn_implementation(_NAME)
    return True


def attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    *,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Any, None]:
    """transformers' attention function: query (rows, heads, tokens, size), key and value with `kv_heads` of them;
    attention_mask None for causal attention, or bool (rows, 1, tokens, tokens), true where a key is seen.

    Returns (rows, tokens, heads, size) and no weights.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _operation().apply(query, key, value, attention_mask, scale).transpose(1, 2), None


def _weights(query: Any, key: Any, hidden: Any, scale: float) -> Any:
    """One row's: (kv_heads, queries of a group, keys)."""
    torch = require("torch")
    kv_heads, tokens, size = key.shape
    grouped = (query * scale).reshape(kv_heads, -1, size)
    scores = multiply(grouped, key.transpose(1, 2)).view(-1, tokens, tokens)
    return torch.softmax(scores.add_(hidden), dim=-1).view(kv_heads, -1, tokens)


def _hidden(mask: Any, row: int, tokens: int, dtype: Any) -> Any:
    """What is added to scores: minus infinity where a key is not seen."""
    torch = require("torch")
    seen = torch.ones(tokens, tokens, dtype=torch.bool).tril() if mask is None else mask[row if len(mask) > 1 else 0, 0]
    return torch.zeros(tokens, tokens, dtype=dtype).masked_fill_(~seen, float("-inf"))


@cache
def _operation() -> Any:
    torch = require("torch")
    function: Any = torch.autograd.Function

    class Attention(function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, query: Any, key: Any, value: Any, mask: Any, scale: float) -> Any:
            tokens = query.shape[2]
            out = torch.empty_like(query)
            hidden = _hidden(mask, 0, tokens, query.dtype)
            for row in range(len(query)):
                if mask is not None and row:
                    hidden = _hidden(mask, row, tokens, query.dtype)
                weights = _weights(query[row], key[row], hidden, scale)
                out[row] = multiply(weights, value[row]).view(query.shape[1:])
            ctx.save_for_backward(query, key, value, mask)
            ctx.scale = scale
            return out

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            query, key, value, mask = ctx.saved_tensors
            kv_heads, tokens, size = key.shape[1:]
            grads = [torch.empty_like(tensor) for tensor in (query, key, value)]
            hidden = _hidden(mask, 0, tokens, query.dtype)
            for row in range(len(query)):
                if mask is not None and row:
                    hidden = _hidden(mask, row, tokens, query.dtype)
                weights = _weights(query[row], key[row], hidden, ctx.scale)
                wide = grad[row].reshape(kv_heads, -1, size)
                back = torch._softmax_backward_data(
                    multiply(wide, value[row].transpose(1, 2)), weights, -1, query.dtype
                )
                grads[0][row] = multiply(back, key[row]).mul_(ctx.scale).view(query.shape[1:])
                of_key = multiply(back.transpose(1, 2), query[row].reshape(kv_heads, -1, size))
                grads[1][row] = of_key.mul_(ctx.scale)
                grads[2][row] = multiply(weights.transpose(1, 2), wide)
            return *grads, None, None

    return Attention
