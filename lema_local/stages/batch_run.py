"""One part of the calls that `lema batch export --parts` wrote, done by our own client: no database, no profile.

    done = run_part(Path("parts/part-3.jsonl"), Path("parts/part-3.results.jsonl"), Servers(base_urls=["http://..."]))
    done.done, done.failed                   # (2000, 0)

Each reply is a line of the results as soon as it comes, and each failed attempt another; what has a reply there is not
asked again. So a job that a scheduler ends, or starts anew, goes on where it was.
"""

import asyncio
import importlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from lema_local.calls.batches import URLS, BatchRequest, failure_line, read_request, read_result, result_line
from lema_local.calls.client import CallFailedError, Client, Failure
from lema_local.calls.endpoint import Endpoint
from lema_local.calls.waiting import wait_for
from lema_local.errors import DataError, EndpointError
from lema_local.progress import Progress
from lema_local.records.locks import lock
from lema_local.serving.endpoints import Endpoints, read_key
from lema_local.settings.endpoints import EndpointProfile, check_endpoint
from lema_local.stages.calls import Outcome

SYNC_EVERY_S = 0.2
HEAD = b'{"id": "lema-'  # of each line that is written here


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Who does a part, and how hard they may be driven; as in a profile."""

    base_urls: Sequence[str]
    api_key_env: str | None = None
    concurrency: int = 8
    deadline_s: float = 300.0
    requires_usage: bool = True

    def endpoint(self, model: str, api: Literal["chat", "completions"]) -> Endpoint:
        """The same, ready to be called. ProfileError where it stands for nothing."""
        profile = EndpointProfile(
            model=model,
            base_url=self.base_urls[0],
            more_base_urls=tuple(self.base_urls[1:]),
            api=api,
            api_key_env=self.api_key_env,
            concurrency=self.concurrency,
            deadline_s=self.deadline_s,
            requires_usage=self.requires_usage,
        )
        check_endpoint("batch run", "batch", profile)
        return replace(Endpoints().resolve("batch", profile).endpoint, api_key=read_key("batch", profile))


def results_of(part: Path) -> Path:
    """Where the results of a part go, unless told otherwise: part-3.results.jsonl beside part-3.jsonl."""
    return part.with_name(part.name.removesuffix(".jsonl") + ".results.jsonl")


def run_part(
    part: Path, output: Path, servers: Servers, *, notice: Callable[[str], None] = lambda message: None
) -> Outcome:
    """Make the calls of a part that have no reply yet. Raises DataError for files that cannot be used, EndpointError
    where the servers are of no use; what came before that is kept."""
    ids, first = _survey(part)
    with _results(output) as (file, done):
        left = len(ids - done)
        if first is None or not left:
            return Outcome()
        endpoint = servers.endpoint(str(first.body["model"]), "chat" if first.url == URLS["chat"] else "completions")
        importlib.import_module("openai")  # here, where Ctrl-C ends it at once
        progress = Progress(part.name, left)
        work = _Work((request for request in _requests(part) if request.custom_id not in done), _Lines(file), progress)
        progress.open()
        try:
            wait_for(work.go(endpoint, notice))
        finally:
            progress.close()
            work.lines.sync()
    if work.stopped is not None:
        raise work.stopped
    if progress.failed and progress.failed == progress.done and not done:
        raise EndpointError(f"All {progress.failed} calls failed: {output} says how, in its lines with an error.")
    return Outcome(progress.done - progress.failed, progress.failed)


def _survey(part: Path) -> tuple[set[str], BatchRequest | None]:
    """The calls of a part, and the first of them; all are looked at before one is paid for."""
    first, ids = None, set[str]()
    for request in _requests(part):
        first = first or request
        if (request.url, request.body["model"]) != (first.url, first.body["model"]):
            raise DataError(f"{part} holds calls of more than one model or API: a part has those of one endpoint.")
        ids.add(request.custom_id)
    return ids, first


def _requests(part: Path) -> Iterator[BatchRequest]:
    """The lines of a part, one by one: a large one would not fit in memory."""
    try:
        with part.open(encoding="utf-8", errors="replace", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    try:
                        yield read_request(line)
                    except ValueError as error:
                        raise DataError(f"{part}, line {number}: {error}. Export the calls anew.") from error
    except OSError as error:
        raise DataError(f"Cannot read {part}: {error.strerror}.") from error


@contextmanager
def _results(output: Path) -> Iterator[tuple[BinaryIO, set[str]]]:
    """The file of results, open at its end and locked, and the ids that have a reply there."""
    try:
        with output.open("a+b") as file:
            if not lock(file, wait=False):
                raise DataError(f"Another `lema batch run` writes {output}: wait for it, or name another --output.")
            yield file, _replied(file, output)
    except OSError as error:
        raise DataError(f"Cannot write {output}: {error.strerror}. What came before is kept.") from error


def _replied(file: BinaryIO, output: Path) -> set[str]:
    """The ids with a reply. A last line that was cut off as it was written is taken away."""
    done, whole = set[str](), 0
    file.seek(0)
    for line in file:
        is_whole = line.endswith(b"\n")
        if not (line.startswith(HEAD) or (not is_whole and HEAD.startswith(line))):
            raise DataError(f"{output} is no file that `lema batch run` wrote: name another with --output.")
        if not is_whole:
            break
        whole += len(line)
        with suppress(ValueError):  # damaged: asked again, and the import says so
            result = read_result(line.decode("utf-8", "replace"))
            done |= {result.custom_id} if result.body is not None else set()
    file.truncate(whole)
    return done


@dataclass
class _Lines:
    """Appends to the file of results: each line is the system's at once, and on disk soon."""

    file: BinaryIO
    synced: float = 0.0

    def add(self, line: str) -> None:
        self.file.write(line.encode("ascii") + b"\n")
        self.file.flush()
        if time.monotonic() - self.synced > SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        os.fsync(self.file.fileno())
        self.synced = time.monotonic()


@dataclass
class _Work:
    """The calls of a part, and what its workers share."""

    requests: Iterator[BatchRequest]
    lines: _Lines
    progress: Progress
    stopped: EndpointError | None = None

    async def go(self, endpoint: Endpoint, notice: Callable[[str], None]) -> None:
        async with Client(endpoint, on_notice=notice) as client, asyncio.TaskGroup() as workers:
            for _ in range(min(endpoint.most_calls, self.progress.total)):
                workers.create_task(self._worker(client))

    async def _worker(self, client: Client) -> None:
        for request in self.requests:

            def log(failure: Failure, id_: str = request.custom_id) -> None:
                self.lines.add(failure_line(id_, failure))

            try:
                reply = await client.send(request, on_failure=log)
            except CallFailedError:
                self.progress.step(failed=True)
            except EndpointError as error:
                self.stopped = self.stopped or error  # the other workers finish what is in flight
                client.stop()
            else:
                self.lines.add(result_line(request.custom_id, reply, request.url))
                self.progress.step(tokens=reply.completion_tokens or 0)
            if self.stopped is not None:
                return
