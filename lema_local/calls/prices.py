"""What calls cost: the listed prices (package genai-prices, offline), the user's own, and the arithmetic. Pure.

find_price("https://api.openai.com/v1", "gpt-4o")       # Price(input=2.5, cached_input=1.25, output=10.0, ...)
Price(2.5, 1.25, 10.0).cost(prompt=1000, cached=800, completion=200)     # 0.0035 (USD)

The list is the snapshot that comes with the installed genai-prices (github.com/pydantic/genai-prices); nothing is
fetched. A host's prices are for that host: a model of the same name at another place has none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from functools import cache
from statistics import median
from typing import Any

_IN_BATCH = {"processing": "batch"}
# Charged beside tokens, or as tokens of another price: a model with one of these costs more than tokens can say.
_BESIDE = ("requests_kcount", "output_reasoning_mtok", "output_citation_mtok")


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens of a call whose prompt is of the usual length.

    `longer` has (tokens, price), ascending: a call with more tokens of prompt than that has this price for all of it.
    `batch` is the price by the Batch API, where the provider has one.
    """

    input: float
    cached_input: float
    output: float
    longer: tuple[tuple[int, "Price"], ...] = ()
    batch: "Price | None" = None

    def cost(self, *, prompt: int, cached: int, completion: int) -> float:
        """USD of so many tokens; `cached` of the prompt's tokens were served from the provider's cache."""
        tier, cached = self.of_prompt(prompt), min(cached, prompt)
        return ((prompt - cached) * tier.input + cached * tier.cached_input + completion * tier.output) / 1e6

    def of_prompt(self, tokens: int) -> "Price":
        """The price of a call with so many tokens of prompt, without `longer`."""
        within = [tier for above, tier in self.longer if tokens > above]
        return within[-1] if within else Price(self.input, self.cached_input, self.output)

    def with_batch(self, share: float) -> "Price":
        """The same, with the Batch API at this share of it."""
        return replace(self, batch=Price(self.input * share, self.cached_input * share, self.output * share))

    @property
    def in_batch(self) -> "Price":
        """What a call costs by the Batch API."""
        return self.batch or self


def dearest(prices: Sequence[Price | None]) -> Price | None:
    """What no call costs more than, whichever of several hosts it goes to; None where one's price is not known, or
    there is none. A batch goes to the first."""
    known = [price for price in prices if price is not None]
    if not known or len(known) < len(prices):
        return None
    if len(set(known)) == 1:
        return known[0]
    starts = sorted({start for price in known for start, _ in price.longer})
    longer = tuple((start, _most([price.of_prompt(start + 1) for price in known])) for start in starts)
    return replace(_most(known), longer=longer, batch=known[0].in_batch)


def _most(prices: Sequence[Price]) -> Price:
    return Price(*(max(getattr(price, name) for price in prices) for name in ("input", "cached_input", "output")))


@cache
def find_price(base_url: str, model: str) -> Price | None:
    """The listed price of a model at its provider's host, as of today; where it hangs on the hour, the dearest.

    None for any other host, whatever its models are called, and for a model that charges for more than tokens.
    """
    from genai_prices.data_snapshot import get_snapshot

    provider = _provider(base_url)
    if provider is None:
        return None
    try:
        _, listed = get_snapshot().find_provider_model(model, provider, None, None)
    except LookupError:
        return None
    standard, in_batch = _price(_dearest(listed, {})), _price(_dearest(listed, _IN_BATCH))
    if standard is None or in_batch is None or in_batch == standard:
        return standard
    return replace(standard, batch=in_batch)


@cache
def batch_share(base_url: str, model: str) -> float:
    """What share of a price of the user's own the Batch API costs: the listed model's, else what is usual at this
    host; 1.0 where nothing is known."""
    provider = _provider(base_url)
    if provider is None:
        return 1.0
    listed = find_price(base_url, model)
    if listed is not None:
        return listed.in_batch.input / listed.input if listed.input else 1.0
    shares = [
        float(_base(batch.input_mtok) / _base(standard.input_mtok))
        for each in provider.models
        if any(variant.when == _IN_BATCH for variant in each.price_variants or ())
        for standard, batch in [(_dearest(each, {}), _dearest(each, _IN_BATCH))]
        if standard.input_mtok and batch.input_mtok
    ]
    return median(shares) if shares else 1.0


def _provider(base_url: str) -> Any:
    """genai-prices' Provider at this address, or None."""
    from genai_prices.data_snapshot import get_snapshot

    if not base_url.startswith("https://"):  # a server of one's own; the package takes 0.4 s
        return None
    try:
        return get_snapshot().find_provider(None, None, base_url)
    except LookupError:
        return None


def _dearest(model: Any, context: Mapping[str, str]) -> Any:
    """Of a ModelInfo the ModelPrice that is highest today."""
    today = datetime.now(UTC).date()
    hours = [datetime.combine(today, time(hour), UTC) for hour in range(24)]
    prices = [model.get_prices(hour, dict(context)) for hour in hours]
    return max(prices, key=lambda price: _base(price.input_mtok) + _base(price.output_mtok))


def _price(listed: Any) -> Price | None:
    """A ModelPrice as ours: what has no price of its own when it comes from the cache costs as any input."""
    if any(getattr(listed, name) for name in _BESIDE) or listed.input_mtok is None or listed.output_mtok is None:
        return None
    cached = listed.input_mtok if listed.cache_read_mtok is None else listed.cache_read_mtok
    three = (listed.input_mtok, cached, listed.output_mtok)
    starts = sorted({tier.start for price in three for tier in getattr(price, "tiers", ())})
    longer = tuple((start, _of_three(_above(price, start) for price in three)) for start in starts)
    return replace(_of_three(float(_base(price)) for price in three), longer=longer)


def _of_three(prices: Iterable[float]) -> Price:
    given, cached, written = prices
    return Price(given, cached, written)


def _base(price: Any) -> Any:
    """The price of a usual prompt; 0 where there is none."""
    return getattr(price, "base", price) or 0


def _above(price: Any, start: int) -> float:
    """The price of a prompt that is longer than `start`."""
    reached = [tier.price for tier in getattr(price, "tiers", ()) if tier.start <= start]
    return float(reached[-1] if reached else _base(price))
