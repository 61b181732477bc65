"""What every stage that calls a model does: wanted minus there = pending; complete what is pending; add each reply as
it comes.

A `Call` is a completion that is wanted. Its id is known before it is paid for, so a rerun, a resumed run and a second
machine all ask for the same thing, and what is in the store is never bought again.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lema_local.calls.client import refuse_unpriced
from lema_local.calls.endpoint import Endpoint, Prompt
from lema_local.calls.failures import REFUSALS
from lema_local.errors import BudgetError, EndpointError, LedgerError
from lema_local.progress import Progress
from lema_local.records.store import Store, stage_sql
from lema_local.stages import local_engine
from lema_local.stages.run import Run
from lema_local.stages.work import Call, Work


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
    """Make the calls at `endpoint` by the run's engine, concurrently up to its limits; every reply is in the store when
    this returns or raises.

    `render` makes a call's prompt just before it is sent (prompts of a large run would not fit in memory). Raises
    EndpointError when the endpoint is of no use, when its adapter is not active (probe.py) or when not one call ever
    came through, ProfileError for a hosted model that no budget can hold, BudgetError before the run's budget would be
    passed, StoreError when the store cannot go on: the calls in flight are finished then, so that nothing that is paid
    for is lost.
    """
    if run.budget is not None:
        refuse_unpriced(endpoint)  # whichever engine: that of a cluster asks no budget where there is no price
    progress = Progress(label, len(calls))
    work = Work(run.store, endpoint, calls, render, accepts, progress, _refused_before(run, endpoint))
    progress.open()
    try:
        if run.engine is not None:
            run.engine(work, endpoint)
        else:
            local_engine.work_off(work, endpoint, budget=run.budget, notice=run.notice, said=run.said)
    finally:
        progress.close()
        if work.faults:
            kinds = ", ".join(f"{error} {n}" for error, n in work.faults.most_common(6))
            run.notice(f"{work.faults.total()} attempts at {endpoint.name} failed and were logged ({kinds}).")
    if isinstance(work.stopped, BudgetError):
        left = progress.total - progress.done
        raise BudgetError(f"{work.stopped} {left} of {progress.total} calls to {endpoint.name} are left.")
    if work.stopped is not None:
        raise work.stopped
    if progress.failed and progress.failed == progress.done and not _has_answered(run, calls[0]):
        raise EndpointError(
            f"All {progress.failed} calls to {endpoint.name} failed: see `lema sql failed_calls`."
            f"{_hint(calls[0], work.faults)}"
        )
    if progress.failed:
        run.notice(f"{progress.failed} of {progress.done} calls failed and stay pending: see `lema sql failed_calls`.")
    return Outcome(progress.done - progress.failed, progress.failed)


def _refused_before(run: Run, endpoint: Endpoint) -> frozenset[str]:
    """Ids of the calls to it that were refused before now: a gateway flags the same prompts in every rerun."""
    sql = "select distinct completion_id as id from attempt where endpoint = $name and list_contains($these, status)"
    return frozenset(row["id"] for row in run.store.rows(sql, name=endpoint.name, these=sorted(REFUSALS)))


def _hint(call: Call, faults: Counter[str]) -> str:
    """What may be wrong where every attempt ended in the same way."""
    if set(faults) == {"HTTP 403"}:
        return " Its server refuses the prompts, or the key: check the variable that api_key_env names."
    if call.sampling.structured and call.endpoint.structured_form == "openai" and set(faults) == {"HTTP 500"}:
        return (
            " A llama-cpp-python server answers 500 to OpenAI's form of a JSON schema: give the endpoint "
            'structured_form = "llama_cpp", or the correction structured = false.'
        )
    return ""


def _has_answered(run: Run, call: Call) -> bool:
    """Whether any call like this one ever came through. Where one did, the few that never do must not stop a rerun."""
    run.store.merge()
    sql = "select 1 from completion where purpose = $purpose and model = $model limit 1"
    return bool(run.store.rows(sql, purpose=call.purpose, model=call.endpoint.model))
