"""Batch files: calls as lines that OpenAI's Batch API and `vllm run-batch` take, and what they give back. Pure.

    {"custom_id": "0d1f...", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4", ...}}
    {"custom_id": "0d1f...", "response": {"status_code": 200, "body": {"choices": [...]}}, "error": null}

The custom_id is the completion's key, so that results may come in any order, in parts, and twice.
Format: https://platform.openai.com/docs/guides/batch
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lema_local.calls.endpoint import Endpoint, Prompt, Sampling, request_body

MOST_LINES = 50_000  # of one file that OpenAI takes
MOST_BYTES = 190_000_000  # of 200 MB
ERROR_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Result:
    """One line that came back: a body, or what was wrong (and its HTTP status, where there was one)."""

    custom_id: str
    body: Mapping[str, Any] | None = None
    error: str | None = None
    status: int | None = None


def request_line(custom_id: str, endpoint: Endpoint, prompt: Prompt, sampling: Sampling, index: int) -> str:
    """A call as a line of a batch file."""
    body = request_body(endpoint, prompt, sampling, index)
    line = {"custom_id": custom_id, "method": "POST", "url": url_of(endpoint), "body": body}
    return json.dumps(line, ensure_ascii=True)  # lone surrogates of a question stay escaped


def url_of(endpoint: Endpoint) -> str:
    """The path that a batch's lines name."""
    return "/v1/chat/completions" if endpoint.api == "chat" else "/v1/completions"


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


def read_result(line: str) -> Result:
    """A line of a result file. ValueError, with the reason, for a line that is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str):
        raise ValueError("no custom_id")
    custom_id, response = row["custom_id"], row.get("response")
    if row.get("error") or not isinstance(response, dict):
        return Result(custom_id, error=_error_text(row.get("error")))
    status, body = response.get("status_code"), response.get("body")
    if status == 200 and isinstance(body, dict):
        return Result(custom_id, body, status=200)
    said = _error_text(body.get("error") if isinstance(body, dict) else body)
    return Result(custom_id, error=said, status=status if isinstance(status, int) and 0 <= status < 1000 else None)


def _error_text(error: Any) -> str:
    """What a provider says of a failed line, in one line."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("code")
    return " ".join(str(error or "no response").split())[:ERROR_CHARACTERS]
