"""The calls of one stage at one endpoint, as an engine works them off: what is next, and what became of it.

An engine makes the calls: in this process (local_engine.py), or on the nodes of a cluster (ray_engine.py). Whichever it
is asks `Work` for requests and tells it of replies and failures; the records, and their one writer, are here.
"""

import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.calls.failures import MOST_REFUSED, REFUSALS, Failure, refused_in_a_row
from lema_local.calls.replies import Reply
from lema_local.errors import BudgetError, EndpointError, StoreError
from lema_local.progress import Progress
from lema_local.records.journal import Fact
from lema_local.records.keys import content_key, key_maker
from lema_local.records.store import Writer
from lema_local.records.types import Attempt, Completion, Purpose

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


@dataclass
class Work:
    """What is to be done, and how it went. A request is for the calls of one batch: consecutive samples of a prompt."""

    store: Writer
    endpoint: Endpoint  # as it is recorded
    calls: Sequence[Call]
    render: Callable[[Call], Prompt]  # just before it is sent: prompts of a large run would not fit in memory
    accepts: Callable[[Call, str], bool] | None
    progress: Progress
    refused_before: frozenset[str] = frozenset()  # ids: that these are refused again is no word on the endpoint
    faults: Counter[str] = field(default_factory=Counter)
    stopped: BudgetError | EndpointError | StoreError | None = None  # why no more requests are made
    _refused: dict[int, set[tuple[str, ...]]] = field(default_factory=dict)  # status -> prompts, since the last reply
    _left_over: deque[Call] = field(default_factory=deque)  # samples that did not come with their request
    _groups: Iterator[list[Call]] = field(init=False)

    def __post_init__(self) -> None:
        self._groups = _groups(self.calls)

    def next(self, *, takes_n: bool) -> list[Call]:
        """The calls of the next request, one where the server gives one a request; none when all are taken."""
        if self._left_over:
            return [self._left_over.popleft()]
        batch = next(self._groups, [])
        if not takes_n:
            self._left_over.extend(batch[1:])
            return batch[:1]
        return batch

    def keep(self, batch: Sequence[Call], replies: Sequence[Reply | None]) -> None:
        """The replies of a request; a sample without one is asked for again, by a request of its own."""
        for call, reply in zip(batch, replies, strict=True):
            if reply is None:
                self._left_over.append(call)
                continue
            self._refused.clear()
            self._add(completion(call, call.id, reply))
            self.progress.step(
                tokens=reply.completion_tokens or 0,
                cost_usd=reply.cost_usd or 0.0,
                accepted=self.accepts(call, reply.text) if self.accepts else None,
            )

    def log(self, batch: Sequence[Call], failure: Failure) -> None:
        """A failed attempt at a request."""
        self.faults[failure.error.partition(":")[0]] += 1
        self.progress.cost_usd += failure.cost_usd or 0.0
        self._add(attempt(batch[failure.sample].id, self.endpoint, failure))

    def _add(self, fact: Fact) -> None:
        """Record it. A store that cannot go on ends the work, and what is under way is kept as far as it can be."""
        try:
            self.store.add(fact)
        except StoreError as error:
            self.stop(error)

    def give_up(self, batch: Sequence[Call], failure: Failure | None) -> None:
        """A request whose last attempt failed, at a server that all calls go to, by `failure`: its calls stay pending.
        Where that refuses one prompt after another, no further request is made."""
        for _ in batch:
            self.progress.step(failed=True)
        if failure is None or failure.status not in REFUSALS or any(call.id in self.refused_before for call in batch):
            return
        prompts = self._refused.setdefault(failure.status, set())
        prompts.add((batch[0].template, batch[0].problem_id, batch[0].rationale_id or ""))
        if len(prompts) >= MOST_REFUSED:
            self.stop(refused_in_a_row(self.endpoint, failure))

    def stop(self, error: BudgetError | EndpointError | StoreError) -> None:
        """Make no further request; those under way come to their end. Of several reasons the gravest is told."""
        self.stopped = max(self.stopped or error, error, key=_gravity)


def _gravity(error: Exception) -> tuple[bool, bool]:
    """What cannot be kept goes before what an endpoint refuses, and that before the budget."""
    return isinstance(error, StoreError), isinstance(error, EndpointError)


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
