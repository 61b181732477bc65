"""Who is asked, and what is sent: endpoints, prompts, sampling parameters, and the body of a request. Pure.

request_body(endpoint, Prompt(text="1 + 1 ="), Sampling(temperature=0.0, max_tokens=8), 0)
# {"model": "tiny", "temperature": 0.0, "top_p": 1.0, "max_tokens": 8, "prompt": "1 + 1 ="}
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from lema_local.calls.prices import Price
from lema_local.corrections.structured import llama_cpp_format, openai_format

TEMPLATE_TOKENS = 128  # gpt-oss, with the longest of the usual ones, puts some 70 before the first message


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent: chat messages ({"role", "content"} dicts), or one raw text for /completions.

    A raw text may end with the beginning of the reply, `prefill`; the reply that is kept begins with it.
    """

    messages: tuple[dict[str, str], ...] = ()
    text: str | None = None
    prefill: str = ""

    @property
    def most_tokens(self) -> int:
        """More than any tokenizer makes of it: one a byte, and some for what a chat template puts around them."""
        return self._around + (0 if self.text is not None else TEMPLATE_TOKENS) + self._bytes

    @property
    def usual_tokens(self) -> int:
        """As many as usual tokenizers make of it at most: one a two bytes."""
        return self._around + self._bytes // 2

    @property
    def _texts(self) -> list[str]:
        return [self.text] if self.text is not None else [message["content"] for message in self.messages]

    @property
    def _around(self) -> int:
        return 8 * (1 + len(self._texts))

    @property
    def _bytes(self) -> int:
        return sum(len(text.encode("utf-8", "replace")) for text in self._texts)


@dataclass(frozen=True, slots=True)
class Sampling:
    """The parameters that change the output; part of a completion's key."""

    temperature: float
    max_tokens: int
    top_p: float = 1.0
    seed: int | None = None  # of the first sample; sample k is asked with seed + k. None: greedy, needs none
    stop: tuple[str, ...] = ()
    structured: bool = False  # a correction as JSON by schema (corrections/structured.py)

    def as_json(self) -> str:
        """The form in which the key and the record keep them."""
        return _sampling_json(self)


@lru_cache(maxsize=64)  # a million calls share a few of them
def _sampling_json(sampling: Sampling) -> str:
    fields = dataclasses.asdict(sampling)
    if not sampling.structured:
        del fields["structured"]  # keys of before there was such a mode still hold
    return json.dumps(fields, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model as it is served: where, under which name, and how hard it may be driven."""

    name: str
    base_url: str
    served_model: str  # the name the server knows it by
    model: str  # the name people know it by
    identity: str  # weights and quantisation, what keys hash
    api: Literal["chat", "completions"] = "chat"
    api_key: str = field(default="none", repr=False)
    more_base_urls: tuple[str, ...] = ()  # the same weights, served elsewhere too
    concurrency: int = 1  # calls at once, of each base URL
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    deadline_s: float = 300.0
    max_retries: int = 5
    price: Price | None = None
    requires_usage: bool = True  # a reply without token counts is a failed call
    is_reference_derived: bool = False
    omit: tuple[str, ...] = ()  # fields that this server refuses
    max_tokens_field: str = "max_tokens"
    # fields this server needs to do just what `Sampling` says
    request: Mapping[str, Any] = field(default_factory=dict)
    structured_form: Literal["openai", "llama_cpp"] = "openai"  # how it takes a JSON schema
    # The adapters of a llama.cpp server, in its order. Every request then states each one's scale, the base's too: one
    # that does not would read on in a cache that was computed under others.
    adapters: tuple[str, ...] = ()
    slots: int = 0  # of a llama.cpp server without adapters: caches that can be handed a prefix (serving/prefix.py)
    answers_as: str | None = None  # the name that its replies have, whichever of its adapters is on
    # where the served model is an adapter: the name of the model under it at the same server
    adapter_over: str | None = None

    @property
    def base_urls(self) -> tuple[str, ...]:
        """Every server of it."""
        return (self.base_url, *self.more_base_urls)

    @property
    def most_calls(self) -> int:
        """Calls at once, of all its servers together."""
        return self.concurrency * len(self.base_urls)


def request_body(endpoint: Endpoint, prompt: Prompt, sampling: Sampling, index: int, *, n: int = 1) -> dict[str, Any]:
    """What is sent for `n` samples of a prompt, of which the first is its `index`th; batch files hold the same."""
    body: dict[str, Any] = {
        "model": endpoint.served_model,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        endpoint.max_tokens_field: sampling.max_tokens,
        **endpoint.request,
    }
    if endpoint.adapters:
        names = enumerate(endpoint.adapters)
        body["lora"] = [{"id": k, "scale": float(name == endpoint.served_model)} for k, name in names]
    if n > 1:
        body["n"] = n
    if sampling.seed is not None:
        body["seed"] = sampling.seed + index
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.structured:
        body["response_format"] = llama_cpp_format() if endpoint.structured_form == "llama_cpp" else openai_format()
    body |= {"messages": list(prompt.messages)} if endpoint.api == "chat" else {"prompt": prompt.text}
    return {name: value for name, value in body.items() if name not in endpoint.omit} if endpoint.omit else body
