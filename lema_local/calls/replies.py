"""What a server sent, judged: the texts in a 200's body, or the reason why there is none. Pure.

A status 200 can lie: an empty body, HTML, an error object, no choices, null content, a body cut off. Each is a
ValueError here, and a failed call to the client. A model that wrote, but no answer, is no lie: its reply has the text
"" and is kept, for asking again would buy the same.

    {"choices": [{"index": 0, "text": "2", "finish_reason": "stop"}], "usage": {"prompt_tokens": 6, ...}}
    read_body(raw, is_chat=False, requires_usage=True)      # Body(choices=(Choice("2", "stop"),), usage=Usage(6, 1, 0))
"""

import email.utils
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lema_local.calls.prices import Price
from lema_local.records.types import LARGEST_INTEGER

REFERENCE_DERIVED = "reference-derived"
LONGEST_RETRY_AFTER_S = 24 * 3600.0
MOST_BRACKETS = 500_000  # in a body: of ten million empty objects the parser would make a gigabyte
LONGEST_FINISH_REASON = 64  # characters


@dataclass(frozen=True, slots=True)
class Choice:
    """One text of a reply and why it ended (None: the server does not say)."""

    text: str
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a request. `prompt` and `completion` are None where the server gives none."""

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None  # of the prompt's, served from the provider's cache


@dataclass(frozen=True, slots=True)
class Body:
    """A reply that can be used. `choices` stand in the server's order; None for one that holds no text."""

    choices: tuple[Choice | None, ...]
    usage: Usage
    is_reference_derived: bool  # the server says that it rewrites reference solutions (servers/oracle.py)


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion as the server gave it. Token counts are None where the server gives none.

    Of a request for n samples each has its share of the tokens and the cost, so that sums are right; the latency is
    the request's.
    """

    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_s: float | None  # None: it came by a batch
    cost_usd: float | None
    is_reference_derived: bool = False  # the server says that it rewrites reference solutions (servers/oracle.py)
    cached_prompt_tokens: int | None = None
    shared_by: int = 1  # how many samples came by the same request


def read_body(raw: str, *, is_chat: bool, requires_usage: bool, asked: int = 1) -> Body:
    """The reply in a 200's body, to a request for so many samples. ValueError, with the reason, where it is none."""
    return judge_body(_object(raw), is_chat=is_chat, requires_usage=requires_usage, asked=asked)


def judge_body(body: Mapping[str, Any], *, is_chat: bool, requires_usage: bool, asked: int = 1) -> Body:
    """The same, of a body that is parsed already, as batch files hold it. Choices beyond those asked for are no reply
    to anything: the first ones count."""
    if body.get("error"):
        raise ValueError("error object with status 200")
    listed = body.get("choices")
    if not isinstance(listed, list) or not listed or not all(isinstance(choice, dict) for choice in listed):
        raise ValueError("no choices")
    choices = tuple(_choice(choice, is_chat) for choice in sorted(listed, key=_index)[:asked])
    if not any(choices):
        raise ValueError("no text in the choices")
    usage = read_usage(body)
    if requires_usage and (usage.prompt is None or usage.completion is None):
        raise ValueError("no token usage")
    return Body(choices, usage, body.get("system_fingerprint") == REFERENCE_DERIVED)


def read_usage(body: Mapping[str, Any]) -> Usage:
    """The token counts of a reply's body, as far as they can be true."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), cached)


def usage_of_lie(raw: str) -> Usage:
    """The token counts that a body states although it holds no reply: they may have been charged for."""
    try:
        return read_usage(_object(raw))
    except ValueError:
        return Usage()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the server asks: `retry-after-ms` (OpenAI), or Retry-After in either form of RFC 9110, section
    10.2.3. None where it does not ask."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / scale
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
            except (ValueError, TypeError, OverflowError):
                continue
        if not math.isnan(seconds):
            return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S)
    return None


def replies_of(
    body: Body, price: Price | None, *, latency_s: float | None, prefill: str = ""
) -> tuple[Reply | None, ...]:
    """A body's choices as replies, each with its share of the tokens; None for one without text."""
    texts = [choice.text if choice else "" for choice in body.choices]
    usage = body.usage
    came = [int(choice is not None) for choice in body.choices]
    prompt, cached = shares(usage.prompt, came), shares(usage.cached, came)
    written = shares(usage.completion, [len(text) for text in texts])
    return tuple(
        None
        if choice is None
        else Reply(
            text=prefill + choice.text,
            finish_reason=choice.finish_reason,
            prompt_tokens=prompt[k],
            completion_tokens=written[k],
            latency_s=latency_s,
            cost_usd=cost_of(Usage(prompt[k], written[k], cached[k]), price),
            is_reference_derived=body.is_reference_derived,
            cached_prompt_tokens=cached[k],
            shared_by=len(texts),
        )
        for k, choice in enumerate(body.choices)
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


def _object(raw: str) -> dict[str, Any]:
    if raw.count("{") + raw.count("[") > MOST_BRACKETS:
        raise ValueError("more brackets than a reply has")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("empty body" if not raw.strip() else "body is not JSON") from None
    if not isinstance(body, dict):
        raise ValueError("body is not a JSON object")
    return body


def _index(choice: Mapping[str, Any]) -> int:
    """Where a choice says it stands; a server that does not say has them in order (sorting is stable)."""
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _choice(choice: Mapping[str, Any], is_chat: bool) -> Choice | None:
    message = choice.get("message") if is_chat else choice
    if not isinstance(message, dict):
        return None
    finish_reason = choice.get("finish_reason")
    text = message.get("content" if is_chat else "text")
    if text is None:
        text = _instead(message, finish_reason)
    if not isinstance(text, str):
        return None
    return Choice(text, finish_reason[:LONGEST_FINISH_REASON] if isinstance(finish_reason, str) else None)


def _instead(message: Mapping[str, Any], finish_reason: object) -> str | None:
    """The text of a message without content: the words of a refusal (`refusal`, OpenAI), else "" where the model wrote
    all the same: reasoning that a server's parser keeps apart (vLLM, SGLang), up to the limit of tokens or not."""
    if isinstance(refusal := message.get("refusal"), str):
        return refusal
    has_reasoned = any(message.get(name) for name in ("reasoning_content", "reasoning"))
    return "" if has_reasoned or finish_reason == "length" else None


def _count(value: object) -> int | None:
    """A token count that can be true: what a server claims must fit the table."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_INTEGER else None
