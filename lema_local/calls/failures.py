"""Calls that failed: what is kept of them, and which of them no further attempt would mend. Pure."""

import re
from dataclasses import dataclass, field

from lema_local.calls.endpoint import Endpoint
from lema_local.calls.replies import Reply
from lema_local.calls.transport import NO_CONNECTION, NO_TLS, NOT_TRUSTED, REDIRECT, REFUSED
from lema_local.errors import EndpointError
from lema_local.printable import line

RAW_REPLY_CHARACTERS = 4000
BROKEN_TEXT_CHARACTERS = 100_000
MOST_FORBIDDEN = 20  # calls with a 403 and none with a reply: then it is not the prompts
REFUSALS = frozenset({400, 403})  # of one prompt, or of the key or the account: a 401 is always of the key
MOST_REFUSED = 20  # prompts with the same one of those and no reply between: then it is not the prompts
SAID_CHARACTERS = 200
UNKNOWN_MODEL = re.compile(r"model_not_found|\bmodel\b[^\n.]{0,200}\b(?:does not|doesn't|not) exist", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call: what was wrong, the HTTP status if there was one, and the raw reply, or the text that did not end
    well (capped, keys removed)."""

    error: str
    status: int | None = None
    raw: str | None = None
    cost_usd: float | None = None  # of a 200 that was no reply, where it says what it used
    sample: int = 0  # which of the samples that the request asked for
    base_url: str | None = field(default=None, compare=False)  # of the server that was asked


class CallFailedError(Exception):
    """This call failed for good; others may go through. Carries the last failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.failure = failure


def failure_of(reply: Reply, prefill: str, raw: str, *, sample: int = 0, base_url: str | None = None) -> Failure:
    """A reply that did not end well, with its text, or the raw reply where it has none."""
    has_text = len(reply.text) > len(prefill)
    kept = reply.text[:BROKEN_TEXT_CHARACTERS] if has_text else raw[:RAW_REPLY_CHARACTERS]
    return Failure(reply.fault or "", 200, kept, reply.cost_usd, sample, base_url)


def refused_key(base_url: str, status: int, forbidden: int) -> EndpointError:
    """What to raise where a key is refused, or so many calls had a 403 before any had a reply."""
    prompts = f", or each of the first {forbidden} prompts" if status == 403 else ""
    return EndpointError(
        f"{base_url} refuses the key{prompts} (HTTP {status}). Check the variable that the profile's api_key_env names."
    )


def refused_in_a_row(e: Endpoint, failure: Failure) -> EndpointError:
    """What to raise where so many prompts were refused in one way, with no reply between."""
    said = " ".join(line(failure.raw or "").split())[:SAID_CHARACTERS]
    return EndpointError(
        f"{failure.base_url or e.base_url} refused {MOST_REFUSED} prompts in a row (HTTP {failure.status}: "
        f"{said or 'it does not say why'}). If it is the key or the account, mend that: the key stands in the variable "
        "that the profile's api_key_env names. The same command goes on, and does not count these prompts again."
    )


def final_error(
    e: Endpoint, failure: Failure, *, is_exhausted: bool, are_absent: bool, has_answered: bool, forbidden: int
) -> EndpointError | CallFailedError | None:
    """What to raise where no further attempt would mend it: for this call or, an EndpointError, for all.

    `are_absent`: nothing listens at any of its servers; `has_answered`: it gave a good reply before; `forbidden`: so
    many calls had a 403 before it gave any, each of which a gateway may give a prompt that it flags.
    """
    raw, url = failure.raw or "", failure.base_url or e.base_url
    if failure.error.startswith(REDIRECT):
        return EndpointError(
            f"A server points to another address (HTTP {failure.status}): "
            f"{failure.error.removeprefix(REDIRECT).strip()} Nothing was sent there. If it is the right one, give it "
            f"as the base URL of {e.name}."
        )
    if failure.error.startswith(NOT_TRUSTED):
        return EndpointError(
            f"The certificate of {url} is not trusted: {failure.error.removeprefix(NOT_TRUSTED).strip()}. Let this "
            "machine trust its authority (for hosts elsewhere SSL_CERT_FILE may name its file), or give another base "
            "URL."
        )
    if failure.error.startswith(NO_TLS):
        return EndpointError(
            f"{url} does not speak TLS: {failure.error.removeprefix(NO_TLS).strip()}. If it is a server without, "
            "give http:// as its base URL."
        )
    if failure.status == 407:
        return EndpointError(
            f"The proxy on the way to {url} refuses us (HTTP 407). Put its name and password into http_proxy or "
            "https_proxy, then run the same command again."
        )
    if failure.status == 401 or (failure.status == 403 and forbidden >= MOST_FORBIDDEN):
        return refused_key(url, failure.status, forbidden)
    if failure.status == 402 or (failure.status == 429 and "insufficient_quota" in raw):
        why = "HTTP 402" if failure.status == 402 else "insufficient_quota"
        return EndpointError(
            f"{url} says that the account has no credit left ({why}). Top it up, then run the same command again."
        )
    if failure.status in (404, 405) and e.api == "completions" and not UNKNOWN_MODEL.search(raw):
        return EndpointError(
            f'{url} has no /completions (HTTP {failure.status}): api = "chat" for {e.name} may do, or check '
            "the base URL."
        )
    if failure.status == 404 or (failure.status == 400 and UNKNOWN_MODEL.search(raw)):
        return EndpointError(
            f"{url} does not serve {e.served_model!r} (HTTP {failure.status}). See what it serves: curl {url}/models"
        )
    if is_exhausted and failure.error.startswith(NO_CONNECTION) and are_absent:
        servers, why = ", ".join(e.base_urls), failure.error.removeprefix(NO_CONNECTION).strip()
        if why.startswith(REFUSED):
            return EndpointError(f"No server at {servers}. Start it, or give another base URL.")
        return EndpointError(
            f"Cannot reach {servers}: {why}. Check the base URL, and network and proxy of this machine, then run the "
            "same command again."
        )
    if is_exhausted and failure.error == "no token usage" and not has_answered:
        return EndpointError(
            f"{url} sends no token counts (usage), so nothing can be counted or priced. If that is well, "
            f"set requires_usage = false for {e.name}."
        )
    if is_exhausted or (
        failure.status is not None and 400 <= failure.status < 500 and failure.status not in (408, 409, 429)
    ):
        return CallFailedError(failure)
    return None
