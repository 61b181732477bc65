"""What every stage that calls a model does: wanted minus there = pending; complete what is pending; add each reply as
it comes.

A `Call` is a completion that is wanted. Its id is known before it is paid for, so a rerun, a resumed run and a second
machine all ask for the same thing, and what is in the store is never bought again.
"""

import asyncio
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from lema_local.calls.client import CallFailedError, Client, Failure
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.calls.pacing import LOOK_AGAIN_S
from lema_local.calls.replies import Reply
from lema_local.errors import BudgetError, EndpointError, LedgerError
from lema_local.progress import Progress
from lema_local.records.keys import content_key, key_maker
from lema_local.records.store import Store, stage_sql
from lema_local.records.types import Attempt, Completion, Purpose
from lema_local.stages.probe import refuse_inactive_adapter
from lema_local.stages.run import Run

MOST_SAMPLES_A_REQUEST = 32


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
        key = _key_maker(self.endpoint.identity, self.endpoint.api, self.purpose, self.template)
        return key(self.problem_id, self.rationale_id, self.sampling.as_json(), self.sample_index)

    def follows(self, other: "Call") -> bool:
        """Whether it is the next sample of the same prompt, which one request can ask for together."""
        return (
            self.sample_index == other.sample_index + 1
            and self.problem_id == other.problem_id
            and self.rationale_id == other.rationale_id
            and self.template == other.template
            and self.sampling == other.sampling
        )


@lru_cache(maxsize=256)
def _key_maker(identity: str, api: str, purpose: str, template: str) -> Callable[..., str]:
    return key_maker("completion", identity, api, purpose, template)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage's calls went."""

    done: int = 0
    failed: int = 0

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(self.done + other.done, self.failed + other.failed)


def pending(run: Run, calls: Sequence[Call]) -> list[Call]:
    """The calls whose completion is not in the store and not in a batch at work, in the order given. LedgerError where
    a run that may call nothing (--offline) wants any that is not in the store."""
    run.store.merge()  # a reply that is still in the journal is there too
    ids = [call.id for call in calls]
    missing = run.store.missing("completion", ids)
    left = [call for call, id_ in zip(calls, ids, strict=True) if id_ in missing] if missing else []
    if left and run.offline:
        first = left[0]
        raise LedgerError(
            f"--offline: {len(left)} of {len(calls)} completions to {first.purpose} by {first.endpoint.model} are not "
            f"in {run.store.path} (the first: {first.id}). Run without --offline to make them."
        )
    in_batches = handed_in(run.store) if left else set()
    free = [call for call in left if call.id not in in_batches] if in_batches else left
    if len(free) < len(left):
        run.notice(f"{len(left) - len(free)} calls are in batches that were handed in: see `lema batch status`.")
    return free


def handed_in(store: Store) -> set[str]:
    """Ids of the completions that a batch at work will bring."""
    return {row["id"] for row in store.rows(stage_sql("in_batches"))}


def complete(
    run: Run,
    calls: Sequence[Call],
    *,
    endpoint: Endpoint,
    render: Callable[[Call], Prompt],
    accepts: Callable[[Call, str], bool] | None,
    label: str,
) -> Outcome:
    """Make the calls at `endpoint`, concurrently up to its limits; every reply is in the store when this returns or
    raises.

    `render` makes a call's prompt just before it is sent (prompts of a large run would not fit in memory). Raises
    EndpointError when the endpoint is of no use, when its adapter is not active (probe.py) or when not one call ever
    came through, BudgetError before the run's budget would be passed: the calls in flight are finished then, so that
    nothing that is paid for is lost.
    """
    refuse_inactive_adapter(endpoint)
    progress = Progress(label, len(calls))
    work = _Work(run, _groups(calls), render, accepts, progress)
    try:
        asyncio.run(work.go(endpoint))
    except BaseExceptionGroup as group:  # the first worker's error stands for all
        raise group.exceptions[0] from None
    finally:
        progress.close()
        if work.faults:
            kinds = ", ".join(f"{error} {n}" for error, n in work.faults.most_common(6))
            run.notice(f"{work.faults.total()} attempts at {endpoint.name} failed and were logged ({kinds}).")
    if isinstance(work.stopped, EndpointError):
        raise work.stopped
    if work.stopped is not None:
        left = progress.total - progress.done
        raise BudgetError(f"{work.stopped} {left} of {progress.total} calls to {endpoint.name} are left.")
    if progress.failed and progress.failed == progress.done and not _has_answered(run, calls[0]):
        raise EndpointError(f"All {progress.failed} calls to {endpoint.name} failed: see `lema sql failed_calls`.")
    if progress.failed:
        run.notice(f"{progress.failed} of {progress.done} calls failed and stay pending: see `lema sql failed_calls`.")
    return Outcome(progress.done - progress.failed, progress.failed)


def _has_answered(run: Run, call: Call) -> bool:
    """Whether any call like this one ever came through. Where one did, the few that never do must not stop a rerun."""
    run.store.merge()
    sql = "select 1 from completion where purpose = $purpose and model = $model limit 1"
    return bool(run.store.rows(sql, purpose=call.purpose, model=call.endpoint.model))


def _groups(calls: Sequence[Call]) -> Iterator[list[Call]]:
    """Calls that one request can ask for together: consecutive samples of one prompt."""
    group: list[Call] = []
    for call in calls:
        if group and (len(group) == MOST_SAMPLES_A_REQUEST or not call.follows(group[-1])):
            yield group
            group = []
        group.append(call)
    if group:
        yield group


@dataclass
class _Work:
    """The calls of one stage at one endpoint, and what its workers share."""

    run: Run
    groups: Iterator[list[Call]]
    render: Callable[[Call], Prompt]
    accepts: Callable[[Call, str], bool] | None
    progress: Progress
    left_over: deque[Call] = field(default_factory=deque)  # samples that did not come with their request
    faults: Counter[str] = field(default_factory=Counter)
    stopped: BudgetError | EndpointError | None = None
    shared: int = 0  # requests under way that may leave samples over

    async def go(self, endpoint: Endpoint) -> None:
        """Let the workers work until nothing is left."""
        async with (
            Client(endpoint, budget=self.run.budget, on_notice=self.run.notice, said=self.run.said) as client,
            asyncio.TaskGroup() as workers,
        ):
            for _ in range(min(endpoint.most_calls, self.progress.total)):
                workers.create_task(self._worker(client))

    async def _worker(self, client: Client) -> None:
        while self.stopped is None:
            batch = self._next(client)
            if not batch:
                if not self.shared:
                    return
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            first, ids = batch[0], [call.id for call in batch]

            def log(failure: Failure, ids: Sequence[str] = ids) -> None:
                self.faults[failure.error.partition(":")[0]] += 1
                self.progress.cost_usd += failure.cost_usd or 0.0
                self.run.store.add(attempt(ids[failure.sample], client.endpoint, failure))

            self.shared += len(batch) > 1
            try:
                replies = await client.samples(
                    self.render(first), first.sampling, [call.sample_index for call in batch], on_failure=log
                )
            except CallFailedError:
                for _ in batch:
                    self.progress.step(failed=True)
                continue
            except (BudgetError, EndpointError) as error:
                self.stopped = self.stopped or error  # the other workers finish what is in flight
                if isinstance(error, EndpointError):
                    client.stop()
                return
            finally:
                self.shared -= len(batch) > 1
            for call, wanted, reply in zip(batch, ids, replies, strict=True):
                if reply is None:
                    self.left_over.append(call)
                else:
                    self._keep(call, wanted, reply)

    def _next(self, client: Client) -> list[Call]:
        """The calls of the next request; none when all are taken."""
        if self.left_over:
            return [self.left_over.popleft()]
        batch = next(self.groups, [])
        if not client.takes_n:
            self.left_over.extend(batch[1:])
            return batch[:1]
        return batch

    def _keep(self, call: Call, wanted: str, reply: Reply) -> None:
        self.run.store.add(completion(call, wanted, reply))
        self.progress.step(
            tokens=reply.completion_tokens or 0,
            cost_usd=reply.cost_usd or 0.0,
            accepted=self.accepts(call, reply.text) if self.accepts else None,
        )


def completion(call: Call, wanted: str, reply: Reply) -> Completion:
    """A reply as the record of the call that it answers."""
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
        cached_prompt_tokens=reply.cached_prompt_tokens,
        shared_by=reply.shared_by,
        answered_by=reply.answered_by,
    )


def attempt(wanted: str, endpoint: Endpoint, failure: Failure, *, line: str | None = None) -> Attempt:
    """A failed call as a record; `line`: of the file of results that brought it, and may bring it again."""
    # append-only: each attempt has an id of its own
    return Attempt(
        id=content_key("attempt", wanted, *([time.time_ns(), uuid.uuid4().hex] if line is None else [line])),
        completion_id=wanted,
        error=failure.error,
        status=failure.status,
        raw=failure.raw,
        endpoint=endpoint.name,
        created_at=datetime.now(UTC),
        cost_usd=failure.cost_usd,
    )
