"""Calls that failed: what is kept of them, and which of them no further attempt would mend. Pure."""

import re
from dataclasses import dataclass

from lema_local.calls.endpoint import Endpoint
from lema_local.calls.replies import Reply
from lema_local.calls.transport import NO_CONNECTION, REDIRECT
from lema_local.errors import EndpointError

RAW_REPLY_CHARACTERS = 4000
BROKEN_TEXT_CHARACTERS = 100_000
MOST_FORBIDDEN = 20  # calls with a 403 and none with a reply: then it is not the prompts
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


class CallFailedError(Exception):
    """This call failed for good; others may go through. Carries the last failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.failure = failure


def failure_of(reply: Reply, prefill: str, raw: str, *, sample: int = 0) -> Failure:
    """A reply that did not end well, with its text, or the raw reply where it has none."""
    has_text = len(reply.text) > len(prefill)
    kept = reply.text[:BROKEN_TEXT_CHARACTERS] if has_text else raw[:RAW_REPLY_CHARACTERS]
    return Failure(reply.fault or "", 200, kept, reply.cost_usd, sample)


def refused_key(e: Endpoint, status: int, forbidden: int) -> EndpointError:
    """What to raise where a key is refused, or so many calls had a 403 before any had a reply."""
    prompts = f", or each of the first {forbidden} prompts" if status == 403 else ""
    return EndpointError(
        f"{e.base_url} refuses the key{prompts} (HTTP {status}). Check the variable that the profile's api_key_env "
        "names."
    )


def final_error(
    e: Endpoint, failure: Failure, *, is_exhausted: bool, are_absent: bool, has_answered: bool, forbidden: int
) -> EndpointError | CallFailedError | None:
    """What to raise where no further attempt would mend it: for this call or, an EndpointError, for all.

    `are_absent`: nothing listens at any of its servers; `has_answered`: it gave a good reply before; `forbidden`: so
    many calls had a 403 before it gave any, each of which a gateway may give a prompt that it flags.
    """
    raw = failure.raw or ""
    if failure.error.startswith(REDIRECT):
        return EndpointError(
            f"A server points to another address (HTTP {failure.status}): "
            f"{failure.error.removeprefix(REDIRECT).strip()} Nothing was sent there. If it is the right one, give it "
            f"as the base URL of {e.name}."
        )
    if failure.status == 401 or (failure.status == 403 and forbidden >= MOST_FORBIDDEN):
        return refused_key(e, failure.status, forbidden)
    if failure.status == 429 and "insufficient_quota" in raw:
        return EndpointError(
            f"{e.base_url} says that the account has no credit left (insufficient_quota). Top it up, then "
            f"run the same command again."
        )
    if failure.status in (404, 405) and e.api == "completions" and not UNKNOWN_MODEL.search(raw):
        return EndpointError(
            f'{e.base_url} has no /completions (HTTP {failure.status}): api = "chat" for {e.name} may do, or check '
            "the base URL."
        )
    if failure.status == 404 or (failure.status == 400 and UNKNOWN_MODEL.search(raw)):
        return EndpointError(
            f"{e.base_url} does not serve {e.served_model!r} (HTTP {failure.status}). See what it serves: "
            f"curl {e.base_url}/models"
        )
    if is_exhausted and failure.error.startswith(NO_CONNECTION) and are_absent:
        return EndpointError(f"No server at {', '.join(e.base_urls)}. Start it, or give another base URL.")
    if is_exhausted and failure.error == "no token usage" and not has_answered:
        return EndpointError(
            f"{e.base_url} sends no token counts (usage), so nothing can be counted or priced. If that is well, "
            f"set requires_usage = false for {e.name}."
        )
    if is_exhausted or (
        failure.status is not None and 400 <= failure.status < 500 and failure.status not in (408, 409, 429)
    ):
        return CallFailedError(failure)
    return None
