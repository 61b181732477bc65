"""A LoRA layer as one operation, for the CPU: y = x W + s B A dropout(x), with less kept and less done than peft's.

    fuse(model)     every LoRA layer over a linear one computes by this from now on; same parameters, same state dict

peft composes dropout, two products, a scale and a sum; autograd keeps a copy of the input after dropout and a float32
mask for each (arXiv 2106.09685 has the formula). Here the input is kept once for all layers that read it, the mask is a
byte a value, and drawing it costs a fifth: torch's CPU generator gives 64 random bits at once, of which each value
takes 16 (its chance is rounded to a 32,768th), where bernoulli_() computes each value by itself.

What is computed is in the base's dtype; adapters, their gradients and the sums of these over micro-batches stay
float32.
"""

from functools import cache
from types import MethodType
from typing import Any

from lema_local.training.packages import require

_CHANCES = 2**15  # the values of 15 random bits


def fuse(model: Any) -> int:
    """Let the LoRA layers of a peft model compute by one operation; how many there are. Layers over anything but a
    linear module, plain or NF4, are left as they are."""
    fused = 0
    for module in model.modules():
        if hasattr(module, "lora_A") and hasattr(module, "base_layer") and _is_linear(module.base_layer):
            module.forward = MethodType(_forward, module)
            fused += 1
    return fused


def _is_linear(layer: Any) -> bool:
    torch = require("torch")
    return isinstance(layer, torch.nn.Linear)  # bitsandbytes' 4-bit layer is one too


def _forward(layer: Any, x: Any) -> Any:
    """What the forward() of a LoRA layer with one adapter, neither merged nor switched off, computes."""
    (name,) = layer.active_adapters
    dropout = layer.lora_dropout[name]
    share = getattr(dropout, "p", 0.0) if layer.training else 0.0
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return _operation().apply(x, layer.base_layer, a, b, layer.scaling[name], share)


def base_weight(layer: Any) -> Any:
    """The matrix (outputs, inputs) of a linear layer in its compute dtype; an NF4 one is unpacked for this once."""
    state = getattr(layer.weight, "quant_state", None)
    if state is None:
        return layer.weight
    return require("bitsandbytes.functional").dequantize_4bit(layer.weight.data, state)


def draw_mask(x: Any, share: float) -> Any:
    """int8, of the shape of `x`: 0 with the chance `share`, all bits set otherwise; from torch's CPU generator."""
    torch = require("torch")
    count = x.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_().view(torch.int16)[:count]
    # 15 bits below the bound are negative once it is subtracted, and the sign, shifted through, is all bits or none
    kept = bits.bitwise_and_(_CHANCES - 1).sub_(round((1 - share) * _CHANCES)).bitwise_right_shift_(15)
    return kept.to(torch.int8).view(x.shape)


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

    class LoraLinear(function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any, layer: Any, a: Any, b: Any, scale: float, share: float) -> Any:
            """x (..., inputs), a (r, inputs), b (outputs, r) -> (..., outputs), in the dtype of the layer's weight."""
            weight = base_weight(layer)
            flat = x.reshape(-1, x.shape[-1]).to(weight.dtype)
            a, b = a.to(weight.dtype), b.to(weight.dtype)
            mask = draw_mask(flat, share) if share else None
            narrow = (flat if mask is None else masked_(flat.clone(), mask)) @ a.T
            ctx.layer, ctx.scale, ctx.dtype = layer, scale / (1 - share), x.dtype
            ctx.save_for_backward(flat, mask, narrow, a, b)
            out = torch.nn.functional.linear(flat, weight, layer.bias)
            return out.addmm_(narrow, b.T, alpha=ctx.scale).view(*x.shape[:-1], -1)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            flat, mask, narrow, a, b = ctx.saved_tensors
            wide = grad.reshape(-1, grad.shape[-1])
            back = (wide @ b).mul_(ctx.scale)
            grad_b = (wide.T @ narrow).float().mul_(ctx.scale)
            grad_a = (back.T @ (flat if mask is None else masked_(flat.clone(), mask))).float()
            grad_x = None
            if ctx.needs_input_grad[0]:
                through = back @ a
                if mask is not None:
                    masked_(through, mask)
                grad_x = through.addmm_(wide, base_weight(ctx.layer)).view(*grad.shape[:-1], -1).to(ctx.dtype)
            return grad_x, None, grad_a, grad_b, None, None

    return LoraLinear
