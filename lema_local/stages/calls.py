"""What every stage that calls a model does: wanted minus there = pending; complete what is pending; add each reply as
it comes.

A `Call` is a completion that is wanted. Its id is known before it is paid for, so a rerun, a resumed run and a second
machine
all ask for the same thing, and what is in the store is never bought again.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lema_local.client import CallFailedError, Client, Endpoint, Failure, Prompt, Reply, Sampling
from lema_local.errors import EndpointError
from lema_local.keys import content_key
from lema_local.progress import Progress
from lema_local.records import Attempt, Completion, Purpose
from lema_local.store import Store, Writer


@dataclass(frozen=True, slots=True)
class Call:
    """A wanted completion: who is asked, what for, and with which inputs."""

    endpoint: Endpoint
    purpose: Purpose
    template: str
    sampling: Sampling
    problem_id: str
    sample_index: int = 0
    rationale_id: str | None = None
    checkpoint_id: str | None = None

    @property
    def id(self) -> str:
        """The key of the completion. The checkpoint is in the endpoint's identity."""
        e, s = self.endpoint, self.sampling
        return content_key(
            "completion",
            e.identity,
            e.api,
            self.purpose,
            self.template,
            self.problem_id,
            self.rationale_id,
            s.as_json(),
            self.sample_index,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage's calls went."""

    done: int = 0
    failed: int = 0

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(self.done + other.done, self.failed + other.failed)


def pending(store: Store, calls: Sequence[Call]) -> list[Call]:
    """The calls whose completion is not in the store, in the order given."""
    missing = store.missing("completion", [call.id for call in calls])
    return [call for call in calls if call.id in missing]


def complete(
    calls: Sequence[Call],
    *,
    endpoint: Endpoint,
    render: Callable[[Call], Prompt],
    accepts: Callable[[Call, str], bool] | None,
    store: Writer,
    label: str,
    on_notice: Callable[[str], None],
) -> Outcome:
    """Make the calls at `endpoint`, concurrently up to its limit; every reply is in the store when this returns or
    raises.

    `render` makes a call's prompt just before it is sent (prompts of a large run would not fit in memory). Raises
    EndpointError
    when the endpoint is of no use, or when not one call came through.
    """
    progress = Progress(label, len(calls))
    try:
        asyncio.run(_complete(iter(calls), endpoint, render, accepts, store, progress, on_notice))
    except BaseExceptionGroup as group:  # the first worker's error stands for all
        raise group.exceptions[0] from None
    finally:
        progress.close()
    if progress.failed and progress.failed == progress.done:
        raise EndpointError(f"All {progress.failed} calls to {endpoint.name} failed: see `lema sql failed_calls`.")
    if progress.failed:
        on_notice(f"{progress.failed} of {progress.done} calls failed and stay pending: see `lema sql failed_calls`.")
    return Outcome(progress.done - progress.failed, progress.failed)


async def _complete(
    calls: Iterator[Call],
    endpoint: Endpoint,
    render: Callable[[Call], Prompt],
    accepts: Callable[[Call, str], bool] | None,
    store: Writer,
    progress: Progress,
    on_notice: Callable[[str], None],
) -> None:
    async with Client(endpoint, on_notice=on_notice) as client, asyncio.TaskGroup() as group:
        for _ in range(min(endpoint.concurrency, progress.total)):
            group.create_task(_work(calls, client, render, accepts, store, progress))


async def _work(
    calls: Iterable[Call],
    client: Client,
    render: Callable[[Call], Prompt],
    accepts: Callable[[Call, str], bool] | None,
    store: Writer,
    progress: Progress,
) -> None:
    for call in calls:  # one iterator, shared by all the workers
        wanted = call.id

        def log(failure: Failure, wanted: str = wanted) -> None:
            store.add(_attempt(wanted, client.endpoint, failure))

        try:
            reply = await client.complete(render(call), call.sampling, index=call.sample_index, on_failure=log)
        except CallFailedError:
            progress.step(failed=True)
            continue
        store.add(_completion(call, wanted, reply))
        progress.step(
            tokens=reply.completion_tokens or 0,
            cost_usd=reply.cost_usd or 0.0,
            accepted=accepts(call, reply.text) if accepts else None,
        )


def _completion(call: Call, wanted: str, reply: Reply) -> Completion:
    return Completion(
        id=wanted,
        purpose=call.purpose,
        model=call.endpoint.model,
        model_identity=call.endpoint.identity,
        template=call.template,
        problem_id=call.problem_id,
        rationale_id=call.rationale_id,
        checkpoint_id=call.checkpoint_id,
        sampling=call.sampling.as_json(),
        sample_index=call.sample_index,
        text=reply.text,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        latency_s=reply.latency_s,
        cost_usd=reply.cost_usd,
        endpoint=call.endpoint.name,
        is_reference_derived=call.endpoint.is_reference_derived or reply.is_reference_derived,
        created_at=datetime.now(UTC),
    )


def _attempt(wanted: str, endpoint: Endpoint, failure: Failure) -> Attempt:
    # append-only: each attempt has an id of its own
    return Attempt(
        id=content_key("attempt", wanted, time.time_ns(), uuid.uuid4().hex),
        completion_id=wanted,
        error=failure.error,
        status=failure.status,
        raw=failure.raw,
        endpoint=endpoint.name,
        created_at=datetime.now(UTC),
    )
