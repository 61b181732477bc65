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
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from lema_local.calls.batches import BatchRequest
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling, request_body
from lema_local.calls.failures import RAW_REPLY_CHARACTERS, CallFailedError, Failure, failure_of, final_error
from lema_local.calls.pacing import LONGEST_ASKED_WAIT_S, Budget, Gate, Host, Hosts
from lema_local.calls.replies import Asked, Body, Reply, claims_of_lie, read_body, remarks, replies_of
from lema_local.calls.transport import NO_TLS, NOT_TRUSTED, Exchange, Transport, is_loopback
from lema_local.calls.usage import Usage, cost_of
from lema_local.errors import ProfileError
from lema_local.progress import clock

__all__ = ["CallFailedError", "Client", "Failure", "refuse_unpriced"]

LONG_WAIT_S = 30.0
LIE_RETRIES = 3  # a server that lies about one prompt three times over will do so again
MOST_WAITING_S = 6 * 3600.0  # from a call's first 429; one after that fails it
LOST_AT_A_GATEWAY = frozenset({502, 504, 520, 524})  # it had no answer from the model's server, which may have worked


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One attempt: replies, or a failure and what it asks for."""

    replies: tuple[Reply | None, ...] = ()
    failure: Failure | None = None
    broken: tuple[Failure, ...] = ()  # samples that did not end well, besides
    is_slow_down: bool = False  # 429: the server's wish, not a fault
    is_lie: bool = False  # a 200 that was no reply
    others_answer: bool = False  # nothing answers at this server, but another one of the endpoint does
    wait_s: float = 0.0  # nothing goes to this server until then
    usage: Usage = field(default_factory=Usage)  # of all that came


def refuse_unpriced(endpoint: Endpoint) -> None:
    """ProfileError for a hosted model without a price, which no budget can hold."""
    if endpoint.price is None and any(url and not is_loopback(url) for url in endpoint.base_urls):
        raise ProfileError(
            f"--budget needs the price of {endpoint.model} at {endpoint.base_url}: set usd_per_million_input and "
            f"usd_per_million_output of endpoint {endpoint.name} (0 where it costs nothing)."
        )


class Client:
    """Calls one endpoint. Use as an async context manager; share one between all the tasks of a stage.

    `said` is what need not be said again: share one between the clients of a run. `gate` is one that other clients
    pass too, in place of an own one with the `budget`; `on_slow_down` hears of each wait that a server asks for, which
    `slow_down` tells such a client of. `is_alone`: nobody else counts calls with a 403 at its servers, as who
    hears of the failures of several clients, or of earlier runs, does. Raises ProfileError where a `budget` cannot hold
    the endpoint.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        budget: Budget | None = None,
        gate: Gate | None = None,
        on_slow_down: Callable[[str, float], None] = lambda url, seconds: None,
        on_notice: Callable[[str], None] = lambda message: None,
        said: set[str] | None = None,
        is_alone: bool = True,
    ) -> None:
        self.endpoint = endpoint
        self._said = set[str]() if said is None else said
        self.takes_n = True  # until a server shows that it gives one sample a request
        self.has_answered = False  # one good reply so far; another client may know of one
        self._is_alone = is_alone
        self._forbidden = 0  # calls with a 403 before that
        self._stopped = False
        self._waiting = set[asyncio.Task[Any] | None]()  # tasks whose call is not under way
        self._notice = on_notice
        self._hosts = Hosts(endpoint.base_urls, endpoint.concurrency)
        self._on_slow_down = on_slow_down
        if budget is not None:
            refuse_unpriced(endpoint)
        self._gate = gate or Gate(endpoint.requests_per_minute, endpoint.tokens_per_minute, budget, endpoint.price)
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

        def body(n: int) -> dict[str, Any]:
            return request_body(self.endpoint, prompt, sampling, indexes[0], n=n)

        return await self._waited_for(self._samples(prompt, sampling.max_tokens, len(indexes), body, on_failure))

    async def send(
        self, request: BatchRequest, *, on_failure: Callable[[Failure], None] = lambda failure: None
    ) -> Reply:
        """The reply to a line of a batch file, whose body is sent as it stands. Raises as `samples` does."""
        asked = self._samples(request.prompt, request.max_tokens, 1, lambda n: dict(request.body), on_failure)
        (reply,) = await self._waited_for(asked)
        assert reply is not None  # of one sample, the one that came
        return reply

    def slow_down(self, base_url: str, seconds: float) -> None:
        """No call to that server for so long: it asked another client for it."""
        self._hosts.close(base_url, seconds)

    async def _waited_for(self, asked: Coroutine[Any, Any, list[Reply | None]]) -> list[Reply | None]:
        """What comes of it; `stop` knows of it meanwhile."""
        task = asyncio.current_task()
        self._waiting.add(task)
        try:
            return await asked
        finally:
            self._waiting.discard(task)

    def stop(self) -> None:
        """Make no further request. Calls under way come to their end, for they may be paid for; whatever else waits is
        cancelled, but for the task that says so: its call fails."""
        self._stopped = True
        for task in self._waiting - {asyncio.current_task()}:
            if task is not None:
                task.cancel()

    async def _samples(
        self,
        prompt: Prompt,
        max_tokens: int,
        wanted: int,
        body_of: Callable[[int], dict[str, Any]],
        on_failure: Callable[[Failure], None],
    ) -> list[Reply | None]:
        failures, patient_until, refuses_n = 0, math.inf, False
        while True:
            asked = wanted if self.takes_n and not refuses_n else 1
            outcome = await self._try(prompt, body_of(asked), Asked.of(self.endpoint, prompt, max_tokens, asked))
            for broken in outcome.broken:
                on_failure(broken)
            if outcome.failure is None:
                self.takes_n = self.takes_n and not refuses_n and len(outcome.replies) >= asked
                return [*outcome.replies, *[None] * (wanted - len(outcome.replies))]
            on_failure(outcome.failure)
            if asked > 1 and outcome.failure.status in (400, 422) and not self._stopped:
                refuses_n = True  # if it is `n` that it does not know, it takes the same request without it
                continue
            if outcome.is_slow_down:
                patient_until = min(patient_until, time.monotonic() + MOST_WAITING_S)
            elif not outcome.others_answer:
                failures += 1
            self._forbidden += outcome.failure.status == 403 and not self.has_answered and self._is_alone
            retries = min(self.endpoint.max_retries, LIE_RETRIES) if outcome.is_lie else self.endpoint.max_retries
            exhausted = failures > retries or (outcome.is_slow_down and time.monotonic() > patient_until)
            error = final_error(
                self.endpoint,
                outcome.failure,
                is_exhausted=exhausted or self._stopped,
                are_absent=self._hosts.are_absent,
                has_answered=self.has_answered,
                forbidden=0 if self.has_answered else self._forbidden,
            )
            if error is not None:
                raise error
            if not outcome.wait_s:
                await asyncio.sleep(min(30.0, 0.5 * 2**failures) * random.uniform(0.5, 1.0))

    async def _try(self, prompt: Prompt, body: dict[str, Any], asked: Asked) -> _Outcome:
        """One attempt, as soon as rates, budget and servers let it go."""
        async with self._gate.admit(prompt, asked.most_written) as ticket:
            host, task = await self._hosts.take(), asyncio.current_task()
            self._waiting.discard(task)
            try:
                self._gate.check()
                ticket.sent()
                exchange = await self._transport.post(host.url + self._path, body)
            finally:
                self._hosts.give_back(host)
                self._waiting.add(task)
            outcome = self._judge(host, exchange, asked, prompt.prefill)
            used, usd = outcome.usage, cost_of(outcome.usage, self.endpoint.price)
            if exchange.status == 200:
                self._gate.replied(prompt, used.prompt)
            if exchange.is_refused or ((exchange.status or 0) >= 300 and exchange.status not in LOST_AT_A_GATEWAY):
                ticket.settle(tokens=0, usd=0.0)  # an error is not charged for; what came too late, or was lost, may be
            elif used.prompt is not None and used.completion is not None:
                ticket.settle(tokens=used.prompt + used.completion, usd=usd or 0.0)
            return outcome

    def _judge(self, host: Host, exchange: Exchange, asked: Asked, prefill: str) -> _Outcome:
        """Replies or a failure, and what it says of the server."""
        raw = None if exchange.status is None else exchange.raw[:RAW_REPLY_CHARACTERS]
        if exchange.error is None:
            try:
                body = read_body(exchange.raw, asked)
            except ValueError as error:
                return self._lie(host, exchange, asked, str(error))
            return self._read(host, exchange, asked, body, prefill)
        if exchange.status is not None and 200 <= exchange.status < 300:
            return self._lie(host, exchange, asked, exchange.error)
        failure = Failure(exchange.error, exchange.status, raw, base_url=host.url)
        if exchange.error.startswith((NOT_TRUSTED, NO_TLS)):
            return _Outcome(failure=failure)
        if exchange.is_refused:
            is_news = host.refusals == 0
            others = self._hosts.refused(host)
            if others and is_news:
                self._notice(f"{host.url} does not answer: set aside for a while; the others go on.")
            return _Outcome(failure=failure, others_answer=others, wait_s=host.wait_s)
        if exchange.status == 429 or (exchange.status == 503 and exchange.retry_after_s is not None):
            return self._slow_down(host, exchange, failure)
        is_ours = exchange.status is not None and 400 <= exchange.status < 500  # the request is wrong, not the server
        wait_s = 0.0 if is_ours else self._hosts.failed(host)
        return _Outcome(failure=failure, wait_s=wait_s)

    def _read(self, host: Host, exchange: Exchange, asked: Asked, body: Body, prefill: str) -> _Outcome:
        """The samples of a body that ended well, and those that did not."""
        for topic, remark in remarks(asked, body):
            self._say_once(topic, remark)
        self._stop_if_beyond(host, asked, body.claimed)
        replies = replies_of(body, self.endpoint.price, latency_s=exchange.latency_s, prefill=prefill)
        broken = tuple(
            failure_of(reply, prefill, exchange.raw, sample=k, base_url=host.url)
            for k, reply in enumerate(replies)
            if reply.fault
        )
        usage = body.usage if body.counts_all else Usage()
        if len(broken) == len(replies):
            wait_s = self._hosts.failed(host)
            return _Outcome(failure=broken[0], broken=broken[1:], is_lie=True, usage=usage, wait_s=wait_s)
        self._hosts.worked(host)
        self.has_answered = True
        good = replies if not broken else tuple(None if reply.fault else reply for reply in replies)
        return _Outcome(good, broken=broken, usage=usage)

    def _lie(self, host: Host, exchange: Exchange, asked: Asked, error: str) -> _Outcome:
        """A status that says yes, and no reply."""
        claimed = claims_of_lie(exchange.raw)
        self._stop_if_beyond(host, asked, claimed)
        usage = asked.believed(claimed, len(exchange.raw))
        cost = cost_of(usage, self.endpoint.price)
        failure = Failure(error, exchange.status, exchange.raw[:RAW_REPLY_CHARACTERS], cost, base_url=host.url)
        return _Outcome(failure=failure, is_lie=True, usage=usage, wait_s=self._hosts.failed(host))

    def _slow_down(self, host: Host, exchange: Exchange, failure: Failure) -> _Outcome:
        told = host.closed_until
        wait = self._hosts.cool(host, exchange.retry_after_s)
        self._on_slow_down(host.url, wait)
        if wait >= LONG_WAIT_S and host.closed_until > told + 1.0:
            self._notice(f"waiting {clock(wait)}: the server asks for it ({self.endpoint.name}, {exchange.error})")
        if (exchange.retry_after_s or 0.0) > LONGEST_ASKED_WAIT_S:
            self._say_once("wait", f"its server asks for a longer wait; it is asked again after {clock(wait)}.")
        return _Outcome(failure=failure, is_slow_down=exchange.status == 429, wait_s=wait)

    def _stop_if_beyond(self, host: Host, asked: Asked, claimed: Usage) -> None:
        """End the run where its budget cannot hold a server, which counts more than was asked for."""
        written = claimed.completion or 0
        if written > asked.most_written:
            self._gate.close(
                f"{host.url} counts {written:,} tokens of a reply of which {asked.most_written:,} at "
                "most were asked for, and no budget holds a server that does not keep to max_tokens. What came is "
                "kept; run without --budget, or give another base URL."
            )

    def _say_once(self, topic: str, message: str) -> None:
        key = f"{self.endpoint.name} {topic}"
        if key not in self._said:
            self._said.add(key)
            self._notice(f"{self.endpoint.name}: {message}")
