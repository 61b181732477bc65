"""Batch files: calls as lines that OpenAI's Batch API takes, and `lema batch run`, and what they give back. Pure, but
for `lines_of`.

    {"custom_id": "0d1f...", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4", ...}}
    {"custom_id": "0d1f...", "response": {"status_code": 200, "body": {"choices": [...]}}, "error": null}

The custom_id is the completion's key, so that results may come in any order, in parts, and twice.
Format: https://platform.openai.com/docs/guides/batch. `vllm run-batch` takes lines of chat, not of /v1/completions.
"""

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from lema_local.calls.bodies import MOST_BODY_BYTES
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling, request_body
from lema_local.calls.failures import Failure
from lema_local.calls.replies import MOST_BRACKETS, REFERENCE_DERIVED, Reply

MOST_LINES = 50_000  # of one file that OpenAI takes
MOST_BYTES = 190_000_000  # of 200 MB
ERROR_CHARACTERS = 300
MOST_LINE_BYTES = MOST_BODY_BYTES  # of a file of results: a body and a few words
_HEAD = 4096  # characters of a line within which it names its call
_ID = re.compile(r'"custom_id"\s*:\s*"([^"\\]{1,200})"')  # no text of a model's: there each quote is escaped
URLS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


@dataclass(frozen=True, slots=True)
class Result:
    """One line that came back: a body, or what was wrong (and its HTTP status, where there was one)."""

    custom_id: str
    body: Mapping[str, Any] | None = None
    error: str | None = None
    status: int | None = None
    raw: str | None = None  # what a server sent that was no reply, where the line has it


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One line that goes out."""

    custom_id: str
    url: str
    body: Mapping[str, Any]
    prompt: Prompt
    max_tokens: int


def request_line(custom_id: str, endpoint: Endpoint, prompt: Prompt, sampling: Sampling, index: int) -> str:
    """A call as a line of a batch file."""
    body = request_body(endpoint, prompt, sampling, index)
    line = {"custom_id": custom_id, "method": "POST", "url": url_of(endpoint), "body": body}
    return json.dumps(line, ensure_ascii=True)  # lone surrogates of a question stay escaped


def url_of(endpoint: Endpoint) -> str:
    """The path that a batch's lines name."""
    return URLS[endpoint.api]


def split(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lines as files of a size that the provider takes."""
    part: list[str] = []
    size = 0
    for line in lines:
        if part and (len(part) == MOST_LINES or size + len(line) > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line) + 1
    if part:
        yield part


def read_request(line: str) -> BatchRequest:
    """A line of a file of calls. ValueError, with the reason, for a line that is none, or none that a text answers."""
    row = _row(line)
    url, body = row.get("url"), row.get("body")
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise ValueError("no call of a model")
    if not isinstance(url, str) or url not in URLS.values():
        raise ValueError(f"its url is neither {' nor '.join(URLS.values())}")
    max_tokens = body.get("max_tokens", body.get("max_completion_tokens"))
    if not isinstance(max_tokens, int) or max_tokens < 1 or body.get("n", 1) != 1:
        raise ValueError("a call has max_tokens, and asks for one sample")
    return BatchRequest(row["custom_id"], url, body, _prompt(body, is_chat=url == URLS["chat"]), max_tokens)


def _prompt(body: Mapping[str, Any], *, is_chat: bool) -> Prompt:
    text, messages = body.get("prompt"), body.get("messages")
    if not is_chat and isinstance(text, str):
        return Prompt(text=text)
    if is_chat and isinstance(messages, list):
        with suppress(TypeError, KeyError, AttributeError):
            return Prompt(tuple({"role": str(m["role"]), "content": m["content"] + ""} for m in messages))
    raise ValueError("its prompt is no text, and no list of messages with texts")


def result_line(custom_id: str, reply: Reply, url: str) -> str:
    """A reply as a line of a result file."""
    text = {"message": {"role": "assistant", "content": reply.text}} if url == URLS["chat"] else {"text": reply.text}
    body: dict[str, Any] = {"choices": [{"index": 0, "finish_reason": reply.finish_reason, **text}]}
    if reply.answered_by is not None:
        body["model"] = reply.answered_by
    if reply.is_reference_derived:
        body["system_fingerprint"] = REFERENCE_DERIVED
    if reply.prompt_tokens is not None or reply.completion_tokens is not None:
        details = {"prompt_tokens_details": {"cached_tokens": reply.cached_prompt_tokens}}
        body["usage"] = {
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            **(details if reply.cached_prompt_tokens is not None else {}),
        }
    return _result(custom_id, {"status_code": 200, "body": body}, None)


def failure_line(custom_id: str, failure: Failure) -> str:
    """A failed attempt as a line of a result file."""
    said = {"message": failure.error, "raw": failure.raw}
    return _result(custom_id, {"status_code": failure.status, "body": None}, said)


def _result(custom_id: str, response: dict[str, Any], error: dict[str, Any] | None) -> str:
    line = {"id": f"lema-{uuid.uuid4().hex}", "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(line, ensure_ascii=True)


def lines_of(file: BinaryIO) -> Iterator[str]:
    """The lines of a file of results, one in memory at a time. One that is longer than any reply stands there as a call
    that failed, which says so."""
    while line := file.readline(MOST_LINE_BYTES + 1):
        if len(line) <= MOST_LINE_BYTES or line.endswith(b"\n"):
            yield line.decode("utf-8", "replace")
            continue
        while (more := file.readline(2**20)) and not more.endswith(b"\n"):
            pass
        yield _failed(line[:_HEAD].decode("utf-8", "replace"), f"a result over {MOST_LINE_BYTES / 1e6:g} MB")


def _failed(head: str, reason: str) -> str:
    """A line in the place of one that begins so and is not read."""
    named = _ID.search(head)
    return json.dumps({"custom_id": named[1] if named else None, "error": {"message": reason}})


def read_result(line: str) -> Result:
    """A line of a result file. ValueError, with the reason, for a line that is none."""
    if line.count("{") + line.count("[") > MOST_BRACKETS:
        line = _failed(line[:_HEAD], "more brackets than a reply has")
    row = _row(line)
    custom_id, response, error = row["custom_id"], row.get("response"), row.get("error")
    status = response.get("status_code") if isinstance(response, dict) else None
    known = status if isinstance(status, int) and 0 <= status < 1000 else None
    if error or not isinstance(response, dict):
        raw = error.get("raw") if isinstance(error, dict) else None
        return Result(custom_id, error=_error_text(error), status=known, raw=raw if isinstance(raw, str) else None)
    body = response.get("body")
    if status == 200 and isinstance(body, dict):
        return Result(custom_id, body, status=200)
    return Result(custom_id, error=_error_text(body.get("error") if isinstance(body, dict) else body), status=known)


def _row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str):
        raise ValueError("no custom_id")
    return row


def _error_text(error: Any) -> str:
    """What a provider says of a failed line, in one line."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("code")
    return " ".join(str(error or "no response").split())[:ERROR_CHARACTERS]
