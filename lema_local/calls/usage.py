"""The tokens of a call: what a server counts, how much of that can be true, what it costs, whose it is. Pure.

claimed = read_usage({"usage": {"prompt_tokens": 6, "completion_tokens": 2_000_000_000}})
believed(claimed, most_prompt=40, most_completion=16)      # Usage(prompt=6, completion=16, cached=None)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lema_local.calls.prices import Price

MOST_OF_ITS_OWN = 100_000  # tokens that a server may put before a prompt: the longest system prompts take a quarter


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a request. `prompt` and `completion` are None where the server gives none."""

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None  # of the prompt's, served from the provider's cache


def read_usage(body: Mapping[str, Any]) -> Usage:
    """The token counts of a reply's body, as the server claims them."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), cached)


def believed(claimed: Usage, *, most_prompt: int, most_completion: int) -> Usage:
    """The same, each count at most what it can be; a prompt's with what servers put before it."""
    most_prompt += MOST_OF_ITS_OWN
    return Usage(
        _least(claimed.prompt, most_prompt),
        _least(claimed.completion, most_completion),
        _least(claimed.cached, most_prompt),
    )


def cost_of(usage: Usage, price: Price | None) -> float | None:
    """USD; None where the tokens or the price are not known."""
    if price is None or usage.prompt is None or usage.completion is None:
        return None
    return price.cost(prompt=usage.prompt, cached=usage.cached or 0, completion=usage.completion)


def shares(total: int | None, weights: Sequence[int]) -> list[int | None]:
    """A count split in proportion to weights, by largest remainder: the shares add up to it. All None for None."""
    if total is None:
        return [None] * len(weights)
    whole = sum(weights)
    exact = [total * weight / whole if whole else total / len(weights) for weight in weights]
    parts = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(parts)), key=lambda k: parts[k] - exact[k])
    for k in by_remainder[: total - sum(parts)]:
        parts[k] += 1
    return list(parts)


def _least(count: int | None, most: int) -> int | None:
    return None if count is None else min(count, most)


def _count(value: object) -> int | None:
    """A token count; JSON knows one kind of number, so 50.0 is 50."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
