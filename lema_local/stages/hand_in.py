"""A batch at the provider, as the records have it: written down before it is handed in, and settled when it is there.

record(run, planned, ids)            # remote_id "": from now on its calls count as handed in
remote = api.create(...)             # its tag is planned.id, so that it is found though this answer is lost
handed_in(run, planned, remote, ids) # the same under the provider's id, and the end of what was planned
"""

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from lema_local.calls.batch_api import BatchApi, RemoteBatch
from lema_local.calls.endpoint import Endpoint
from lema_local.errors import EndpointError
from lema_local.records.keys import content_key
from lema_local.records.store import stage_sql
from lema_local.records.types import Batch, BatchCall, BatchEnd
from lema_local.serving.endpoints import read_key
from lema_local.stages.run import Run

NEVER_MADE = "never made"  # the end of a hand-in of which the provider knows nothing


def record(run: Run, batch: Batch, ids: Iterable[str]) -> None:
    """Add a batch and its calls."""
    for id_ in ids:
        run.store.add(BatchCall(batch.id, id_))
    run.store.add(batch)  # row last: it makes the calls count as handed in


def end(run: Run, batch: Batch, status: str) -> None:
    """Add its end: nothing more is waited for."""
    run.store.add(BatchEnd(batch.id, status, datetime.now(UTC)))


def handed_in(run: Run, planned: Batch, remote: RemoteBatch, ids: Iterable[str]) -> Batch:
    """Record that it is there, in the place of what was planned."""
    batch = replace(planned, id=content_key("batch", planned.id, remote.id), remote_id=remote.id)
    record(run, batch, ids)
    end(run, planned, "handed in")
    return batch


def found_again(run: Run, planned: Batch) -> tuple[Batch, RemoteBatch] | None:
    """A batch whose hand-in was cut off, as it is there; None where it is not."""
    remote = api_of(run, planned).find(planned.id)
    if remote is None:
        return None
    rows = run.store.rows("select completion_id as id from batch_call where batch_id = $id", id=planned.id)
    return handed_in(run, planned, remote, [row["id"] for row in rows]), remote


def settle(run: Run, endpoint: str) -> tuple[list[Batch], bool]:
    """Of the hand-ins at an endpoint that were cut off, those that are there; and whether any was never made."""
    run.store.merge()
    planned = [batch for batch in open_batches(run) if not batch.remote_id and batch.endpoint == endpoint]
    found = [(batch, found_again(run, batch)) for batch in planned]
    for batch, there in found:
        if there is None:
            end(run, batch, NEVER_MADE)
    run.store.merge()
    return [there[0] for _, there in found if there], any(there is None for _, there in found)


def batch_id(base_url: str, ids: Sequence[str], ended: Collection[str]) -> str:
    """The id, and tag, of a hand-in: the same when it was interrupted and is repeated, another one after its end."""
    numbers = itertools.count()
    return next(id_ for n in numbers if (id_ := content_key("batch", base_url, sorted(ids), n)) not in ended)


def open_batches(run: Run) -> list[Batch]:
    """Those at work, and those whose hand-in was cut off."""
    return [Batch(**row) for row in run.store.rows(stage_sql("open_batches"))]


def api_of(run: Run, batch: Batch) -> BatchApi:
    """The API at which a batch was handed in, by the profile's endpoint of that name."""
    endpoint = keyed(run, batch.endpoint)
    if endpoint.base_url != batch.base_url:
        raise EndpointError(
            f"Batch {batch.name} is at {batch.base_url}, but endpoint {batch.endpoint} is now at "
            f"{endpoint.base_url or 'a recipe'}: use the profile and options that it was handed in with."
        )
    return BatchApi(endpoint)


def keyed(run: Run, name: str) -> Endpoint:
    """An endpoint of the profile, with its key."""
    resolved = run.resolved(name)
    return replace(resolved.endpoint, api_key=read_key(name, resolved.profile))
