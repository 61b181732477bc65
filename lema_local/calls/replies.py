"""What a server sent, judged: the texts in a 200's body, or the reason why there is none. Pure.

A status 200 can lie: an empty body, HTML, an error object, no choices, null content, a body cut off. Each is a
ValueError here, and a failed call to the client. So is a text that did not end well, by its own word (`abort`, `error`,
`content_filter`): records/endings.py. A model that wrote, but no answer, is no lie: its reply has the text "" and is
kept, for asking again would buy the same.

    {"choices": [{"index": 0, "text": "2", "finish_reason": "stop"}], "usage": {"prompt_tokens": 6, ...}}
    read_body(raw, asked)      # Body(choices=(Choice("2", "stop"),), usage=Usage(6, 1), ...)
"""

import email.utils
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lema_local.calls.endpoint import Endpoint, Prompt
from lema_local.calls.prices import Price
from lema_local.calls.usage import Usage, believed, cost_of, read_usage, shares
from lema_local.printable import line
from lema_local.records.endings import ending

REFERENCE_DERIVED = "reference-derived"
MOST_BRACKETS = 500_000  # in a body: of ten million empty objects the parser would make a gigabyte
NO_TEXT = "no text in the choice"
LONGEST_WORD = 64  # characters of a finish reason that we do not know
LONGEST_MODEL = 200
BYTES_A_CHARACTER = 4  # at most, in UTF-8; and a token is a byte at least


@dataclass(frozen=True, slots=True)
class Asked:
    """The request, as far as a reply must fit it."""

    model: str  # the name that the reply should have
    is_chat: bool
    requires_usage: bool
    samples: int
    max_tokens: int  # of each sample
    prompt_tokens: int  # at most (Prompt.most_tokens)

    @classmethod
    def of(cls, endpoint: Endpoint, prompt: Prompt, max_tokens: int, samples: int = 1) -> "Asked":
        """What a call asks for."""
        return cls(
            endpoint.answers_as or endpoint.served_model,
            endpoint.api == "chat",
            endpoint.requires_usage,
            samples,
            max_tokens,
            prompt.most_tokens,
        )

    @property
    def most_written(self) -> int:
        """Tokens of all samples together."""
        return self.samples * self.max_tokens

    def believed(self, claimed: Usage, characters: int) -> Usage:
        """What can be true of a server's counts, in a body of so many characters."""
        most = max(self.most_written, BYTES_A_CHARACTER * characters)
        return believed(claimed, most_prompt=self.prompt_tokens, most_completion=most)


@dataclass(frozen=True, slots=True)
class Choice:
    """One text of a reply and how it ended: `stop`, `length`, None where the server does not say."""

    text: str
    finish_reason: str | None
    fault: str | None = None  # why it is no whole reply: no text, or the server's word for a bad end


@dataclass(frozen=True, slots=True)
class Body:
    """A reply that can be used. `choices` stand in the server's order."""

    choices: tuple[Choice, ...]
    usage: Usage  # as far as it can be true
    claimed: Usage  # as the server says
    counts_all: bool  # False: other choices came that the server does not count, and that are left out here
    is_reference_derived: bool  # the server says that it rewrites reference solutions (servers/oracle.py)
    answered_by: str | None  # the model that answered, where the server names another one than was asked for


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
    answered_by: str | None = None  # the model that the server names, where it is not the one asked for
    fault: str | None = None  # as of Choice


def read_body(raw: str, asked: Asked) -> Body:
    """The reply in a 200's body. ValueError, with the reason, where it is none."""
    return judge_body(_object(raw), asked, characters=len(raw))


def judge_body(body: Mapping[str, Any], asked: Asked, *, characters: int) -> Body:
    """The same, of a body that is parsed already, as batch files hold it. Choices beyond those asked for are no reply
    to anything: the first ones count."""
    if body.get("error"):
        raise ValueError("error object with status 200")
    listed = body.get("choices")
    if not isinstance(listed, list) or not listed or not all(isinstance(choice, dict) for choice in listed):
        raise ValueError("no choices")
    counts_first_alone = isinstance(body.get("timings"), dict)  # llama.cpp's own server, whatever n is
    choices = [
        _choice(c, asked.is_chat) for c in sorted(listed, key=_index)[: 1 if counts_first_alone else asked.samples]
    ]
    claimed = read_usage(body)
    usage = asked.believed(claimed, characters)
    is_counted = usage.prompt is not None and usage.completion is not None
    if asked.requires_usage and not is_counted and not all(choice.fault for choice in choices):
        raise ValueError("no token usage")
    return Body(
        tuple(_unsaid(choices, usage, asked.max_tokens)),
        usage,
        claimed,
        len(listed) == 1 or not counts_first_alone,
        body.get("system_fingerprint") == REFERENCE_DERIVED,
        _answered_by(body.get("model"), asked.model),
    )


def remarks(asked: Asked, body: Body) -> Iterator[tuple[str, str]]:
    """What a user should hear of a server, once: a topic and a sentence."""
    if body.answered_by is not None:
        yield (
            "model",
            f"its server says that {body.answered_by} answered, not {asked.model}: completion.answered_by has it.",
        )
    if body.usage != body.claimed:
        most = max(body.claimed.prompt or 0, body.claimed.completion or 0)
        yield "tokens", f"its server counts {most:,} tokens for one call: no more is believed than can be."


def claims_of_lie(raw: str) -> Usage:
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
            return max(0.0, seconds)
    return None


def replies_of(body: Body, price: Price | None, *, latency_s: float | None, prefill: str = "") -> tuple[Reply, ...]:
    """A body's choices as replies, each with its share of the tokens."""
    usage, equally = body.usage, [1] * len(body.choices)
    prompt, cached = shares(usage.prompt, equally), shares(usage.cached, equally)
    written = shares(usage.completion, [len(choice.text) for choice in body.choices])
    price = price.of_prompt(usage.prompt or 0) if price else None  # a share of a long prompt has the long one's price
    return tuple(
        Reply(
            text=prefill + choice.text,
            finish_reason=choice.finish_reason,
            prompt_tokens=prompt[k],
            completion_tokens=written[k],
            latency_s=latency_s,
            cost_usd=cost_of(Usage(prompt[k], written[k], cached[k]), price),
            is_reference_derived=body.is_reference_derived,
            cached_prompt_tokens=cached[k],
            shared_by=len(body.choices),
            answered_by=body.answered_by,
            fault=choice.fault,
        )
        for k, choice in enumerate(body.choices)
    )


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


def _choice(choice: Mapping[str, Any], is_chat: bool) -> Choice:
    message = choice.get("message") if is_chat else choice
    if not isinstance(message, dict):
        return Choice("", None, NO_TEXT)
    said = choice.get("finish_reason")
    end = ending(said) if isinstance(said, str) else None if said is None else "?"
    text = message.get("content" if is_chat else "text")
    if text is None:
        text = _instead(message, end)
    if end not in ("stop", "length", None):
        return Choice(text if isinstance(text, str) else "", None, f"ended early: {line(end[:LONGEST_WORD])}")
    return Choice(text, end) if isinstance(text, str) else Choice("", end, NO_TEXT)


def _unsaid(choices: Sequence[Choice], usage: Usage, max_tokens: int) -> Iterator[Choice]:
    """The choices; one that is as long as it may be, and does not say why it ended, may have been cut off."""
    if all(choice.finish_reason for choice in choices):
        yield from choices
        return
    for choice, tokens in zip(choices, shares(usage.completion, [len(c.text) for c in choices]), strict=True):
        is_unsaid = choice.finish_reason is None and choice.fault is None and (tokens or 0) >= max_tokens
        yield replace(choice, fault="no finish reason at max_tokens") if is_unsaid else choice


def _instead(message: Mapping[str, Any], finish_reason: object) -> str | None:
    """The text of a message without content: the words of a refusal (`refusal`, OpenAI), else "" where the model wrote
    all the same: reasoning that a server's parser keeps apart (vLLM, SGLang), up to the limit of tokens or not."""
    if isinstance(refusal := message.get("refusal"), str):
        return refusal
    has_reasoned = any(message.get(name) for name in ("reasoning_content", "reasoning"))
    return "" if has_reasoned or finish_reason == "length" else None


def _answered_by(said: object, asked: str) -> str | None:
    return line(said[:LONGEST_MODEL]) or None if isinstance(said, str) and said != asked else None
