"""What calls cost: the price table (prices.toml), the user's own prices, and the arithmetic. Pure.

find_price("https://api.openai.com/v1", "gpt-4o")       # Price(input=2.5, cached_input=1.25, output=10.0)
Price(2.5, 1.25, 10.0).cost(prompt=1000, cached=800, completion=200)     # 0.0035 (USD)
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens."""

    input: float
    cached_input: float
    output: float

    def cost(self, *, prompt: int, cached: int, completion: int) -> float:
        """USD of so many tokens; `cached` of the prompt's tokens were served from the provider's cache."""
        cached = min(cached, prompt)
        return ((prompt - cached) * self.input + cached * self.cached_input + completion * self.output) / 1e6

    def discounted(self, factor: float) -> "Price":
        """The same at a share of the price: the Batch API costs half."""
        return Price(self.input * factor, self.cached_input * factor, self.output * factor)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("lema_local.calls").joinpath("prices.toml").read_text(encoding="utf-8"))


def find_price(base_url: str, model: str) -> Price | None:
    """The listed price of a model at its provider's host; None for any other host, whatever its models are called."""
    listed = _table().get(urlsplit(base_url).hostname or "", {}).get("models", {})
    return Price(*listed[model]) if model in listed else None


def batch_discount(base_url: str) -> float:
    """What share of the price a batch costs at this host; 1.0 where nothing is known."""
    return float(_table().get(urlsplit(base_url).hostname or "", {}).get("batch_discount", 1.0))
