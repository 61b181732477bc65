"""What several tests share: a scripted server, a profile that points at it, stores in temporary folders.

The server is a real one on 127.0.0.1, because the transport is the seam: no name of the client is ever patched. Its
script is a list of answers, used up in the order of the calls; after them comes `then`.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lema_local.store import Writer

# Whoever starts the tests in the background may have SIGINT ignored; the children that we interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROBLEMS = Path(__file__).parent / "data" / "loop_problems.jsonl"
Body = dict[str, Any]


@dataclass
class Say:
    """One answer of the scripted server."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    hang: bool = False  # until the server stops
    cut: bool = False  # send half of the body and drop the connection


def chat(text: str, *, finish_reason: str = "stop", **more: Any) -> Say:
    """A whole chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return Say(body=json.dumps({"choices": [choice], "usage": usage}).encode(), **more)


def completion(text: str, *, finish_reason: str = "stop", **more: Any) -> Say:
    """A whole raw completion."""
    choice = {"index": 0, "text": text, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return Say(body=json.dumps({"choices": [choice], "usage": usage}).encode(), **more)


def several(texts: Sequence[str | None], **more: Any) -> Say:
    """A chat completion with several choices; None is one without content."""
    choices = [
        {"index": k, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for k, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 10, "completion_tokens": 5 * len(texts)}
    return Say(body=json.dumps({"choices": choices, "usage": usage}).encode(), **more)


class ScriptedServer:
    """Counts what it is asked, and answers by its script."""

    def __init__(self, port: int = 0) -> None:
        self.script: list[Say] = []
        self.redirect: str | None = None  # where a GET is sent
        self.then: Callable[[Body], Say] = lambda body: chat("The answer is 1.")
        self.requests: list[Body] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._http = _Http(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def calls(self) -> int:
        return len(self.requests)

    def answer(self, path: str, headers: dict[str, str], body: Body) -> Say:
        with self._lock:
            self.requests.append(body)
            self.paths.append(path)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            if self.script:
                return self.script.pop(0)
        return self.then(body)

    def wait(self, say: Say) -> None:
        self._over.wait(60 if say.hang else say.delay_s)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._over.set()
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.headers.append({k.lower(): v for k, v in self.headers.items()})
            self.send_response(302 if server.redirect else 200)
            if server.redirect:
                self.send_header("location", server.redirect)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            say = server.answer(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            server.wait(say)
            if say.hang:
                self.close_connection = True
                return
            self.send_response(say.status)
            for name, value in ({"content-type": "application/json"} | say.headers).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(say.body)))
            self.end_headers()
            self.wfile.write(say.body[: len(say.body) // 2] if say.cut else say.body)
            self.close_connection = self.close_connection or say.cut

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is the base class's)
            """Silent."""

    return Handler


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.stop()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "lema.duckdb"


@pytest.fixture
def store(db: Path) -> Iterator[Writer]:
    with Writer(db) as writer:
        yield writer


PROFILE = """
description = "a scripted server samples, the oracle corrects"
[data]
dataset = "tiny"
train_path = "{problems}"
test_problems = 2
[endpoints.reasoner]
base_url = "{base_url}"
model = "scripted"
api = "{api}"
concurrency = {concurrency}
max_retries = 1
deadline_s = 20
[endpoints.corrector]
base_url = "{base_url}"
model = "scripted-corrector"
concurrency = {concurrency}
max_retries = 1
[endpoints.oracle]
recipe = "oracle"
model = "oracle"
concurrency = 4
[endpoints.student]
base_url = "{base_url}"
model = "scripted"
api = "completions"
[sampling]
samples = {samples}
[correction]
correctors = [{correctors}]
"""


@pytest.fixture
def write_profile(tmp_path: Path, server: ScriptedServer) -> Callable[..., Path]:
    """Makes a profile file; `correctors` names its cascade."""

    def write(
        *, correctors: tuple[str, ...] = ("oracle",), samples: int = 1, concurrency: int = 2, api: str = "chat"
    ) -> Path:
        path = tmp_path / "tiny.toml"
        text = PROFILE.format(
            problems=PROBLEMS,
            base_url=server.base_url,
            api=api,
            concurrency=concurrency,
            samples=samples,
            correctors=", ".join(f'"{name}"' for name in correctors),
        )
        path.write_text(text)
        return path

    return write


def lema(*arguments: str | Path, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The installed command in a process of its own."""
    return subprocess.run(
        lema_command(*arguments), cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )


def lema_command(*arguments: str | Path) -> list[str]:
    """The entry point, whatever the PATH."""
    script = "from importlib.metadata import entry_points as e; e(group='console_scripts')['lema'].load()()"
    return [sys.executable, "-c", script, *map(str, arguments)]
