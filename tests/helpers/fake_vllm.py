"""A program in vLLM's place, where its recipe looks for it: it starts a worker that ignores SIGTERM.

fake_vllm(folder)                # folder/.venv-vllm/bin/python; lema runs in this folder
server, worker = started(folder) # their PIDs, once both run
"""

import sys
from pathlib import Path

from waiting import wait_until

_PROGRAM = """#!{python} -ISB
import http.server, json, os, signal, subprocess, sys, time
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(120)"
worker = subprocess.Popen([sys.executable, "-ISc", code], stdout=subprocess.PIPE)
worker.stdout.readline()
with open("started.new", "w") as file:
    file.write(f"{{os.getpid()}} {{worker.pid}}")
os.rename("started.new", "started")
said = dict(zip(sys.argv, sys.argv[1:]))

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if not {answers}:
            time.sleep(120)
        body = json.dumps({{"data": [{{"id": said["--served-model-name"]}}]}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        with open("asked", "w"):
            time.sleep(120)

http.server.ThreadingHTTPServer((said["--host"], int(said["--port"])), Handler).serve_forever()
"""


def fake_vllm(folder: Path, *, answers: bool = True) -> None:
    """Put it there. Any call to it is never answered, and leaves a file `asked`."""
    program = folder / ".venv-vllm" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(_PROGRAM.format(python=sys.executable, answers=answers), encoding="utf-8")
    program.chmod(0o755)


def started(folder: Path) -> tuple[int, int]:
    """The PIDs of the server and of its worker, as soon as they run."""
    wait_until((folder / "started").exists)
    server, worker = map(int, (folder / "started").read_text(encoding="utf-8").split())
    return server, worker
