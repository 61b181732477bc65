"""What several tests share: a scripted server, a profile that points at it, stores in temporary folders."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import PROBLEMS
from forked_lema import ForkedLema
from forking_python import QuickPython
from scripted_server import ScriptedServer
from tiny_model import write_tiny_model

from lema_local.hardware import cores
from lema_local.records.store import Writer
from lema_local.serving.process import free_port
from lema_local.training.base import BaseModel

# Whoever starts the tests in the background may have SIGINT ignored; the children that we interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A tiny model has no use for more threads than one, and sums come out bit for bit in each process. Threads that wait
# sleep: by default they spin, and beside another test's processes llama.cpp took 26 s of CPU where it now takes 10.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

# Of the files that take longest none may be left to the end, when the other workers have nothing more to do.
FIRST = ("stages", "training", "records", "servers", "answers")


def pytest_xdist_auto_num_workers() -> int:
    """As many as there are cores for us; more than this many would collect the tests for longer than they run them."""
    return min(cores(), 8)


def pytest_configure(config: pytest.Config) -> None:
    """One server of quick processes for all workers, who find it by the environment."""
    if not hasattr(config, "workerinput") and sys.platform.startswith("linux"):
        folder, port = Path(tempfile.mkdtemp(prefix="lema-tests-")), free_port("127.0.0.1")
        hub = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(folder / "hub")}
        ours = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
        server = QuickPython(folder, ours | hub)
        os.environ["LEMA_TESTS_PYTHON"] = str(server.executable)
        os.environ["LEMA_TESTS_PYTHON_WITH_TORCH"] = str(server.with_torch)
        os.environ["LEMA_TESTS_HUB_PORT"] = str(port)
        config.add_cleanup(server.stop)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rooms = {room: place for place, room in enumerate(FIRST)}
    items.sort(key=lambda item: rooms.get(item.path.parent.name, len(rooms)))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.stop()


@pytest.fixture(scope="session")
def forked() -> Iterator[ForkedLema]:
    started = ForkedLema()
    yield started
    started.stop()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "lema.duckdb"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of no records: a copy takes a third of the time that a new one takes."""
    path = tmp_path_factory.mktemp("empty") / "lema.duckdb"
    with Writer(path):
        pass
    return path


@pytest.fixture
def store(db: Path, empty_database: Path) -> Iterator[Writer]:
    shutil.copy(empty_database, db)
    with Writer(db) as writer:
        yield writer


@pytest.fixture(scope="module")
def quick_python() -> Iterator[None]:
    """Python processes that these tests start, `lema` among them, are forked from one that has torch: six seconds less.

    Not for tests of what a fresh process imports, or of who dies with whom.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", os.environ.get("LEMA_TESTS_PYTHON_WITH_TORCH", sys.executable))
        yield


@pytest.fixture(scope="module")
def quick_oracle() -> Iterator[None]:
    """The same without torch, for tests that start many an oracle: a tenth of the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", os.environ.get("LEMA_TESTS_PYTHON", sys.executable))
        subprocess.run([sys.executable, "-c", ""], check=True)  # what it imports is no part of a server's start
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Llama of 50,000 weights, one for all tests: who changes it changes a copy."""
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def base(tiny_model: Path) -> BaseModel:
    """The same as what a training run starts from."""
    return BaseModel(name="tiny", path=tiny_model, bos_text="<bos>")


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
