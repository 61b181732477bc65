"""An endpoint as a profile names it: a recipe that lema serves, or a base URL that is served already.

[endpoints.corrector]
base_url = "https://api.openai.com/v1"
model = "gpt-4"
api_key_env = "OPENAI_API_KEY"
requests_per_minute = 500
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from lema_local.errors import ProfileError

# How a GGUF model's weights are served (serving/forms.py). auto: as measured on this machine; file: as they are.
Form = Literal["auto", "file", "bf16", "f16", "q8_0", "q4_0"]

OUTSIDE_CONCURRENCY = 8  # a recipe on CPU takes one call at a time; a server that is given from outside takes more
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointProfile:
    """Where a model is called: a recipe in servers/ that lema starts and stops, or a base URL that is already
    served."""

    model: str
    recipe: str | None = None
    base_url: str | None = None
    more_base_urls: tuple[str, ...] = ()  # the same weights, served elsewhere too: the work is spread
    api: Literal["chat", "completions"] = "chat"
    api_key_env: str | None = None
    identity: str | None = None  # what is really served at base_url, when its model name is only an alias
    concurrency: int = 1  # calls at once, of each base URL
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None  # prompt and completion together
    deadline_s: float | None = None  # None: 300 of a hosted endpoint, 1,800 of what a recipe serves
    max_retries: int = 5
    context_length: int = 4096
    servers: int = 1  # of a recipe: so many share the cores and the work; llama-cpp-python's takes one call at a time
    parallel: int = 16  # of a recipe that batches: so many calls in one batch; 1 repeats greedy text exactly
    form: Form = "auto"  # of a recipe that serves a GGUF in other forms too
    warm_up_steps: int = 0  # of a reasoner that is the student: so many steps on gold rationales first
    adapter: str | None = None  # what a recipe's server loads over the model: a LoRA GGUF, or vLLM's peft folder
    usd_per_million_input: float | None = None  # the three go before the listed price (calls/prices.py)
    usd_per_million_cached_input: float | None = None
    usd_per_million_output: float | None = None
    requires_usage: bool = True  # a reply without token counts is a failed call
    omit: tuple[str, ...] = ()  # request fields that this server refuses: reasoning models take no temperature
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    # how a server takes a JSON schema, where not as its recipe says, or OpenAI's way; llama_cpp: llama-cpp-python
    structured_form: Literal["openai", "llama_cpp"] | None = None
    # of a student that a recipe serves: the input that it trains and answers by, where not what its model was tuned
    # with; chat: the model's own template, and a system text in the place of the template's
    prompt: Literal["cot", "alpaca", "chat"] | None = None
    system: str | None = None


def given_outside(
    endpoint: EndpointProfile,
    name: str,
    *,
    url: str | None = None,
    model: str | None = None,
    key_env: str | None = None,
    kept: Collection[str] = (),
) -> EndpointProfile:
    """A profile's endpoint as the options or the environment have it. `url` may be several, with commas between.

    What the profile says of its own host or model goes; not the keys in `kept`, which the command line names too. What
    only a recipe can have always goes where a URL is given.
    """
    given: dict[str, Any] = {"model": model, "api_key_env": key_env}
    given = {key: value for key, value in given.items() if value is not None}
    gone: dict[str, Any] = {}
    if url is not None or model is not None:  # the profile's price is that of its own model
        gone |= dict.fromkeys(("usd_per_million_input", "usd_per_million_cached_input", "usd_per_million_output"))
        gone["identity"] = None
    if url is not None:
        given["base_url"], *more = (part.strip() for part in url.split(","))
        given["more_base_urls"] = tuple(more)
        if endpoint.recipe is not None and name != "student":  # raw text was for that recipe: hosted models take chat
            gone |= {"api": "chat", "concurrency": max(endpoint.concurrency, OUTSIDE_CONCURRENCY)}
        gone["api_key_env"] = None  # the profile's key is for the profile's host: never send it to another
        given |= dict.fromkeys(("recipe", "adapter", "prompt", "system")) | {"servers": 1, "warm_up_steps": 0}
    left = {key: value for key, value in gone.items() if key not in kept}
    return replace(endpoint, **left | given)


def check_endpoint(profile: str, name: str, endpoint: EndpointProfile) -> None:
    """Refuse what no call could ever come from. Raises ProfileError, one line."""
    where = f"Endpoint {name} of profile {profile}"
    if endpoint.api_key_env is not None and not ENVIRONMENT_NAME.fullmatch(endpoint.api_key_env):
        # it may be the key itself: never repeat it
        raise ProfileError(f"Endpoint {name}: the key's variable wants the NAME of a variable, not the key.")
    if (endpoint.recipe is None) == (endpoint.base_url is None):
        raise ProfileError(f"{where} needs either a recipe or a base_url.")
    urls = [*([] if endpoint.base_url is None else [endpoint.base_url]), *endpoint.more_base_urls]
    if not all(map(_is_http_url, urls)) or (endpoint.more_base_urls and endpoint.base_url is None):
        raise ProfileError(f"Endpoint {name}: its base URL must be like http://host:port/v1, with no user or password.")
    if endpoint.concurrency < 1 or endpoint.servers < 1 or not 1 <= endpoint.parallel <= 256:
        raise ProfileError(f"{where}: concurrency and servers must be 1 or more, parallel from 1 to 256.")
    if endpoint.recipe is None and (endpoint.servers > 1 or endpoint.adapter or endpoint.warm_up_steps):
        raise ProfileError(f"{where}: servers, adapter and warm_up_steps are for what a recipe serves.")
    if endpoint.warm_up_steps < 0 or (endpoint.warm_up_steps and endpoint.adapter):
        raise ProfileError(f"{where}: warm_up_steps is 1 or more, and makes the adapter itself.")
    is_bounded = endpoint.deadline_s is None or 0 < endpoint.deadline_s <= 86_400
    if not 0 <= endpoint.max_retries <= 100 or not is_bounded:
        raise ProfileError(f"{where}: max_retries from 0 to 100, deadline_s above 0 and at most a day.")
    if endpoint.prompt is not None and (name != "student" or endpoint.recipe is None):
        raise ProfileError(f"{where}: prompt is for a student that a recipe serves.")
    if endpoint.system is not None and (endpoint.prompt != "chat" or not endpoint.system.strip()):
        raise ProfileError(f'{where}: system is a text that goes with prompt = "chat".')
    if endpoint.prompt == "chat" and endpoint.api != "completions":
        raise ProfileError(
            f'{where}: prompt = "chat" needs api = "completions": lema puts the chat template around the text itself.'
        )
    for rate in (endpoint.requests_per_minute, endpoint.tokens_per_minute):
        if rate is not None and not 0 < rate < float("inf"):
            raise ProfileError(f"{where}: a rate per minute is above 0; leave it out for no limit.")
    given, cached, written = (
        endpoint.usd_per_million_input, endpoint.usd_per_million_cached_input, endpoint.usd_per_million_output
    )  # fmt: skip
    if any(price is not None and not 0 <= price < float("inf") for price in (given, cached, written)):
        raise ProfileError(f"{where}: prices are USD per million tokens, 0 or more.")
    if (given is None) != (written is None) or (cached is not None and given is None):
        raise ProfileError(f"{where}: a price needs both usd_per_million_input and usd_per_million_output.")


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        plain = parts.username is None and parts.password is None
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and plain
    except ValueError:
        return False
