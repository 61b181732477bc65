"""What several tests share: a scripted server, a profile that points at it, stores in temporary folders."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import PROBLEMS
from forked_lema import ForkedLema
from scripted_server import ScriptedServer

from lema_local.hardware import cores
from lema_local.records.store import Writer

# Whoever starts the tests in the background may have SIGINT ignored; the children that we interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Of the files that take longest none may be left to the end, when the other workers have nothing more to do.
FIRST = ("stages", "training", "records", "servers", "answers")


def pytest_xdist_auto_num_workers() -> int:
    """As many as there are cores for us; more than this many would collect the tests for longer than they run them."""
    return min(cores(), 8)


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
