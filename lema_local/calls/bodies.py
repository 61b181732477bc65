"""What a server may send: a body that does not grow without end, is not compressed, and is UTF-8, as JSON is.

bound(response, MOST_BODY_BYTES)      # before it is read; reading more than that raises httpx2.DecodingError
"""

from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any

MOST_BODY_BYTES = 32_000_000  # a reply of 128 samples of 32,000 tokens; more than that is an attack or a bug


def bound(response: Any, most_bytes: int) -> None:
    """Bound the body of an httpx2 response, of a client with or without async, from within an event hook."""
    import httpx2

    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx2.DecodingError("compressed body, which was not asked for")
    response.stream = _stream_class()(response.stream, most_bytes)
    response.encoding = "utf-8"  # a charset of the server's choice may unfold without end, or raise


@cache
def _stream_class() -> Any:
    import httpx2

    class Bounded(httpx2.AsyncByteStream, httpx2.SyncByteStream):
        def __init__(self, stream: Any, most_bytes: int) -> None:
            self._stream, self._most_bytes, self._bytes = stream, most_bytes, 0

        def _counted(self, chunk: bytes) -> bytes:
            self._bytes += len(chunk)
            if self._bytes > self._most_bytes:
                raise httpx2.DecodingError(f"body over {self._most_bytes / 1e6:g} MB")
            return chunk

        def __iter__(self) -> Iterator[bytes]:
            return map(self._counted, self._stream)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self._stream:
                yield self._counted(chunk)

        def close(self) -> None:
            self._stream.close()

        async def aclose(self) -> None:
            await self._stream.aclose()

    return Bounded
