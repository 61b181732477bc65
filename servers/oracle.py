"""An OpenAI-compatible server that needs no model: `python -m lema_local.servers.oracle --problems FILE.jsonl`.

It rewrites the reference solutions it is given: its answers say nothing about any model. It closes the offline cascade
of correctors, and is (with --latency, --faults, --rate) the yardstick of benchmarks and fault tests. A row:

    {"question": "Ann has 3 bags ...", "answer": "10", "solution": "3*4=12 nuts\\n12-2=10 nuts", "kind": "number"}

A last message that ends "Incorrect Step:" or "Correct Solution:" gets a correction, any other with "Question:" the
solution, all else (all, without --problems) FIXED_REPLY. Usage counts 1.3 tokens a word; max_tokens is not obeyed.
"""

import argparse
import asyncio
import errno
import json
import math
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from lema_local.errors import DataError, LemaError, ServerError

from .oracle_corrections import NO_REFERENCE, correct, has_steps, solve

FIXED_REPLY = "Step 1: 6 * 7 = 42. The answer is 42."
UNKNOWN_QUESTION = "Cannot solve: no reference solution for this question."
EMPTY_KINDS = ("empty_choices", "empty_body", "html", "error_object", "null_content")
FAULT_KINDS = ("429", "500", "502", "503", "hang", "truncated", "malformed", "empty", *EMPTY_KINDS)
_MAX_BODY, _MAX_CHOICES = 8_000_000, 128


class Oracle:
    """What is known: reference solutions by question. Answers texts; knows nothing of HTTP."""

    def __init__(self, problems: Mapping[str, tuple[str, str]]) -> None:
        self.problems = problems  # normalised question -> (solution, answer)
        self._solved: dict[str, str] = {}

    def reply(self, text: str) -> str:
        """The answer to a last user message or a raw prompt."""
        if not self.problems:
            return FIXED_REPLY
        if text.rstrip().endswith(("Incorrect Step:", "Correct Solution:")):
            head, marker, steps = text.rstrip().rpartition("\n")[0].rpartition("\nOriginal Solution:")
            question = _normal(head.rpartition("Question:")[2])
            if marker and question in self.problems:
                return correct(question, *self.problems[question], steps)
            return NO_REFERENCE
        before, marker, question = text.rpartition("Question:")
        if not marker or (before and not before[-1].isspace()):
            return FIXED_REPLY
        question = _normal(question.partition("\nAnswer:")[0])
        if question not in self._solved:
            if question not in self.problems:
                return UNKNOWN_QUESTION
            self._solved[question] = solve(*self.problems[question])
        return self._solved[question]


class Faults:
    """Which call fails how: drawn from one seeded stream in the order of arrival, counted by kind."""

    def __init__(self, shares: Mapping[str, float], *, rate: float | None = None, seed: int = 0) -> None:
        self._kinds, self._shares = list(shares), list(shares.values())
        self._random = random.Random(seed)
        self._rate, self._allowance, self._refilled = rate, max(1.0, rate or 0.0), time.monotonic()
        self.calls = self.served = 0
        self.counts: Counter[str] = Counter()

    def draw(self) -> tuple[str | None, float]:
        """The kind of the next call's fault (None: served), and a number in [0, 1) to choose its shape by."""
        self.calls += 1
        if self._rate is not None:
            now = time.monotonic()
            self._allowance = min(max(1.0, self._rate), self._allowance + (now - self._refilled) * self._rate)
            self._refilled = now
            if self._allowance < 1:
                self.counts["rate"] += 1
                return "rate", 0.0
            self._allowance -= 1
        if not self._kinds:
            return None, 0.0
        point, shape = self._random.random(), self._random.random()
        for kind, share in zip(self._kinds, self._shares, strict=True):
            point -= share
            if point < 0:
                self.counts[kind] += 1
                return kind, shape
        return None, shape


class App:
    """The ASGI application; plain ASGI, because a yardstick must cost less than what it measures."""

    def __init__(self, oracle: Oracle, faults: Faults, *, latency_s: float = 0.0, name: str = "oracle") -> None:
        self.oracle, self.faults, self.latency_s, self.name = oracle, faults, latency_s, name
        self._number = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"].rstrip("/"), scope["method"]
        if path in ("/v1/chat/completions", "/v1/completions") and method == "POST":
            await self._complete(path == "/v1/chat/completions", receive, send)
        elif path == "/health" and method == "GET":
            await _send(send, 200, {"status": "ok", "problems": len(self.oracle.problems)})
        elif path == "/v1/models" and method == "GET":
            model = {"id": self.name, "object": "model", "created": 0, "owned_by": "lema_local"}
            await _send(send, 200, {"object": "list", "data": [model]})
        elif path == "/faults" and method == "GET":
            counts = {"calls": self.faults.calls, "served": self.faults.served, "faults": dict(self.faults.counts)}
            await _send(send, 200, counts)
        else:
            await _send(send, 404, _error(f"No such endpoint: {method} {path}. Use /v1/chat/completions.", "not_found"))

    async def _complete(self, is_chat: bool, receive: Receive, send: Send) -> None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > _MAX_BODY:
                await _send(send, 413, _error(f"The request is longer than {_MAX_BODY} bytes.", "too_large"))
                return
            if not message.get("more_body"):
                break
        try:
            request = json.loads(body)
            prompts = _prompts(request, is_chat)
            n = request.get("n") or 1
            if not isinstance(n, int) or not 1 <= n * len(prompts) <= _MAX_CHOICES:
                raise ValueError(f"n times the prompts must be a whole number from 1 to {_MAX_CHOICES}")
            if request.get("stream"):
                raise ValueError("the oracle does not stream; leave stream out")
        except (ValueError, RecursionError) as error:
            await _send(send, 400, _error(f"Bad request: {error}", "invalid_request_error"))
            return
        kind, shape = self.faults.draw()
        if kind == "hang":
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        if kind == "rate":
            await _send(send, 429, _error("Rate limit reached.", "rate_limit_exceeded"), retry_after=True)
            return
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        reply = self._completion(is_chat, request, prompts, n)
        if kind is None:
            self.faults.served += 1
            await _send(send, 200, reply)
        else:
            await _send_fault(send, kind, shape, reply)

    def _completion(self, is_chat: bool, request: Mapping[str, Any], prompts: list[str], n: int) -> dict[str, Any]:
        self._number += 1
        choices: list[dict[str, Any]] = []
        words = 0
        for prompt in prompts:
            text = self.oracle.reply(prompt)
            words += n * len(text.split())
            said = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
            first = len(choices)
            choices += [{"index": first + i, **said, "finish_reason": "stop", "logprobs": None} for i in range(n)]
        texts = [str(m.get("content") or "") for m in request["messages"]] if is_chat else prompts
        read, written = math.ceil(1.3 * sum(len(t.split()) for t in texts)), math.ceil(1.3 * words)
        return {
            "id": f"oracle-{self._number}",
            "object": "chat.completion" if is_chat else "text_completion",
            "created": int(time.time()),
            "model": str(request.get("model") or "oracle"),
            "system_fingerprint": "reference-derived",  # callers can tell, under whatever name
            "choices": choices,
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }


def _prompts(request: object, is_chat: bool) -> list[str]:
    """The last user message, or the raw prompts; ValueError says what is wrong."""
    if not isinstance(request, dict):
        raise ValueError("the body must be a JSON object")
    if not is_chat:
        prompt = request.get("prompt", "")
        return _texts(prompt if isinstance(prompt, list) else [prompt], "prompt")
    messages = request.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise ValueError("messages must be a list of objects")
    return _texts([m.get("content") for m in messages if m.get("role") == "user"][-1:], "the last user message")


def _texts(values: list[object], name: str) -> list[str]:
    texts = [value for value in values if isinstance(value, str)]
    if not texts or len(texts) < len(values):
        raise ValueError(f"{name} must be a text")
    return texts


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "code": code}}


async def _send(
    send: Send,
    status: int,
    content: object,
    *,
    kind: bytes = b"application/json",
    retry_after: bool = False,
    cut: bool = False,
) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if retry_after:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    # an answer that returns with more_body outstanding makes uvicorn drop the connection: the body ends in the middle
    await send({"type": "http.response.body", "body": body[: len(body) // 2] if cut else body, "more_body": cut})


async def _send_fault(send: Send, kind: str, shape: float, reply: dict[str, Any]) -> None:
    if kind == "empty":
        kind = EMPTY_KINDS[int(shape * len(EMPTY_KINDS))]
    if kind.isdigit():
        content = _error(f"Fault on purpose: {kind}.", "rate_limit_exceeded" if kind == "429" else "server_error")
        await _send(send, int(kind), content, retry_after=kind == "429" and shape < 0.5)
    elif kind == "truncated":
        await _send(send, 200, reply, cut=True)
    elif kind == "malformed":
        await _send(send, 200, json.dumps(reply).encode()[:-7] + b"}")
    elif kind == "empty_choices":
        await _send(send, 200, {**reply, "choices": []})
    elif kind == "empty_body":
        await _send(send, 200, b"")
    elif kind == "html":
        await _send(send, 200, b"<html><body><h1>Bad gateway</h1></body></html>", kind=b"text/html")
    elif kind == "error_object":
        await _send(send, 200, _error("Fault on purpose: an error that says 200.", "server_error"))
    else:
        for choice in reply["choices"]:
            choice.update(
                {"message": {"role": "assistant", "content": None}} if "message" in choice else {"text": None}
            )
        await _send(send, 200, reply)


def _normal(text: str) -> str:
    return " ".join(text.split())


def read_problems(path: Path) -> dict[str, tuple[str, str]]:
    """Normalised question -> (solution, answer) of a JSONL file; rows without a solution are of no use and left out.

    Raises DataError where the file cannot be read or a row is no problem.
    """
    problems: dict[str, tuple[str, str]] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    question, answer, solution = str(row["question"]), str(row["answer"]), row.get("solution")
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    raise DataError(
                        f"{path}:{number} is no JSON object with question and answer. Mend the row."
                    ) from None
                if solution and has_steps(str(solution), answer):
                    problems[_normal(question)] = (str(solution), answer)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read {path}: {error}. Give a JSONL file of problems.") from None
    return problems


def parse_faults(text: str) -> dict[str, float]:
    """`429:0.3,hang:0.01` -> shares by kind; ServerError names what is unknown or adds up to more than 1."""
    shares: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        kind, _, share = part.partition(":")
        try:
            shares[kind] = float(share)
        except ValueError:
            raise ServerError(f"Not a fault: {part!r}. Write KIND:SHARE, for example 429:0.3.") from None
        if kind not in FAULT_KINDS or not 0 <= shares[kind] <= 1:
            raise ServerError(f"Not a fault: {part!r}. Kinds are {', '.join(FAULT_KINDS)}; shares are 0 to 1.")
    if sum(shares.values()) > 1 + 1e-9:
        raise ServerError("The shares of --faults add up to more than 1. Lower them.")
    return shares


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; ServerError where the port is taken."""
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise ServerError(
            f"Port {port} on {host} {reason}. Stop what listens there, or choose another --port."
        ) from None


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = True  # calls that hang on purpose would hold the process for ever
        super().handle_exit(sig, frame)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lema_local.servers.oracle", description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one, named on stderr")
    parser.add_argument("--problems", type=Path, help="JSONL of question, answer, solution; without: FIXED_REPLY")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each call waits")
    parser.add_argument("--faults", default="", help="KIND:SHARE,... of " + " ".join(FAULT_KINDS))
    parser.add_argument("--rate", type=float, help="calls per second; those above it get 429")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="oracle", help="under which /v1/models lists it")
    options = parser.parse_args(argv)
    try:
        faults = Faults(parse_faults(options.faults), rate=options.rate, seed=options.seed)
        oracle = Oracle(read_problems(options.problems) if options.problems else {})
        listener = listen(options.host, options.port)
    except LemaError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    app = App(oracle, faults, latency_s=max(0.0, options.latency), name=options.name)
    config = uvicorn.Config(app, access_log=False, log_level="critical", lifespan="off", ws="none", backlog=2048)
    # uvicorn raises the signal again once it has shut down: a stop that was asked for is a success
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    host, port = listener.getsockname()[:2]
    print(f"Oracle at http://{host}:{port}/v1 with {len(oracle.problems)} reference solutions.", file=sys.stderr)  # noqa: T201
    _Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
