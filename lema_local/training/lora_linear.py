"""LoRA layers as one operation, for the CPU: y = x W + s B A dropout(x), with less kept and less done than peft's.

    fuse(model)     every LoRA layer over a linear one computes by this from now on; same parameters, same state dict

peft composes dropout, two products, a scale and a sum for each layer; autograd keeps a copy of the input after dropout
and a float32 mask for each (arXiv 2106.09685 has the formula). Here layers that read the same input (queries, keys and
values; gate and up) are computed together, of one dropout: what is dropped is dropped for all of them, their A are
multiplied as one matrix, and the gradient of their input is added up in place. The input is kept once, and of the mask
its seed alone: a mask is drawn from 64 random bits at once, of which each value takes 15 (its chance is rounded to a
32,768th), which costs less twice than bernoulli_() once.

What is computed is in the base's dtype; adapters, their gradients and the sums of these over micro-batches stay
float32.
"""

import math
from functools import cache, partial
from typing import Any

from lema_local.training.packages import require
from lema_local.training.products import add_product_, multiply

_CHANCES = 2**15  # the values of 15 random bits
# The modules of a layer that read one input, by the names that transformers' decoders give them.
_TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def fuse(model: Any) -> int:
    """Let the LoRA layers of a peft model compute by one operation; how many there are. Layers over anything but a
    linear module, plain or NF4, are left as they are."""
    grouped: set[int] = set()
    for module in model.modules():
        for names in _TOGETHER:
            layers = [getattr(module, name, None) for name in names]
            if all(map(_is_ours, layers)):
                grouped.update(map(id, layers))
                _Group(layers)
    alone = [module for module in model.modules() if _is_ours(module) and id(module) not in grouped]
    for layer in alone:
        _Group([layer])
    return len(grouped) + len(alone)


def _is_ours(layer: Any) -> bool:
    torch = require("torch")  # bitsandbytes' 4-bit layer is a linear one too
    return hasattr(layer, "lora_A") and isinstance(getattr(layer, "base_layer", None), torch.nn.Linear)


class _Group:
    """Layers that a model calls one after the other with the same input: the first call computes for all of them."""

    def __init__(self, layers: list[Any]) -> None:
        self._layers = layers
        self._input: Any = None
        self._outputs: dict[int, Any] = {}  # what has not been asked for yet
        for at, layer in enumerate(layers):
            layer.forward = partial(self._forward, at)

    def _forward(self, at: int, x: Any) -> Any:
        """What the forward() of a LoRA layer with one adapter, neither merged nor switched off, computes."""
        if self._input is not x or at not in self._outputs:
            self._input, self._outputs = x, dict(enumerate(self._compute(x)))
        output = self._outputs.pop(at)
        if not self._outputs:
            self._input = None
        return output

    def _compute(self, x: Any) -> tuple[Any, ...]:
        first = self._layers[0]
        (name,) = first.active_adapters
        share = getattr(first.lora_dropout[name], "p", 0.0) if first.training else 0.0
        factors = [(layer.lora_A[name].weight, layer.lora_B[name].weight) for layer in self._layers]
        bases = [layer.base_layer for layer in self._layers]
        found: tuple[Any, ...] = _operation().apply(
            x, bases, first.scaling[name], share, *(matrix for pair in factors for matrix in pair)
        )
        return found


def base_weight(layer: Any) -> Any:
    """The matrix (outputs, inputs) of a linear layer in its compute dtype; an NF4 one is unpacked for this once."""
    state = getattr(layer.weight, "quant_state", None)
    if state is None:
        return layer.weight
    return require("bitsandbytes.functional").dequantize_4bit(layer.weight.data, state).to(layer.compute_dtype)


def draw_seed() -> int:
    """The seed of a mask, from torch's CPU generator, whose state a checkpoint keeps."""
    torch = require("torch")
    return int(torch.empty((), dtype=torch.int64).random_())


def draw_mask(shape: Any, share: float, seed: int) -> Any:
    """int16: 0 with the chance `share`, all bits set otherwise; the same for the same seed."""
    torch, numpy = require("torch"), require("numpy")
    count = math.prod(shape)
    bits = torch.from_numpy(numpy.random.PCG64DXSM(seed).random_raw(-(-count // 4)).view(numpy.int16))[:count]
    # 15 bits below the bound are negative once it is subtracted, and the sign, shifted through, is all bits or none
    return bits.bitwise_and_(_CHANCES - 1).sub_(round((1 - share) * _CHANCES)).bitwise_right_shift_(15).view(shape)


def masked_(x: Any, mask: Any) -> Any:
    """`x` with zeros where the mask has them, in place: a value's bits and the mask's."""
    torch = require("torch")
    bits = x.view({2: torch.int16, 4: torch.int32}[x.element_size()])
    bits.bitwise_and_(mask if x.element_size() == 2 else mask.to(torch.int32))
    return x


@cache
def _operation() -> Any:
    torch = require("torch")
    function: Any = torch.autograd.Function

    class LoraLinears(function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any, layers: list[Any], scale: float, share: float, *factors: Any) -> Any:
            """x (..., inputs), then for each layer a (r, inputs) and b (outputs, r) -> for each (..., outputs), in the
            dtype of the layers' weights."""
            weights = [base_weight(layer) for layer in layers]
            dtype, rank = weights[0].dtype, len(factors[0])
            flat = x.reshape(-1, x.shape[-1]).to(dtype)
            a = flat.new_empty(rank * len(layers), flat.shape[1])
            for part, factor in zip(a.split(rank), factors[::2], strict=True):
                part.copy_(factor)
            bs = [factor.to(dtype) for factor in factors[1::2]]
            ctx.seed = draw_seed() if share else None
            narrow = multiply(_dropped(flat, share, ctx.seed)[0], a.T)
            ctx.layers, ctx.scale, ctx.share, ctx.dtype = layers, scale / (1 - share), share, x.dtype
            ctx.save_for_backward(flat, narrow, a, *bs)
            outputs = []
            for layer, weight, part, b in zip(layers, weights, narrow.split(rank, dim=1), bs, strict=True):
                # The adapter's part first, the base's product added to it before both are rounded, once: added to a
                # rounded bfloat16 value, what a young adapter says is below half a step of it, and lost.
                output = add_product_(multiply(part, b.T).mul_(ctx.scale), flat, weight.T)
                outputs.append((output if layer.bias is None else output.add_(layer.bias)).view(*x.shape[:-1], -1))
            return tuple(outputs)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            flat, narrow, a, *bs = ctx.saved_tensors
            rank = len(a) // len(bs)
            wide = [grad.reshape(-1, grad.shape[-1]) for grad in grads]
            of_b = [
                multiply(grad.T, part).float().mul_(ctx.scale)
                for grad, part in zip(wide, narrow.split(rank, dim=1), strict=True)
            ]
            back = torch.cat([multiply(grad, b) for grad, b in zip(wide, bs, strict=True)], dim=1).mul_(ctx.scale)
            dropped, mask = _dropped(flat, ctx.share, ctx.seed)
            of_a = multiply(back.T, dropped).float().split(rank)
            of_x = None
            if ctx.needs_input_grad[0]:
                of_x = multiply(back, a)
                if mask is not None:
                    masked_(of_x, mask)
                for layer, grad in zip(ctx.layers, wide, strict=True):
                    add_product_(of_x, grad, base_weight(layer))
                of_x = of_x.view(*grads[0].shape[:-1], -1).to(ctx.dtype)
            return of_x, None, None, None, *(of for pair in zip(of_a, of_b, strict=True) for of in pair)

    return LoraLinears


def _dropped(flat: Any, share: float, seed: int | None) -> tuple[Any, Any]:
    """`flat` after dropout, and the mask; itself and None without a seed."""
    if seed is None:
        return flat, None
    mask = draw_mask(flat.shape, share, seed)
    return masked_(flat.clone(), mask), mask
