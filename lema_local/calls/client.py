"""The only caller of an LLM: one OpenAI-compatible client for every endpoint.

This is the policy of a call: what is sent, what is tried again, when it is given up. transport.py does the HTTP (openai
over aiohttp), replies.py judges what came, because a 200 can lie, and pacing.py says when a call may go, and where to.

    client = Client(endpoint)
    reply = await client.complete(Prompt(text="1 + 1 ="), Sampling(temperature=0.0, max_tokens=8))
    reply.text, reply.finish_reason, reply.prompt_tokens      # ('2', 'stop', 6)
"""

import asyncio
import math
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from lema_local.calls.endpoint import Endpoint, Prompt, Sampling, request_body
from lema_local.calls.pacing import Budget, Gate, Host, Hosts
from lema_local.calls.replies import Reply, Usage, cost_of, read_body, replies_of, usage_of_lie
from lema_local.calls.transport import Exchange, Transport, is_loopback
from lema_local.errors import EndpointError, ProfileError
from lema_local.progress import clock

RAW_REPLY_CHARACTERS = 4000
LONG_WAIT_S = 30.0
LIE_RETRIES = 3  # a server that lies about one prompt three times over will do so again
MOST_WAITING_S = 6 * 3600.0  # from a call's first 429; one after that fails it. A longer Retry-After is waited for
UNKNOWN_MODEL = re.compile(r"model_not_found|\bmodel\b[^\n.]{0,200}\b(?:does not|doesn't|not) exist", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call: what was wrong, the HTTP status if there was one, and the raw reply (capped, keys removed)."""

    error: str
    status: int | None = None
    raw: str | None = None
    cost_usd: float | None = None  # of a 200 that was no reply, where it says what it used


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One attempt: replies, or a failure and what it asks for."""

    replies: tuple[Reply | None, ...] = ()
    failure: Failure | None = None
    is_slow_down: bool = False  # 429: the server's wish, not a fault
    is_lie: bool = False  # a 200 that was no reply
    others_answer: bool = False  # nothing answers at this server, but another one of the endpoint does
    wait_s: float = 0.0  # nothing goes to this server until then
    usage: Usage = field(default_factory=Usage)


class CallFailedError(Exception):
    """This call failed for good; others may go through. Carries the last failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.failure = failure


def refuse_unpriced(endpoint: Endpoint) -> None:
    """ProfileError for a hosted model without a price, which no budget can hold."""
    if endpoint.price is None and any(url and not is_loopback(url) for url in endpoint.base_urls):
        raise ProfileError(
            f"--budget needs the price of {endpoint.model} at {endpoint.base_url}: set usd_per_million_input and "
            f"usd_per_million_output of endpoint {endpoint.name} (0 where it costs nothing)."
        )


class Client:
    """Calls one endpoint. Use as an async context manager; share one between all the tasks of a stage.

    Raises ProfileError where a `budget` cannot hold it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        budget: Budget | None = None,
        on_notice: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.endpoint = endpoint
        self.takes_n = True  # until a server shows that it gives one sample a request
        self._answered = False  # one good reply so far
        self._stopped = False
        self._waiting = set[asyncio.Task[Any] | None]()  # tasks whose call is not under way
        self._notice = on_notice
        self._hosts = Hosts(endpoint.base_urls, endpoint.concurrency)
        if budget is not None:
            refuse_unpriced(endpoint)
        self._gate = Gate(
            endpoint.requests_per_minute, endpoint.tokens_per_minute, budget if endpoint.price is not None else None
        )
        self._path = "/chat/completions" if endpoint.api == "chat" else "/completions"
        self._transport = Transport(
            endpoint.base_urls,
            api_key=endpoint.api_key,
            deadline_s=endpoint.deadline_s,
            connections=endpoint.most_calls,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.close()

    async def complete(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        index: int = 0,
        on_failure: Callable[[Failure], None] = lambda failure: None,
    ) -> Reply:
        """One completion, the `index`th of its prompt. Raises as `samples` does."""
        (reply,) = await self.samples(prompt, sampling, (index,), on_failure=on_failure)
        assert reply is not None  # of one sample, the one that came
        return reply

    async def samples(
        self,
        prompt: Prompt,
        sampling: Sampling,
        indexes: Sequence[int],
        *,
        on_failure: Callable[[Failure], None] = lambda failure: None,
    ) -> list[Reply | None]:
        """The samples of a prompt with these consecutive indexes, by one request: at least one of them; None for those
        that did not come with it, because the server gives one a request or a choice was broken.

        Retries faults of transport, server and reply; `on_failure` hears of each. Raises CallFailedError when this call
        cannot be had, EndpointError when no call to this endpoint can, BudgetError before a call that might pass it.
        """
        task = asyncio.current_task()
        self._waiting.add(task)
        try:
            return await self._samples(prompt, sampling, indexes, on_failure)
        finally:
            self._waiting.discard(task)

    def stop(self) -> None:
        """Make no further request. Calls under way come to their end, for they may be paid for; whatever else waits is
        cancelled."""
        self._stopped = True
        for task in self._waiting:
            if task is not None:
                task.cancel()

    async def _samples(
        self, prompt: Prompt, sampling: Sampling, indexes: Sequence[int], on_failure: Callable[[Failure], None]
    ) -> list[Reply | None]:
        failures, patient_until, refuses_n = 0, math.inf, False
        while True:
            asked = len(indexes) if self.takes_n and not refuses_n else 1
            body = request_body(self.endpoint, prompt, sampling, indexes[0], n=asked)
            outcome = await self._try(prompt, body, asked, asked * sampling.max_tokens)
            if outcome.failure is None:
                self.takes_n = self.takes_n and not refuses_n and len(outcome.replies) >= asked
                return [*outcome.replies, *[None] * (len(indexes) - len(outcome.replies))]
            on_failure(outcome.failure)
            if asked > 1 and outcome.failure.status in (400, 422) and not self._stopped:
                refuses_n = True  # if it is `n` that it does not know, it takes the same request without it
                continue
            if outcome.is_slow_down:
                patient_until = min(patient_until, time.monotonic() + MOST_WAITING_S)
            elif not outcome.others_answer:
                failures += 1
            retries = min(self.endpoint.max_retries, LIE_RETRIES) if outcome.is_lie else self.endpoint.max_retries
            exhausted = failures > retries or (outcome.is_slow_down and time.monotonic() > patient_until)
            self._raise_if_final(outcome.failure, exhausted=exhausted or self._stopped)
            if not outcome.wait_s:
                await asyncio.sleep(min(30.0, 0.5 * 2**failures) * random.uniform(0.5, 1.0))

    async def _try(self, prompt: Prompt, body: dict[str, Any], asked: int, most_written: int) -> _Outcome:
        """One attempt, as soon as rates, budget and servers let it go."""
        price = self.endpoint.price
        most_read = prompt.most_tokens if self._gate.counts_tokens else 0
        most_usd = price.cost(prompt=most_read, cached=0, completion=most_written) if price else 0.0
        async with self._gate.admit(most_read + most_written, most_usd) as ticket:
            host, task = await self._hosts.take(), asyncio.current_task()
            self._waiting.discard(task)
            try:
                exchange = await self._transport.post(host.url + self._path, body)
            finally:
                self._hosts.give_back(host)
                self._waiting.add(task)
            outcome = self._judge(host, exchange, asked, prompt.prefill)
            used, usd = outcome.usage, cost_of(outcome.usage, price)
            if exchange.is_refused or (exchange.status or 0) >= 400:
                ticket.settle(tokens=0, usd=0.0)  # an error is not charged for; what came too late, or was lost, may be
            elif used.prompt is not None and used.completion is not None:
                ticket.settle(tokens=used.prompt + used.completion, usd=usd or 0.0)
            return outcome

    def _judge(self, host: Host, exchange: Exchange, asked: int, prefill: str) -> _Outcome:
        """Replies or a failure, and what it says of the server."""
        raw = None if exchange.status is None else exchange.raw[:RAW_REPLY_CHARACTERS]
        if exchange.error is None:
            try:
                e = self.endpoint
                body = read_body(exchange.raw, is_chat=e.api == "chat", requires_usage=e.requires_usage, asked=asked)
            except ValueError as error:
                usage = usage_of_lie(exchange.raw)
                failure = Failure(str(error), exchange.status, raw, cost_of(usage, self.endpoint.price))
                return _Outcome(failure=failure, is_lie=True, usage=usage, wait_s=self._hosts.failed(host))
            self._hosts.worked(host)
            self._answered = True
            replies = replies_of(body, self.endpoint.price, latency_s=exchange.latency_s, prefill=prefill)
            return _Outcome(tuple(map(self._without_key, replies)), usage=body.usage)
        failure = Failure(exchange.error, exchange.status, raw)
        if exchange.is_refused:
            is_news = host.refusals == 0
            others = self._hosts.refused(host)
            if others and is_news:
                self._notice(f"{host.url} does not answer: set aside for a while; the others go on.")
            return _Outcome(failure=failure, others_answer=others, wait_s=host.wait_s)
        if exchange.status == 429 or exchange.retry_after_s is not None:
            told = host.closed_until
            wait = self._hosts.cool(host, exchange.retry_after_s)
            if wait >= LONG_WAIT_S and host.closed_until > told + 1.0:
                self._notice(f"waiting {clock(wait)}: the server asks for it ({self.endpoint.name}, {exchange.error})")
            return _Outcome(failure=failure, is_slow_down=exchange.status == 429, wait_s=wait)
        is_ours = exchange.status is not None and 400 <= exchange.status < 500  # the request is wrong, not the server
        wait_s = 0.0 if is_ours else self._hosts.failed(host)
        return _Outcome(failure=failure, is_lie=exchange.status == 200, wait_s=wait_s)

    def _without_key(self, reply: Reply | None) -> Reply | None:
        """JSON can spell a key so that it shows only in the text."""
        text = self._transport.scrub(reply.text) if reply else ""
        return reply if reply is None or text == reply.text else replace(reply, text=text)

    def _raise_if_final(self, failure: Failure, *, exhausted: bool) -> None:
        """Raise for what no further attempt would mend."""
        e, raw = self.endpoint, failure.raw or ""
        if failure.status in (401, 403):
            raise EndpointError(
                f"{e.base_url} refuses the key (HTTP {failure.status}). Check the variable that the profile's "
                f"api_key_env names."
            )
        if failure.status == 429 and "insufficient_quota" in raw:
            raise EndpointError(
                f"{e.base_url} says that the account has no credit left (insufficient_quota). Top it up, then "
                f"run the same command again."
            )
        if failure.status in (404, 405) and e.api == "completions" and not UNKNOWN_MODEL.search(raw):
            raise EndpointError(
                f'{e.base_url} has no /completions (HTTP {failure.status}): api = "chat" for {e.name} may do, or check '
                "the base URL."
            )
        if failure.status == 404 or (failure.status == 400 and UNKNOWN_MODEL.search(raw)):
            raise EndpointError(
                f"{e.base_url} does not serve {e.served_model!r} (HTTP {failure.status}). See what it serves: "
                f"curl {e.base_url}/models"
            )
        if exhausted and failure.error.startswith("no connection:"):
            raise EndpointError(
                f"No server at {', '.join(e.base_urls)}. {e.hint or 'Start it, or give another base URL.'}"
            )
        if exhausted and failure.error == "no token usage" and not self._answered:
            raise EndpointError(
                f"{e.base_url} sends no token counts (usage), so nothing can be counted or priced. If that is well, "
                f"set requires_usage = false for {e.name}."
            )
        if exhausted or (
            failure.status is not None and 400 <= failure.status < 500 and failure.status not in (408, 409, 429)
        ):
            raise CallFailedError(failure)
