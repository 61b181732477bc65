"""The loss: cross entropy of the output tokens, without ever holding their logits.

    head = keep_hidden_states(model)       its `logits` are from now on what lm_head would have multiplied
    output_loss(model(**inputs), labels, num_items_in_batch=812, head=head)

A vocabulary of 49,152 words makes 200 KB of float32 logits a token, three times over in the backward pass. Here a chunk
of positions at a time is multiplied by lm_head, its loss and its gradient are taken, and only the gradient of the
hidden states is kept: forward and backward in one, since the loss is the last thing that a step computes.
"""

from functools import cache
from types import MethodType
from typing import Any

from lema_local.training.collate import IGNORED, loss_positions
from lema_local.training.packages import require
from lema_local.training.products import multiply, widen

# Positions at a time: large enough for a matrix product at full speed, 25 MB of float32 logits for 49,152 words, which
# glibc keeps for the next chunk (from 32 MiB on, each would be mapped anew, and its page faults cost as much again).
CHUNK = 128


def keep_hidden_states(model: Any) -> Any:
    """Have lm_head pass on what it is given; the module, for output_loss() to multiply by in chunks.

    None, and nothing is changed, where that would not be the model's logits: Gemma 2 caps them, Granite scales them.
    Two forward passes of four tokens tell."""
    torch = require("torch")
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        return None
    was_training = model.training
    model.train()  # a 4-bit layer that is evaluated on a CPU with bfloat16 units is repacked, and rounds, for good
    try:
        with torch.no_grad(), torch.random.fork_rng():
            logits = _seeded_logits(model)
            head.forward = MethodType(_pass_on, head)
            multiplied = torch.nn.functional.linear(_seeded_logits(model), head.weight, head.bias)
    finally:
        model.train(was_training)
    if torch.equal(logits, multiplied):
        return head
    del head.forward
    return None


def _seeded_logits(model: Any) -> Any:
    torch = require("torch")
    torch.manual_seed(0)  # the same dropout
    return model(input_ids=torch.arange(4, device=model.device)[None], use_cache=False).logits


def _pass_on(_head: Any, hidden: Any) -> Any:
    return hidden


def output_loss(outputs: Any, labels: Any, num_items_in_batch: Any = None, *, head: Any = None) -> Any:
    """Cross entropy in nats, summed over the labels that are not -100 and divided by their number in the global batch.

    `outputs.logits` (sequences, kept positions, vocabulary) are those at the loss_positions of `labels` (sequences,
    positions): each predicts the token that follows. With `head`, a linear module, they are its inputs instead.
    """
    torch = require("torch")
    targets = labels[:, loss_positions(labels) + 1]
    wanted = targets != IGNORED
    states, targets = outputs.logits[wanted], targets[wanted]
    if head is None:
        total = torch.nn.functional.cross_entropy(states.float(), targets, reduction="sum")
    else:
        # under autocast the Trainer hands out float32: the head's own dtype multiplies, and no copy of it is made
        total = _operation().apply(states.to(head.weight.dtype), head.weight, head.bias, targets)
    return total / (len(targets) if num_items_in_batch is None else num_items_in_batch)


@cache
def _operation() -> Any:
    torch = require("torch")
    function: Any = torch.autograd.Function

    class LinearCrossEntropy(function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, states: Any, weight: Any, bias: Any, targets: Any) -> Any:
            """states (positions, width) and weight (words, width) of one dtype, targets (positions,) -> the sum of
            losses, float32."""
            needs_states, needs_weight, needs_bias, _ = ctx.needs_input_grad
            total = torch.zeros((), dtype=torch.float32, device=states.device)
            of_states = torch.empty_like(states) if needs_states else None
            of_weight = torch.zeros_like(weight) if needs_weight else None
            of_bias = torch.zeros_like(bias) if needs_bias else None
            wide, wide_bias = widen(weight), None if bias is None else widen(bias)  # once for all chunks
            for at in range(0, len(states), CHUNK):
                chunk, wanted = states[at : at + CHUNK], targets[at : at + CHUNK, None]
                logits = torch.nn.functional.linear(widen(chunk), wide, wide_bias).to(chunk.dtype).float()
                highest, picked = logits.amax(dim=-1, keepdim=True), logits.gather(1, wanted)
                grad = torch.softmax(logits, dim=-1, out=logits)
                # softmax of the highest logit is one by the sum of exponentials, and never rounds to zero
                total += (highest - grad.amax(dim=-1, keepdim=True).log() - picked).sum()
                # softmax, and minus one at the target
                grad.scatter_add_(1, wanted, grad.new_full(wanted.shape, -1.0))
                narrow = grad.to(chunk.dtype)
                if of_states is not None:
                    of_states[at : at + CHUNK] = widen(narrow) @ wide
                if of_weight is not None:
                    of_weight += multiply(narrow.T, chunk)
                if of_bias is not None:
                    of_bias += grad.sum(dim=0)
            ctx.grads = (of_states, of_weight, of_bias, None)
            return total

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return tuple(None if made is None else made.mul_(grad) for made in ctx.grads)

    return LinearCrossEntropy
