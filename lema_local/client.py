"""The only caller of an LLM: one OpenAI-compatible client for every endpoint.

`openai` does the transport (aiohttp under it: less CPU a call); the reply is read raw and judged here, because a 200
can lie: an
empty body, HTML, an error object, no choices, null content and a body cut off are failed calls, retried a bounded
number of times.

    client = Client(endpoint, on_failure=store_attempt)
    reply = await client.complete(Prompt(text="1 + 1 ="), Sampling(temperature=0.0, max_tokens=8))
    reply.text, reply.finish_reason, reply.prompt_tokens      # ('2', 'stop', 6)
"""

import asyncio
import dataclasses
import email.utils
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from lema_local.errors import EndpointError

RAW_REPLY_CHARACTERS = 4000
LONG_WAIT_S = 30.0
REFERENCE_DERIVED = "reference-derived"
MOST_WAITING_S = 6 * 3600.0  # of 429s in a row for one call, then it counts as failed


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent: chat messages ({"role", "content"} dicts), or one raw text for /completions.

    A raw text may end with the beginning of the reply, `prefill`; the reply that is kept begins with it.
    """

    messages: tuple[dict[str, str], ...] = ()
    text: str | None = None
    prefill: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The parameters that change the output; part of a completion's key."""

    temperature: float
    max_tokens: int
    top_p: float = 1.0
    seed: int | None = None  # of the first sample; sample k is asked with seed + k. None: greedy, needs none
    stop: tuple[str, ...] = ()

    def as_json(self) -> str:
        """The form in which the key and the record keep them."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


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
    concurrency: int = 1
    deadline_s: float = 300.0
    max_retries: int = 4
    usd_per_million_input: float | None = None
    usd_per_million_output: float | None = None
    is_reference_derived: bool = False
    request: Mapping[str, float] = field(
        default_factory=dict
    )  # fields this server needs to do just what `Sampling` says
    hint: str = ""  # what to do when nothing answers there


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion as the server gave it. Token counts are None where the server gives none."""

    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_s: float
    cost_usd: float | None
    is_reference_derived: bool = False  # the server says that it rewrites reference solutions (servers/oracle.py)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call: what was wrong, the HTTP status if there was one, and the raw reply (capped, keys removed)."""

    error: str
    status: int | None = None
    raw: str | None = None


class CallFailedError(Exception):
    """This call failed for good; others may go through. Carries the last failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.failure = failure


class Client:
    """Calls one endpoint. Use as an async context manager; share one between all the tasks of a stage."""

    def __init__(self, endpoint: Endpoint, *, on_notice: Callable[[str], None] = lambda message: None) -> None:
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self.endpoint = endpoint
        self._notice = on_notice
        self._cool_until = 0.0  # shared by every task: one 429 slows them all
        self._openai = AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.api_key,
            max_retries=0,
            timeout=endpoint.deadline_s,
            http_client=DefaultAioHttpClient(trust_env=not is_loopback(endpoint.base_url)),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._openai.close()

    async def complete(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        index: int = 0,
        on_failure: Callable[[Failure], None] = lambda failure: None,
    ) -> Reply:
        """One completion, the `index`th of its prompt. Retries faults of transport, server and reply; `on_failure`
        hears of each.

        Raises CallFailedError when this call cannot be had, EndpointError when no call to this endpoint can.
        """
        path, body = self._request(prompt, sampling, index)
        failures, waited = 0, 0.0
        while True:
            await self._cool_down()
            outcome = await self._try(path, body, prompt.prefill)
            if isinstance(outcome, Reply):
                return outcome
            failure, retry_after_s = outcome
            on_failure(failure)
            waited += min(retry_after_s or 2.0, MOST_WAITING_S) if failure.status == 429 else 0.0
            failures += failure.status != 429  # 429 is the server's wish, not a fault: no retry is used up
            self._raise_if_final(failure, exhausted=failures > self.endpoint.max_retries or waited > MOST_WAITING_S)
            if failure.status == 429 or retry_after_s is not None:
                self._cool(retry_after_s)
                continue
            await asyncio.sleep(min(30.0, 0.5 * 2**failures) * random.uniform(0.5, 1.0))

    def _request(self, prompt: Prompt, sampling: Sampling, index: int) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {
            "model": self.endpoint.served_model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            **self.endpoint.request,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed + index
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if self.endpoint.api == "chat":
            return "/chat/completions", body | {"messages": list(prompt.messages)}
        return "/completions", body | {"prompt": prompt.text}

    async def _try(self, path: str, body: dict[str, Any], prefill: str) -> Reply | tuple[Failure, float | None]:
        """One attempt: a reply, or what went wrong and how long the server asks us to wait."""
        import httpx2
        import openai

        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.endpoint.deadline_s):
                response = await self._openai.post(path, cast_to=httpx2.Response, body=body)
                raw = response.text
        except openai.APIStatusError as error:
            raw = self._scrub(error.response.text)
            return Failure(f"HTTP {error.status_code}", error.status_code, raw), _retry_after(error.response.headers)
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError) as error:
            # the aiohttp transport calls a refused connection a ConnectTimeout too
            is_late = isinstance(error, TimeoutError | openai.APITimeoutError | httpx2.TimeoutException)
            if is_late and not isinstance(error.__cause__, httpx2.ConnectTimeout):
                return Failure(f"no answer within {self.endpoint.deadline_s:g} s"), None
            refused = isinstance(error.__cause__ or error, httpx2.ConnectError | httpx2.ConnectTimeout)
            kind = "no connection" if refused else "connection lost"
            return Failure(f"{kind}: {self._scrub(str(error.__cause__ or error))}"), None
        latency = time.perf_counter() - started
        try:
            return self._read(raw, latency, prefill)
        except ValueError as error:
            return Failure(str(error), response.status_code, self._scrub(raw)), None

    def _read(self, raw: str, latency_s: float, prefill: str) -> Reply:
        """The reply in a 200's body. ValueError, with the reason, where it is none."""
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            raise ValueError("empty body" if not raw.strip() else "body is not JSON") from None
        if not isinstance(body, dict):
            raise ValueError("body is not a JSON object")
        if body.get("error"):
            raise ValueError("error object with status 200")
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise ValueError("no choices")
        choice = choices[0]
        message = choice.get("message") if self.endpoint.api == "chat" else choice
        text = message.get("content" if self.endpoint.api == "chat" else "text") if isinstance(message, dict) else None
        if not isinstance(text, str):
            raise ValueError("no text in the first choice")
        usage = body["usage"] if isinstance(body.get("usage"), dict) else {}
        prompt_tokens, completion_tokens = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        finish_reason = choice.get("finish_reason")
        return Reply(
            text=prefill + text,
            finish_reason=finish_reason if isinstance(finish_reason, str) else None,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            latency_s=latency_s,
            cost_usd=self._cost(prompt_tokens, completion_tokens),
            is_reference_derived=body.get("system_fingerprint") == REFERENCE_DERIVED,
        )

    def _cost(self, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
        e = self.endpoint
        if (
            e.usd_per_million_input is None
            or e.usd_per_million_output is None
            or prompt_tokens is None
            or completion_tokens is None
        ):
            return None
        return (prompt_tokens * e.usd_per_million_input + completion_tokens * e.usd_per_million_output) / 1e6

    def _raise_if_final(self, failure: Failure, *, exhausted: bool) -> None:
        e = self.endpoint
        if failure.status in (401, 403):
            raise EndpointError(
                f"{e.base_url} refuses the key (HTTP {failure.status}). Check the variable that the profile's "
                f"api_key_env names."
            )
        if failure.status == 429 and failure.raw and "insufficient_quota" in failure.raw:
            raise EndpointError(
                f"{e.base_url} says that the account has no credit left (insufficient_quota). Top it up, then "
                f"run the same command again."
            )
        if failure.status == 404 or (
            failure.status == 400 and failure.raw and "model" in failure.raw.lower() and "exist" in failure.raw.lower()
        ):
            raise EndpointError(
                f"{e.base_url} does not serve {e.served_model!r} (HTTP {failure.status}). See what it serves: "
                f"curl {e.base_url}/models"
            )
        if exhausted and failure.error.startswith("no connection:"):
            raise EndpointError(f"No server at {e.base_url}. {e.hint or 'Start it, or give another base URL.'}")
        if exhausted or (
            failure.status is not None and 400 <= failure.status < 500 and failure.status not in (408, 409, 429)
        ):
            raise CallFailedError(failure)

    def _cool(self, retry_after_s: float | None) -> None:
        wait = retry_after_s if retry_after_s is not None else random.uniform(1.0, 3.0)
        until = time.monotonic() + wait
        if until > self._cool_until + 1.0 and wait >= LONG_WAIT_S:
            self._notice(f"waiting {wait:.0f} s: {self.endpoint.name} asks for it")
        self._cool_until = max(self._cool_until, until)

    async def _cool_down(self) -> None:
        while (wait := self._cool_until - time.monotonic()) > 0:  # noqa: ASYNC110 (another 429 may move the end)
            await asyncio.sleep(wait + random.uniform(0, 0.05))

    def _scrub(self, text: str) -> str:
        """Without the key, which a server may echo in an error, and of bounded length."""
        if self.endpoint.api_key != "none":
            text = text.replace(self.endpoint.api_key, "[key]")
        return text[:RAW_REPLY_CHARACTERS]


def is_loopback(url: str) -> bool:
    """Whether a base URL is of this machine: such calls never go through a proxy."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _count(value: object) -> int | None:
    """A token count that can be true: what a server claims must fit the table."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def _retry_after(headers: Any) -> float | None:
    """Seconds to wait by the Retry-After header, in either form of RFC 9110 section 10.2.3."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
