"""Pending calls by file instead of one by one: export them, hand them in at the Batch API, import what came.

The files are OpenAI batch JSONL, so that a cluster's own scheduler can do the work: `vllm run-batch` on a file of chat,
`lema batch run` (batch_run.py) on the parts of any. A batch that is handed in is recorded with its calls, and no stage
makes those calls meanwhile.
"""

import functools
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from lema_local.calls.batch_api import BatchApi, LostAnswerError, RemoteBatch
from lema_local.calls.batches import Result, lines_of, read_result, request_line, split, url_of
from lema_local.calls.echoes import scrubber
from lema_local.calls.endpoint import Endpoint, Prompt
from lema_local.calls.failures import RAW_REPLY_CHARACTERS, Failure, failure_of
from lema_local.calls.replies import Asked, claims_of_lie, judge_body, remarks, replies_of
from lema_local.calls.usage import cost_of
from lema_local.errors import BudgetError, DataError, EndpointError, ProfileError
from lema_local.records.types import Batch
from lema_local.stages import correct, sample
from lema_local.stages.calls import pending
from lema_local.stages.derive import derive
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
from lema_local.stages.work import Call, attempt, completion

Purpose = Literal["sample", "augment", "correct"]
Renderer = Callable[[Call], Prompt]


@dataclass(frozen=True, slots=True)
class Work:
    """The calls of one purpose at one endpoint: all that are wanted, and those that are pending."""

    purpose: Purpose
    endpoint: Endpoint
    wanted: tuple[Call, ...]
    pending: tuple[Call, ...]
    render: Renderer

    def lines(self) -> Iterator[str]:
        """The pending calls as lines of a batch file."""
        for call in self.pending:
            yield request_line(call.id, self.endpoint, self.render(call), call.sampling, call.sample_index)


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file of results brought."""

    new: int = 0
    failed: int = 0  # error rows and replies that are none: logged, still pending
    known: int = 0  # were in the database already
    foreign: int = 0  # of another profile, or changed since
    bad_lines: int = 0

    def __add__(self, other: "Imported") -> "Imported":
        return Imported(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def works(run: Run, purpose: Purpose) -> Iterator[Work]:
    """The work of a purpose, endpoint by endpoint: the reasoners', the augmenter's, or that of each corrector of the
    cascade, each of which gets what the ones before answered and failed to correct."""
    if purpose != "correct":
        for name in run.profile.sampling.reasoners if purpose == "sample" else (sample.AUGMENTER,):
            resolved = run.resolved(name)
            endpoint = resolved.endpoint
            calls = sample.wanted_of(run.profile, name, endpoint, run.problems.train)
            prompts = sample.prompts(run.problems.train, endpoint.api, bos_text=sample.bos_text_of(resolved))
            yield _work(run, purpose, endpoint, calls, prompts)
        return
    derive(run.store, "sample")  # replies that a stopped run left ungraded
    derive(run.store, "correct")
    left = correct.mistakes(run)
    for name in run.profile.correction.correctors:
        endpoint = run.resolved(name).endpoint
        calls = correct.wanted(run.profile, endpoint, left)
        yield _work(run, purpose, endpoint, calls, correct.prompts(left, endpoint.api))
        left = correct.left_for_the_next(run, left, calls, correct.kept(run.store, calls))


def work_of(run: Run, purpose: Purpose) -> Work:
    """What is to be done for a purpose now: the first of its work that has calls pending."""
    everything = list(works(run, purpose))
    return next((work for work in everything if work.pending), everything[-1])


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
    total = Imported()
    for batch, remote in standing(run):
        if remote is None or not remote.is_over:
            continue
        lines = api_of(run, batch).lines(remote)
        try:
            found = import_results(run, _purpose(batch), lines, is_batch=True)
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


def import_files(run: Run, purpose: Purpose, paths: Sequence[Path]) -> Imported:
    """The same of files, and of folders in which `lema batch run` wrote its results."""
    return _import(run, purpose, {f"{path}, line": _lines(path) for path in _result_files(paths)}, is_batch=False)


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        yield from lines_of(file)


def _result_files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(path.glob("*.results.jsonl"))
        if not inside:
            raise DataError(f"{path} holds no *.results.jsonl: `lema batch run` writes one beside each part.")
        yield from inside


def import_results(run: Run, purpose: Purpose, lines: Iterable[str], *, is_batch: bool = False) -> Imported:
    """Add the results that this profile's calls wait for, in whatever order they come; what is there stays as it is.
    `is_batch`: they came by the endpoint's Batch API, at its price."""
    return _import(run, purpose, {"line": lines}, is_batch=is_batch)


def _import(run: Run, purpose: Purpose, files: Mapping[str, Iterable[str]], *, is_batch: bool) -> Imported:
    wanted = {call.id: (call, work) for work in works(run, purpose) for call in work.wanted}
    missing = run.store.missing("completion", list(wanted))
    counts: Counter[str] = Counter()
    scrub = _scrubber(run, {work.endpoint.name for _, work in wanted.values()})
    numbered = ((name, number, line) for name, lines in files.items() for number, line in enumerate(lines, start=1))
    for name, number, line in numbered:
        if not line.strip():
            continue
        try:
            result = read_result(scrub(line))
        except ValueError as error:
            counts["bad_lines"] += 1
            run.notice(f"{name} {number}: {error}; skipped")
            continue
        if result.custom_id not in wanted:
            counts["foreign"] += 1
        elif result.custom_id not in missing:
            counts["known"] += 1
        elif _add(run, result, *wanted[result.custom_id], is_batch=is_batch, line=line):
            missing.discard(result.custom_id)
            counts["new"] += 1
        else:
            counts["failed"] += 1
    derive(run.store, purpose)
    return Imported(**counts)


def _add(run: Run, result: Result, call: Call, work: Work, *, is_batch: bool, line: str) -> bool:
    """Record a result, as a completion or as a failed attempt; whether it was a completion."""
    e, failure = work.endpoint, Failure(result.error or "no response", result.status, result.raw)
    if result.body is not None:
        raw, price = json.dumps(result.body), e.price.in_batch if e.price and is_batch else e.price
        prompt = work.render(call)
        asked = Asked.of(e, prompt, call.sampling.max_tokens)
        try:
            body = judge_body(result.body, asked, characters=len(raw))
        except ValueError as lie:
            cost = cost_of(asked.believed(claims_of_lie(raw), len(raw)), price)
            failure = Failure(str(lie), result.status, raw[:RAW_REPLY_CHARACTERS], cost)
        else:
            for topic, remark in remarks(asked, body):
                run.say_once(f"{e.name} {topic}", f"{e.name}: {remark}")
            (reply,) = replies_of(body, price, latency_s=None, prefill=prompt.prefill)
            if reply.fault is None:
                run.store.add(completion(call, result.custom_id, reply))
                return True
            failure = failure_of(reply, prompt.prefill, raw)
    run.store.add(attempt(call.id, e, failure, line=line))
    return False


def _work(run: Run, purpose: Purpose, endpoint: Endpoint, calls: Sequence[Call], render: Renderer) -> Work:
    return Work(purpose, endpoint, tuple(calls), tuple(pending(run, calls)), render)


def _scrubber(run: Run, names: Iterable[str]) -> Callable[[str], str]:
    """Takes the keys of these endpoints, where they are set, out of a line: a file may hold what a server echoed."""
    variables = {run.profile.endpoint(name).api_key_env or "" for name in names}
    scrubs = [scrubber(key) for name in variables if (key := os.environ.get(name, "").strip())]
    return lambda line: functools.reduce(lambda text, scrub: scrub(text), scrubs, line)


def _most_usd(work: Work, call: Call) -> float:
    price = work.endpoint.price
    if price is None:
        return 0.0
    return price.in_batch.cost(prompt=work.render(call).most_tokens, cached=0, completion=call.sampling.max_tokens)
