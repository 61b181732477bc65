"""OpenAI's Batch API: upload a file of calls, ask how it stands, download what came.

api = BatchApi(endpoint)
remote = api.create(api.upload(lines, tag=id_), url="/v1/chat/completions", tag=id_)   # RemoteBatch(id="batch_68...")
api.status(remote.id).status                                             # "in_progress"
"""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile, gettempdir
from typing import Any, BinaryIO

from lema_local.calls.batches import lines_of
from lema_local.calls.bodies import MOST_BODY_BYTES, bound
from lema_local.calls.echoes import scrubber
from lema_local.calls.endpoint import Endpoint
from lema_local.calls.headers import only_ours
from lema_local.calls.transport import past_proxies
from lema_local.errors import EndpointError

TAG = "lema_batch"
OVER = frozenset({"completed", "failed", "expired", "cancelled"})
LISTED = 1000  # of the provider's batches, newest first, that are searched for one of ours
MOST_RESULT_BYTES = 20_000_000_000  # of a file: 50,000 replies of 100,000 tokens


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as the provider has it."""

    id: str
    status: str
    completed: int
    failed: int
    total: int
    files: tuple[str, ...]  # ids of the result files: replies, then errors
    tag: str | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in OVER


def _bounded(response: Any) -> None:
    """An event hook: only results, which go to the disk, may be larger than a reply."""
    is_results = response.is_success and response.request.url.path.endswith("/content")
    bound(response, MOST_RESULT_BYTES if is_results else MOST_BODY_BYTES)


class LostAnswerError(EndpointError):
    """A batch was handed in, and nobody knows whether it is made."""


class BatchApi:
    """The batches of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        from openai import DefaultHttpxClient, OpenAI

        self._endpoint = endpoint
        self._without_key = scrubber(endpoint.api_key)
        connections = DefaultHttpxClient(
            **past_proxies((endpoint.base_url,)),
            follow_redirects=False,  # prompts go to this address alone
            event_hooks={"request": [lambda request: only_ours(request, endpoint.api_key)], "response": [_bounded]},
        )
        weakref.finalize(self, connections.close)
        self._openai = OpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.api_key,
            max_retries=endpoint.max_retries,
            http_client=connections,
        )

    def find(self, tag: str) -> RemoteBatch | None:
        """The batch with this tag, where there is one that may bring something."""
        with self._errors():
            for number, found in enumerate(self._openai.batches.list(limit=100)):
                remote = self._remote(found)
                if remote.tag == tag and (remote.files or not remote.is_over):
                    return remote
                if number >= LISTED:
                    break
        return None

    def upload(self, lines: Sequence[str], *, tag: str) -> str:
        """A file of calls, of which `create` makes a batch; returns its id."""
        data = ("\n".join(lines) + "\n").encode("ascii")
        with self._errors():
            return self._openai.files.create(file=(f"{tag}.jsonl", data), purpose="batch").id

    def create(self, file_id: str, *, url: Any, tag: str) -> RemoteBatch:
        """Hand in a file, once: a second try of a request that only seemed lost would be a second batch to pay for.
        LostAnswerError where it may be made all the same, another EndpointError where it is not."""
        import openai

        with self._errors():
            try:
                found = self._openai.with_options(max_retries=0).batches.create(
                    input_file_id=file_id, endpoint=url, completion_window="24h", metadata={TAG: tag}
                )
            except openai.APIStatusError as error:
                if error.status_code >= 500:
                    raise LostAnswerError(self._said(error)) from None
                raise
            except openai.OpenAIError as error:
                raise LostAnswerError(self._said(error)) from None
            return self._remote(found)

    def status(self, remote_id: str) -> RemoteBatch:
        """How a batch stands."""
        with self._errors():
            return self._remote(self._openai.batches.retrieve(remote_id))

    def lines(self, remote: RemoteBatch) -> Iterator[str]:
        """The lines of its result files, each of which is fetched whole and laid aside before its first line is given:
        who reads them slowly keeps no connection waiting."""
        for file_id in remote.files:
            with TemporaryFile() as file:
                self._fetch(file_id, file)
                yield from filter(str.strip, map(self._without_key, lines_of(file)))

    def _fetch(self, file_id: str, file: BinaryIO) -> None:
        with self._errors(), self._openai.files.with_streaming_response.content(file_id) as results:
            try:
                file.writelines(results.iter_bytes())
                file.seek(0)
            except OSError as error:
                raise EndpointError(
                    f"The results at {self._endpoint.base_url} have no room in {gettempdir()}: {error.strerror}. Make "
                    "room, or set TMPDIR to another folder, then run the same command again."
                ) from None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What can go wrong, in one line and without the key."""
        import httpx2
        import openai

        try:
            yield
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise EndpointError(self._said(error)) from None

    def _said(self, error: Exception) -> str:
        import openai

        said = str(error.__cause__ or error)
        if isinstance(error, openai.APIStatusError) and error.status_code < 400:
            said = f"go to {error.response.headers.get('location')}. Nothing was sent there."
        said = " ".join(self._without_key(said).split())[:300]
        return f"The Batch API at {self._endpoint.base_url} says: {said} Mend that, then run the same command again."

    def _remote(self, batch: Any) -> RemoteBatch:
        counts, scrub = batch.request_counts, self._without_key
        return RemoteBatch(
            id=scrub(str(batch.id)),
            status=scrub(str(batch.status)),
            completed=counts.completed if counts else 0,
            failed=counts.failed if counts else 0,
            total=counts.total if counts else 0,
            files=tuple(str(file) for file in (batch.output_file_id, batch.error_file_id) if file),
            tag=(batch.metadata or {}).get(TAG),
        )
