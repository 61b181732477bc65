"""Prices: the list of genai-prices as ours, held against that package's own arithmetic; one's own; batches."""

from datetime import UTC, datetime, timedelta

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Usage

from lema_local.calls.prices import Price, batch_share, dearest, find_price
from lema_local.calls.replies import Body, Choice, replies_of
from lema_local.calls.usage import Usage as Counted
from lema_local.serving.endpoints import Endpoints
from lema_local.settings.endpoints import EndpointProfile

OPENAI = "https://api.openai.com/v1"
CALLS = ((1000, 0, 200), (1000, 800, 200), (272_000, 0, 10), (272_001, 100_000, 10), (900_000, 0, 5000))


def listed_cost(model: ModelInfo, call: tuple[int, int, int], context: dict[str, str]) -> float:
    """What genai-prices says that a call costs, at the dearest hour of today."""
    prompt, cached, completion = call
    usage = Usage(input_tokens=prompt, cache_read_tokens=cached, output_tokens=completion)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    hours = [midnight + timedelta(hours=hour) for hour in range(24)]
    return max(float(model.get_prices(hour, context).calc_price(usage)["total_price"]) for hour in hours)


# one listing of each kind: plain, cached, by length, by the hour, batches with a price of their own for cached tokens
@pytest.mark.parametrize(
    ("url", "provider", "name"),
    [
        (OPENAI, "openai", "gpt-4"),
        (OPENAI, "openai", "gpt-4o"),
        (OPENAI, "openai", "gpt-5.5"),
        ("https://api.anthropic.com/v1", "anthropic", "claude-sonnet-4-5"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "google", "gemini-2.5-pro"),
        ("https://api.deepseek.com/v1", "deepseek", "deepseek-chat"),
        ("https://api.mistral.ai/v1", "mistral", "mistral-small-latest"),
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_costs_what_genai_prices_says(url: str, provider: str, name: str, call: tuple[int, int, int]) -> None:
    listed = next(each for each in get_snapshot().providers if each.id == provider).find_model(name)
    price = find_price(url, name)
    assert listed is not None
    assert price is not None
    prompt, cached, completion = call
    for ours, context in ((price, {}), (price.in_batch, {"processing": "batch"})):
        cost = ours.cost(prompt=prompt, cached=cached, completion=completion)
        assert cost == pytest.approx(listed_cost(listed, call, context), rel=1e-9)


def test_a_prompt_beyond_a_long_context_costs_more_for_all_of_it() -> None:
    price = find_price(OPENAI, "gpt-5.5")
    assert price is not None
    assert price.cost(prompt=272_000, cached=0, completion=0) == pytest.approx(1.36)
    assert price.cost(prompt=272_001, cached=0, completion=0) == pytest.approx(2.72001)


def test_samples_that_share_a_long_prompt_have_its_price() -> None:
    price = Price(1.0, 1.0, 10.0, longer=((100, Price(2.0, 2.0, 20.0)),))
    counted = Counted(prompt=200, completion=40)
    body = Body(tuple(Choice("word", "stop") for _ in range(4)), counted, counted, True, False, None)
    costs = [reply.cost_usd or 0.0 for reply in replies_of(body, price, latency_s=None)]
    assert sum(costs) == pytest.approx((200 * 2.0 + 40 * 20.0) / 1e6)


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("http://127.0.0.1:8000/v1", "gpt-4"),  # another host's model of the same name
        ("https://proxy.example.org/v1", "gpt-4"),
        (OPENAI, "no-such-model"),
        ("https://api.perplexity.ai", "sonar"),  # charges by the request too
    ],
)
def test_what_is_not_listed_has_no_price(url: str, model: str) -> None:
    assert find_price(url, model) is None


def test_a_price_of_ones_own_goes_first_and_keeps_the_discount_of_batches() -> None:
    own = EndpointProfile(model="gpt-4o", base_url=OPENAI, usd_per_million_input=8.0, usd_per_million_output=4.0)
    price = Endpoints().resolve("corrector", own).endpoint.price
    assert price is not None
    assert (price.input, price.cached_input, price.output) == (8.0, 8.0, 4.0)
    assert (price.in_batch.input, price.in_batch.output) == (4.0, 2.0)


def test_the_discount_of_batches_is_the_models_else_the_hosts_else_none() -> None:
    assert batch_share(OPENAI, "gpt-4o-mini") == 0.5
    assert batch_share(OPENAI, "a-model-of-tomorrow") == 0.5
    assert batch_share("https://api.deepseek.com/v1", "deepseek-chat") == 1.0
    assert batch_share("http://127.0.0.1:8000/v1", "gpt-4o-mini") == 1.0


def test_several_servers_cost_as_much_as_the_dearest_and_one_that_nobody_knows_has_no_price() -> None:
    cheap = Price(1.0, 0.5, 20.0, longer=((100, Price(9.0, 9.0, 20.0)),), batch=Price(0.5, 0.25, 10.0))
    dear = Price(3.0, 0.1, 10.0)
    price = dearest([cheap, dear])
    assert price is not None
    assert price.of_prompt(100) == Price(3.0, 0.5, 20.0)
    assert price.of_prompt(101) == Price(9.0, 9.0, 20.0)
    assert price.in_batch == cheap.batch  # which goes to the first
    assert dearest([cheap, cheap]) == cheap
    assert dearest([cheap, None]) is dearest([]) is None


@pytest.mark.parametrize(
    ("more", "is_known"), [((), True), (("http://127.0.0.1:8000/v1",), True), (("https://gpu.example.com/v1",), False)]
)
def test_a_model_has_a_price_where_each_host_elsewhere_has_one(more: tuple[str, ...], is_known: bool) -> None:
    for base_url, others in ((OPENAI, more), *[(url, (OPENAI,)) for url in more]):
        profile = EndpointProfile(model="gpt-4o", base_url=base_url, more_base_urls=others)
        assert (Endpoints().resolve("corrector", profile).endpoint.price is not None) is is_known
