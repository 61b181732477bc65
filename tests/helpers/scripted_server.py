"""A real server on 127.0.0.1 that answers by a script, because the transport is the seam: no name of the client is ever
patched. The script is a list of answers, used up in the order of the calls; after them comes `then`.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
    drop: bool = False  # close the connection without an answer


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
            if say.hang or say.drop:
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
