"""A small OpenAI Batch API on 127.0.0.1: files, batches, results; it counts what it is asked."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], dict[str, Any]]  # a request line -> a result line


class BatchServer:
    """Holds files and batches; a batch is worked off when the test says so."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.headers: list[str] = []  # Authorization, of what is handed in
        self.all_headers: list[dict[str, str]] = []
        self.refuse_with: int | None = None
        self.points_to: str | None = None  # where a hand-in is sent on to
        self.refuses_batches = False  # though it takes their files
        self.loses_answers = False  # a batch is made, and the answer says that something broke
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def work_off(self, *, status: str = "completed", most: int | None = None) -> None:
        """Answer each line of each batch (the last first), or `most` of them, and close it."""
        for batch in self.batches.values():
            lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
            results = [self.answer(line) for line in reversed(lines)][:most]
            good = [result for result in results if result.get("response")]
            bad = [result for result in results if not result.get("response")]
            for name, rows in (("output_file_id", good), ("error_file_id", bad)):
                if rows:
                    batch[name] = self.keep("".join(json.dumps(row) + "\n" for row in rows))
            batch["status"] = status
            batch["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}

    def keep(self, text: str) -> str:
        self.files[f"file-{len(self.files)}"] = text
        return f"file-{len(self.files) - 1}"

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        batch = body | {
            "id": f"batch_{len(self.batches)}",
            "object": "batch",
            "status": "in_progress",
            "created_at": 0,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
        }
        self.batches[batch["id"]] = batch
        return batch


def _handler(server: BatchServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.all_headers.append({k.lower(): v for k, v in self.headers.items()})
            parts = self.path.partition("?")[0].removeprefix("/v1/").split("/")
            if parts == ["batches"]:
                self._json({"object": "list", "data": list(reversed(server.batches.values())), "has_more": False})
            elif parts[0] == "batches":
                self._json(server.batches[parts[1]])
            elif parts[1] in server.files:
                self._send(200, server.files[parts[1]].encode(), "application/jsonl")
            else:
                self._send(404, b'{"error": {"message": "%s"}}' % (b"no such file " * 100), "application/json")

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            server.headers.append(str(self.headers["authorization"]))
            server.all_headers.append({k.lower(): v for k, v in self.headers.items()})
            if server.points_to:
                self._send(307, b"", "application/json", location=server.points_to + self.path.removeprefix("/v1"))
            elif server.refuse_with:
                body = json.dumps({"error": {"message": f"refused {self.headers['authorization']}"}}).encode()
                self._send(server.refuse_with, body, "application/json")
            elif self.path == "/v1/files":
                text = next(part for part in data.decode().split("\r\n\r\n") if part.startswith('{"custom_id"'))
                name = server.keep(text.partition("\r\n--")[0])
                self._json(
                    {"id": name, "object": "file", "bytes": 1, "created_at": 0, "filename": "x", "purpose": "batch"}
                )
            elif server.refuses_batches:
                self._send(400, b'{"error": {"message": "no batches of this model"}}', "application/json")
            else:
                made = server.create(json.loads(data))
                if server.loses_answers:
                    self._send(502, b"<html>Bad gateway", "text/html")
                else:
                    self._json(made)

        def _json(self, value: object) -> None:
            self._send(200, json.dumps(value).encode(), "application/json")

        def _send(self, status: int, body: bytes, kind: str, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is the base class's)
            """Silent."""

    return Handler
