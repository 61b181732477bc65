"""Results of batches into the database, from the provider or from files: what is asked for and not there yet, once."""

import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lema_local.calls.batches import Result, lines_of, read_result
from lema_local.calls.echoes import scrubber
from lema_local.calls.failures import RAW_REPLY_CHARACTERS, Failure, failure_of
from lema_local.calls.replies import Asked, claims_of_lie, judge_body, remarks, replies_of
from lema_local.calls.usage import cost_of
from lema_local.errors import DataError
from lema_local.stages.batch_work import Purpose, Work, works
from lema_local.stages.derive import derive
from lema_local.stages.run import Run
from lema_local.stages.work import Call, attempt, completion


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


def import_files(run: Run, purpose: Purpose, paths: Sequence[Path]) -> Imported:
    """The same of files, and of folders in which `lema batch run` wrote its results."""
    files = {f"{path}, line": _lines(path) for path in _result_files(paths)}
    return add_results(run, Awaited.of(run, purpose), files, is_batch=False)


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
    return add_results(run, Awaited.of(run, purpose), {"line": lines}, is_batch=is_batch)


@dataclass(frozen=True, slots=True)
class Awaited:
    """The calls of a purpose that this profile wants, by id, and which of them have no reply yet."""

    purpose: Purpose
    calls: Mapping[str, tuple[Call, Work]]
    missing: set[str]
    scrub: Callable[[str], str]

    @classmethod
    def of(cls, run: Run, purpose: Purpose) -> "Awaited":
        calls = {call.id: (call, work) for work in works(run, purpose) for call in work.wanted}
        scrub = _scrubber(run, {work.endpoint.name for _, work in calls.values()})
        return cls(purpose, calls, run.store.missing("completion", list(calls)), scrub)


def add_results(run: Run, awaited: Awaited, files: Mapping[str, Iterable[str]], *, is_batch: bool) -> Imported:
    """Add what these calls wait for, from lines by what their file is called in a notice, and grade it."""
    counts: Counter[str] = Counter()
    numbered = ((name, number, line) for name, lines in files.items() for number, line in enumerate(lines, start=1))
    for name, number, line in numbered:
        if not line.strip():
            continue
        try:
            result = read_result(awaited.scrub(line))
        except ValueError as error:
            counts["bad_lines"] += 1
            run.notice(f"{name} {number}: {error}; skipped")
            continue
        if result.custom_id not in awaited.calls:
            counts["foreign"] += 1
        elif result.custom_id not in awaited.missing:
            counts["known"] += 1
        elif _add(run, result, *awaited.calls[result.custom_id], is_batch=is_batch, line=line):
            awaited.missing.discard(result.custom_id)
            counts["new"] += 1
        else:
            counts["failed"] += 1
    derive(run.store, awaited.purpose)
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


def _scrubber(run: Run, names: Iterable[str]) -> Callable[[str], str]:
    """Takes the keys of these endpoints, where they are set, out of a line: a file may hold what a server echoed."""
    variables = {run.profile.endpoint(name).api_key_env or "" for name in names}
    scrubs = [scrubber(key) for name in variables if (key := os.environ.get(name, "").strip())]
    return lambda line: functools.reduce(lambda text, scrub: scrub(text), scrubs, line)
