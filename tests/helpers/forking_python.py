"""Python processes forked from one that has everything loaded: a fork costs a fiftieth of a second, torch alone six.

`QuickPython.executable` is a program to start in the place of sys.executable: for `lema`, without torch; `with_torch`
is one for training. It takes `-m MODULE`, `-c CODE` or a script, hands its arguments, environment, working directory
and files 0 to 2 to the server, passes signals on and ends as the forked process ended. If it is killed, the forked
process is killed too. What one with torch starts by sys.executable is forked as well, so torchrun's workers are.
Two servers serve all workers of a run of the tests; each imports nothing before it is asked for its first process.
"""

import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from forked_lema import import_lema

from lema_local.hardware import die_with_parent

_CLIENT = """#!{python} -ISB
import ctypes, json, os, signal, socket, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: its own parent's end is its end
parent = os.getppid()
order = dict(has_torch={has_torch}, arguments=sys.argv[1:], directory=os.getcwd(), parent=parent)
order["environment"] = dict(os.environ)
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [b"-"], [0, 1, 2])
server.sendall(json.dumps(order).encode() + b"\\n")
answers = server.makefile()
pid = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: os.kill(pid, number))
code = int(answers.readline())
if code < 0:
    if not {has_torch}:  # else a test of a command sees no more than that nothing was printed
        os.write(2, b"(ended by signal %d)\\n" % -code)
    signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class QuickPython:
    """The servers' processes, and the programs that ask them. One has torch and one has not: what is imported reads the
    environment once (huggingface_hub), so a process without torch must find none of it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.executable, self.with_torch = folder / "python", folder / "python-with-torch"
        self._processes = [self._start(program, environment) for program in (self.executable, self.with_torch)]

    def _start(self, program: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        address, has_torch = program.with_suffix(".socket"), program == self.with_torch
        program.write_text(_CLIENT.format(python=sys.executable, address=str(address), has_torch=has_torch))
        program.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(address))
            listener.listen(64)
            return subprocess.Popen(
                [sys.executable, __file__, str(listener.fileno()), str(self.with_torch)],
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                preexec_fn=die_with_parent(),
            )

    def stop(self) -> None:
        """They hold nothing: taking torch down in order would cost seconds."""
        for process in self._processes:
            process.kill()
            process.wait()


def _load(*, has_torch: bool) -> None:
    """What the command line imports, and training, with what that sets before."""
    if "lema_local.records.store" not in sys.modules:
        import_lema()
        _know_views()
    if not has_torch or "bitsandbytes" in sys.modules:
        return
    os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
    for name in ("accelerate.commands.launch", "torch.distributed.run", "bitsandbytes", "peft"):
        importlib.import_module(name)
    from transformers import AutoTokenizer, LlamaForCausalLM, Trainer  # noqa: F401 (named: they load when asked for)


def _know_views() -> None:
    """Let processes know the views of a file for this lema's, and not make them anew. What makes a file once is a fork:
    DuckDB leaves a process with more address space than a grader of answers may have (answers/grading.py)."""
    from lema_local.records import schema
    from lema_local.records.store import Writer

    known, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with TemporaryDirectory() as folder, Writer(Path(folder) / "lema.duckdb"):
                os.write(tell, json.dumps([*schema._made_here]).encode())
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(known) as marks:
        schema._made_here |= set(json.load(marks))
    os.waitpid(pid, 0)


def _serve(listener: socket.socket) -> None:
    """One thread, since a fork takes no other along; the end of a child comes as a byte of the wakeup pipe."""
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake)
    clients: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    client, _ = listener.accept()
                    with suppress(OSError, ValueError):  # who was killed while it asked gets nothing
                        pid = _fork(client)
                        clients[pid] = client
                        selector.register(client, selectors.EVENT_READ, pid)
                        client.sendall(f"{pid}\n".encode())
                elif key.fileobj == ended:
                    os.read(ended, 512)
                    while (found := _ended()) is not None:
                        pid, code = found
                        with clients.pop(pid) as client:
                            if client in selector.get_map():
                                selector.unregister(client)
                                with suppress(OSError):
                                    client.sendall(f"{code}\n".encode())
                elif key.data in clients:  # its program is gone
                    selector.unregister(key.fileobj)
                    _kill(key.data)


def _ended() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def _kill(pid: int) -> None:
    for kill in (os.kill, os.killpg):  # a process that has just begun has no group of its own yet
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def _fork(client: socket.socket) -> int:
    _, files, _, _ = socket.recv_fds(client, 1, 3)
    order = json.loads(client.makefile().readline())
    _load(has_torch=order["has_torch"])
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _become(order, files)
            _run(order["arguments"])
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                sys.stderr.write(f"{end.code}\n")
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    for file in files:
        os.close(file)
    return pid


def _become(order: dict[str, Any], files: list[int]) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdin = os.fdopen(0, closefd=False)  # the one that was there knows whether its own file could be sought in
    os.closerange(3, 4096)
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ |= order["environment"]
    if order["has_torch"]:
        os.environ["PYTHON_EXEC"] = sys.executable = sys.argv[2]  # the former is torchrun's for its workers
    # whoever asks for the parent means the process that started the program; its own children ask for theirs
    me, parent_of = os.getpid(), os.getppid
    os.getppid = lambda: order["parent"] if os.getpid() == me else parent_of()


def _run(arguments: list[str]) -> None:
    while arguments[0] in ("-u", "-I"):
        arguments = arguments[1:]
    if arguments[0] == "-m":
        sys.argv, sys.path[0] = arguments[1:], ""
        sys.modules.pop(arguments[1], None)  # it is run, not imported
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *arguments[2:]], ""
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).parent)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
