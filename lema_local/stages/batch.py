"""Pending calls by file instead of one by one: export them, hand them in at the Batch API, fetch what came.

The files are OpenAI batch JSONL, so that a cluster's own scheduler can do the work: `vllm run-batch` on a file of chat,
`lema batch run` (batch_run.py) on the parts of any. A batch that is handed in is recorded with its calls, and no stage
makes those calls meanwhile.
"""

import itertools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lema_local.calls.batch_api import BatchApi, LostAnswerError, RemoteBatch
from lema_local.calls.batches import split, url_of
from lema_local.errors import BudgetError, DataError, EndpointError, ProfileError
from lema_local.records.types import Batch
from lema_local.stages.batch_results import Awaited, Imported, add_results
from lema_local.stages.batch_work import Purpose, Work, work_of
from lema_local.stages.hand_in import (
    NEVER_MADE,
    api_of,
    batch_id,
    end,
    found_again,
    handed_in,
    keyed,
    open_batches,
    record,
    settle,
)
from lema_local.stages.run import Run
from lema_local.stages.work import Call


def export(work: Work, output: Path) -> int:
    """Write the pending calls to a file that `vllm run-batch` takes; returns how many. DataError for calls that it
    does not take."""
    if work.endpoint.api == "completions":
        raise DataError(
            f"{work.endpoint.name} is asked by /v1/completions, and `vllm run-batch` takes only lines of chat. Add "
            "--parts 1 (or more): `lema batch run` takes them."
        )
    with _writing(output):
        _write(output, work.lines())
    return len(work.pending)


def export_parts(work: Work, folder: Path, parts: int) -> int:
    """Write the pending calls to part-0.jsonl, part-1.jsonl, ... of a folder, for `lema batch run`; returns how many
    calls. Consecutive ones, for a server's prefix cache. DataError where the folder has parts already, which may be at
    work."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if next(folder.glob("part-*"), None):
            raise DataError(f"{folder} holds parts already, which may be at work. Name another folder with --output.")
        lines, calls = work.lines(), len(work.pending)
        for part in range(parts):
            size = calls * (part + 1) // parts - calls * part // parts
            _write(folder / f"part-{part}.jsonl", itertools.islice(lines, size))
    return calls


def _write(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="ascii") as file:
        file.writelines(line + "\n" for line in lines)


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"Cannot write {output}: {error.strerror}. Name another with --output.") from error


def submit(run: Run, work: Work) -> list[Batch]:
    """Hand the pending calls in at the endpoint's Batch API, in as many files as it takes, and record each. Hand-ins
    that were cut off are looked for first."""
    e = work.endpoint
    if not e.base_url:
        raise EndpointError(f"Endpoint {e.name} is a recipe, which has no Batch API: use `lema batch export`.")
    made, are_freed = settle(run, e.name)
    if are_freed:
        work = work_of(run, work.purpose)
        e = work.endpoint
    if run.budget is not None:
        most = sum(_most_usd(work, call) for call in work.pending)
        if e.price is None or most > run.budget.usd:
            cost = "has no known price" if e.price is None else f"may cost ${most:.2f}"
            raise BudgetError(f"The batch {cost}, more than the budget allows: give a larger --budget or a --limit.")
    api = BatchApi(keyed(run, e.name))
    ended = {row["id"] for row in run.store.rows("select batch_id as id from batch_end")}
    for lines in split(work.lines()):
        ids = [str(json.loads(line)["custom_id"]) for line in lines]
        tag = batch_id(e.base_url, ids, ended)
        planned = Batch(tag, "", e.name, e.base_url, work.purpose, len(ids), datetime.now(UTC))
        remote = api.find(tag)  # by a database that is lost
        if remote is None:
            file_id = api.upload(lines, tag=tag)
            record(run, planned, ids)  # before it is there: if its answer is lost, its calls are not bought again
            run.store.merge()
            try:
                remote = api.create(file_id, url=url_of(e), tag=tag)
            except LostAnswerError:
                raise
            except EndpointError:
                end(run, planned, NEVER_MADE)
                raise
        made.append(handed_in(run, planned, remote, ids))
    run.store.merge()
    return made


def standing(run: Run) -> list[tuple[Batch, RemoteBatch | None]]:
    """Every batch at work, as recorded and as the provider has it; None, and a notice, where it cannot be asked."""
    return [_asked(run, batch) for batch in open_batches(run)]


def fetch(run: Run) -> Imported:
    """Import what the batches that are over have brought, and record their end. What failed is pending again.

    A batch with results of no call of this profile stays open: they are paid for, and another profile may want them.
    """
    total, awaited = Imported(), dict[Purpose, Awaited]()
    for batch, remote in standing(run):
        if remote is None or not remote.is_over:
            continue
        lines, purpose = api_of(run, batch).lines(remote), _purpose(batch)
        if purpose == "correct" or purpose not in awaited:  # what a corrector is asked hangs on those before it
            awaited[purpose] = Awaited.of(run, purpose)
        try:
            found = add_results(run, awaited[purpose], {"line": lines}, is_batch=True)
        except EndpointError as error:
            run.notice(f"{batch.remote_id}: {error}")
            continue
        total += found
        if found.foreign:
            run.notice(
                f"{batch.remote_id} stays open: {found.foreign} of its results are of no call of this profile. Fetch "
                f"it as it was handed in, by that profile and its options, or give them up: lema batch drop {remote.id}"
            )
        else:
            end(run, batch, remote.status)
    run.store.merge()
    return total


def _purpose(batch: Batch) -> Purpose:
    return "correct" if batch.purpose == "correct" else "augment" if batch.purpose == "augment" else "sample"


def drop(run: Run, remote_id: str) -> Batch:
    """Wait no longer for a batch: what it has not brought is pending again."""
    batch = next((batch for batch in open_batches(run) if batch.name == remote_id), None)
    if batch is None:
        raise DataError(f"No batch {remote_id} is waited for in {run.store.path}: see `lema batch status`.")
    end(run, batch, "dropped")
    run.store.merge()
    return batch


def _asked(run: Run, batch: Batch) -> tuple[Batch, RemoteBatch | None]:
    """How a batch stands; one that cannot be asked must not keep others from being fetched."""
    try:
        if batch.remote_id:
            return batch, api_of(run, batch).status(batch.remote_id)
        if found := found_again(run, batch):
            return found
        run.notice(f"{batch.name}: its hand-in was cut off, and it is not there. `lema batch submit` does it again.")
    except EndpointError as error:
        run.notice(f"{batch.name}: {error} If it is gone for good: lema batch drop {batch.name}")
    except ProfileError as error:  # no such endpoint, or no key for it: the batch itself may be well
        run.notice(f"{batch.name}: {error} Ask for it with the profile and the key that it was handed in with.")
    return batch, None


def _most_usd(work: Work, call: Call) -> float:
    price = work.endpoint.price
    if price is None:
        return 0.0
    return price.in_batch.cost(prompt=work.render(call).most_tokens, cached=0, completion=call.sampling.max_tokens)
