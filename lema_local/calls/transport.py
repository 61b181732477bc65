"""One HTTP exchange: post a request by the openai client, with a hard deadline and a bound on the body.

    exchange = await Transport(...).post("http://127.0.0.1:8000/v1/completions", {"model": ..., "prompt": ...})
    exchange.error, exchange.status, exchange.raw          # (None, 200, '{"choices": ...')

It never raises for what a server or a network does: that is an `error` in one line, and where no connection came about
it says why in words, with the host and port that were tried. Redirects are not followed: a prompt goes where the
profile says, and nowhere else. Keys that a server echoes are taken out of all that leaves here.
"""

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

from lema_local.calls.bodies import MOST_BODY_BYTES, bound
from lema_local.calls.echoes import scrubber
from lema_local.calls.headers import only_ours
from lema_local.calls.replies import retry_after
from lema_local.printable import line

REDIRECT = "redirect:"  # how errors of these kinds begin
NO_CONNECTION = "no connection:"
NOT_TRUSTED = "certificate not trusted:"
NO_TLS = "no TLS:"
REFUSED = "connection refused"  # a NO_CONNECTION's reason where nothing listens
LONGEST_ADDRESS = 200  # characters of a redirect that are shown


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came of one request: `raw` is the body (keys removed); `error` is None where the status is 200, and else one
    line."""

    raw: str = ""
    status: int | None = None
    error: str | None = None
    retry_after_s: float | None = None
    is_refused: bool = False  # no connection came about: nothing was sent
    latency_s: float = 0.0


class Transport:
    """The openai client, as raw as it goes."""

    def __init__(self, base_urls: Sequence[str], *, api_key: str, deadline_s: float, connections: int) -> None:
        import httpx2
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self.scrub = scrubber(api_key)
        self._deadline_s = deadline_s
        self._cast_to = httpx2.Response
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=max(connections, 10))

        async def clean(request: Any) -> None:
            only_ours(request, api_key)

        async def bounded(response: Any) -> None:
            bound(response, MOST_BODY_BYTES)

        self._openai = AsyncOpenAI(
            base_url=base_urls[0],
            api_key=api_key,
            max_retries=0,
            timeout=deadline_s,
            http_client=DefaultAioHttpClient(
                limits=limits,
                **past_proxies(base_urls),
                follow_redirects=False,
                event_hooks={"request": [clean], "response": [bounded]},
            ),
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._openai.close()

    async def post(self, url: str, body: dict[str, Any]) -> Exchange:
        """Send it. Takes no longer than the deadline, whatever the transport below does: a call that does not even let
        itself be cancelled is left behind."""
        import httpx2
        import openai

        started = time.perf_counter()
        sending = asyncio.ensure_future(self._openai.post(url, cast_to=self._cast_to, body=body))
        try:
            await asyncio.wait((sending,), timeout=self._deadline_s)
        finally:
            if not sending.done():
                sending.cancel()
                sending.add_done_callback(_retrieve)
        if not sending.done():
            return Exchange(error=f"no answer within {self._deadline_s:g} s")
        try:
            response = sending.result()
            latency, status = time.perf_counter() - started, response.status_code
            error = None if status == 200 else f"HTTP {status}"  # 206: a part of something
            return Exchange(self.scrub(response.text), status, error, latency_s=latency)
        except openai.APIStatusError as error:
            return self._refusal(url, error.response)
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError) as error:
            return self._lost(error)
        except UnicodeEncodeError:
            return Exchange(error="the request holds text that is not UTF-8", status=400)
        except Exception as error:  # of the layers below, on what is no HTTP: its text may hold the request's headers
            return Exchange(error=f"connection lost: {type(error).__name__}")

    def _refusal(self, url: str, response: Any) -> Exchange:
        """What came with a status of 300 or more."""
        raw, status, headers = self.scrub(response.text), response.status_code, response.headers
        if status < 400 and (location := headers.get("location")):
            there = line(self.scrub(urljoin(url, location))[:LONGEST_ADDRESS])
            return Exchange(raw, status, f"{REDIRECT} {url} -> {there}")
        return Exchange(raw, status, f"HTTP {status}", retry_after(headers))

    def _lost(self, error: Exception) -> Exchange:
        import aiohttp
        import httpx2
        import openai

        cause = error.__cause__ or error
        if isinstance(cause, httpx2.DecodingError):
            return Exchange(error=str(cause), status=200)
        below = cause.__cause__  # openai's transport calls whatever happens to a connection a timeout
        said = self.scrub(str(cause))[:300]
        if isinstance(below, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
            return Exchange(error=line(self.scrub(_why(below)))[:300], is_refused=True)
        is_late = isinstance(error, TimeoutError | openai.APITimeoutError | httpx2.TimeoutException)
        if is_late and (isinstance(below, TimeoutError) or not isinstance(below, aiohttp.ClientConnectionError)):
            return Exchange(error=f"no answer within {self._deadline_s:g} s")
        return Exchange(error=f"connection lost: {said}")


def _why(error: Any) -> str:
    """Why aiohttp has no connection, in words. What it says itself speaks of OpenSSL's source lines and of tuples."""
    import aiohttp

    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"{NO_CONNECTION} the proxy answers {error.status} {error.message}"
    below, where = error.__cause__, f"({error.host}:{error.port})"
    if isinstance(below, ssl.SSLCertVerificationError):
        return f"{NOT_TRUSTED} {below.verify_message.rstrip('.')} {where}"
    if isinstance(below, ssl.SSLError):
        return f"{NO_TLS} {(below.reason or 'no reason given').replace('_', ' ').lower()} {where}"
    reason = REFUSED if isinstance(below, ConnectionRefusedError) else getattr(below, "strerror", None) or str(below)
    by = "the proxy does not answer, " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
    return f"{NO_CONNECTION} {by}{reason} {where}"


def _retrieve(sending: "asyncio.Future[Any]") -> None:
    """A result nobody waits for any more; without this, asyncio would complain of it."""
    if not sending.cancelled():
        sending.exception()


def past_proxies(base_urls: Sequence[str]) -> dict[str, Any]:
    """Options of an httpx2 client: a proxy of the environment is for hosts elsewhere, for it does not know the ports of
    this machine. Where no host is elsewhere it is not even looked at."""
    here = [url for url in base_urls if is_loopback(url)]
    # a pattern with a host counts before the proxy of all hosts; None: no proxy
    mounts = {f"all://{urlsplit(url).netloc.rpartition('@')[2]}": None for url in here}
    return {"trust_env": len(here) < len(base_urls), "mounts": mounts}


def is_loopback(url: str) -> bool:
    """Whether a base URL is of this machine: such calls never go through a proxy."""
    host = (urlsplit(url).hostname or "").removesuffix(".")
    try:
        address = ip_address(host)
    except ValueError:  # a name; 127.0.0.1.example.com is one too
        return host == "localhost"
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified  # 0.0.0.0, as servers print where they listen
