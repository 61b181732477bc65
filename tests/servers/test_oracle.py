"""The oracle as a server: the replies it gives, and the failures it makes on purpose.

It is a process that is spoken to over HTTP, as its users do. What its corrections say: test_oracle_corrections.py.
"""

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from lema_local.corrections.rationales import number_steps

QUESTION = (
    "Lena writes to 14 friends but drops 9 of them. Each of the others gets 3 letters a week of 10 pages, and a page "
    "takes 12 minutes. How many hours does she write a week?"
)
SOLUTION = (
    "Lena writes to 14-9=<<14-9=5>>5 friends\nThey get 5*3=<<5*3=15>>15 letters a week\n"
    "That is 15*10=150 pages\nThey take 150*12=1800 minutes\nSo she writes 1800/60=30 hours a week\n#### 30"
)
RIGHT = [
    "Lena writes to 14 - 9 = 5 friends.",
    "They get 5 * 3 = 15 letters a week.",
    "That is 15 * 10 = 150 pages.",
    "They take 150 * 12 = 1800 minutes.",
    "So she writes 1800 / 60 = 30 hours a week.",
]
NO_REFERENCE = "Cannot correct: no reference solution for this question."
NO_STEPS = "Cannot correct: the original solution has no steps that can be read."

pytestmark = pytest.mark.usefixtures("quick_oracle")


class Oracle:
    """A running oracle and plain HTTP to it."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.port, self.process = port, process

    def call(self, method: str, path: str, body: object = None, *, timeout: float = 10) -> tuple[int, bytes, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def chat(self, text: str, **more: object) -> tuple[int, bytes, Any]:
        return self.call("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **more})


@contextlib.contextmanager
def running(*options: str) -> Iterator[Oracle]:
    command = [sys.executable, "-m", "lema_local.servers.oracle", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            port = re.search(r":(\d+)/v1", line)
            assert port, line
            yield Oracle(int(port[1]), process)
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("oracle") / "problems.jsonl"
    row = {"question": QUESTION, "answer": "30", "solution": SOLUTION, "kind": "number"}
    path.write_text(json.dumps(row) + "\n\n" + json.dumps({"question": "No solution?", "answer": "1"}) + "\n")
    return path


@pytest.fixture(scope="module")
def oracle(problems: Path) -> Iterator[Oracle]:
    with running("--problems", str(problems)) as server:
        yield server


def correction_request(question: str, steps: str) -> str:
    return f"Question: {question}\nOriginal Solution:\n{steps}\nIncorrect Step:"


def test_the_openai_client_gets_n_corrections(oracle: Oracle) -> None:
    shots: list[Any] = [
        {"role": "user", "content": correction_request("Another question?", "Step 1: 1 + 1 = 3.")},
        {"role": "assistant", "content": " Step 1.\nExplanation: ...\nCorrect Solution:\nStep 1: 1 + 1 = 2."},
    ]
    asked: Any = {
        "role": "user",
        "content": correction_request(QUESTION, "Step 1: 14 - 9 = 6 friends. The answer is 6."),
    }
    with OpenAI(base_url=f"http://127.0.0.1:{oracle.port}/v1", api_key="none") as client:
        assert [model.id for model in client.models.list()] == ["oracle"]
        reply = client.chat.completions.create(model="m", messages=[*shots, asked], n=2)
    first, second = (choice.message.content for choice in reply.choices)
    assert first is not None
    assert first.startswith(
        " Step 1.\nExplanation: Step 1 computes 14 - 9 = 6, but 14 - 9 is 5.\nCorrect Solution:\nStep 1: "
    )
    assert first.endswith(" The answer is 30.")
    assert (second, reply.choices[1].finish_reason, reply.choices[1].index) == (first, "stop", 1)
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0


def test_the_published_correction_input_is_understood(oracle: Oracle) -> None:
    question = QUESTION.replace(" writes", "  writes")
    prompt = f"Fix it.\nQuestion: {question}\nOriginal Solution:\n{{\nStep 1: 14 - 9 = 6.\n}}\nIncorrect Step:"
    status, body, _ = oracle.call("POST", "/v1/completions", {"prompt": prompt})
    assert status == 200
    assert json.loads(body)["choices"][0]["text"].startswith(" Step 1.\nExplanation: ")


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (correction_request("Who knows?", "Step 1: 1 + 1 = 3."), NO_REFERENCE),
        (
            correction_request(QUESTION, "It is 6."),
            "Cannot correct: the original solution has no steps that can be read.",
        ),
        (f"Question: {QUESTION}\nAnswer: Let's think step by step.\n", number_steps(RIGHT) + " The answer is 30."),
        ("Question: No solution?", "Cannot solve: no reference solution for this question."),
        ("Hello", "Step 1: 6 * 7 = 42. The answer is 42."),
    ],
    ids=["unknown question", "no steps", "solve", "no solution", "anything else"],
)
def test_each_kind_of_request_gets_its_reply(oracle: Oracle, text: str, reply: str) -> None:
    assert json.loads(oracle.chat(text)[1])["choices"][0]["message"]["content"] == reply


@pytest.mark.parametrize(
    ("body", "status"),
    [([], 400), ({}, 400), ({"messages": []}, 400), ({"messages": [{"role": "user"}]}, 400), ("no", 400)],
    ids=["list", "nothing", "no message", "no content", "text"],
)
def test_a_bad_request_is_named(oracle: Oracle, body: object, status: int) -> None:
    got, reply, _ = oracle.call("POST", "/v1/chat/completions", body)
    assert (got, "message" in json.loads(reply)["error"]) == (status, True)
    assert oracle.call("GET", "/nowhere")[0] == 404


def fault_of(server: Oracle) -> str:
    """What a client sees of one call."""
    try:
        status, body, headers = server.chat("Hello")
    except http.client.IncompleteRead:
        return "truncated"
    if status != 200:
        return f"{status}+retry" if headers["retry-after"] else str(status)
    if not body:
        return "empty_body"
    try:
        reply = json.loads(body)
    except ValueError:
        return "html" if b"<html" in body else "malformed"
    if "error" in reply:
        return "error_object"
    if not reply["choices"]:
        return "empty_choices"
    return "served" if reply["choices"][0]["message"]["content"] else "null_content"


def test_faults_are_seeded_and_counted_as_they_are_seen() -> None:
    options = ("--faults", "429:0.2,503:0.1,truncated:0.1,malformed:0.1,empty:0.4", "--seed", "4")
    runs = []
    for _ in range(2):
        with running(*options) as server:
            seen = [fault_of(server) for _ in range(120)]
            counted = json.loads(server.call("GET", "/faults")[1])
            runs.append(seen)
    assert runs[0] == runs[1]
    empties = {"empty_choices", "empty_body", "html", "error_object", "null_content"}
    assert set(seen) == {"429", "429+retry", "503", "truncated", "malformed", "served", *empties}
    assert counted["calls"] == 120
    assert counted["served"] == seen.count("served")
    assert counted["faults"] == {
        "429": seen.count("429") + seen.count("429+retry"),
        "503": seen.count("503"),
        "truncated": seen.count("truncated"),
        "malformed": seen.count("malformed"),
        "empty": sum(kind in empties for kind in seen),
    }


def test_latencies_overlap() -> None:
    with running("--latency", "0.5") as server, ThreadPoolExecutor(64) as pool:
        started = time.perf_counter()
        assert [status for status, _, _ in pool.map(server.chat, ["Hello"] * 64)] == [200] * 64
        assert 0.5 <= time.perf_counter() - started < 5  # one after another: 32 s


def test_calls_above_the_rate_get_429() -> None:
    with running("--rate", "5") as server:
        statuses = [server.chat("Hello")[0] for _ in range(20)]
        assert statuses[:5] == [200] * 5
        assert 429 in statuses
        assert json.loads(server.call("GET", "/faults")[1])["faults"] == {"rate": statuses.count(429)}


def test_sigterm_ends_it_within_a_second_while_calls_hang() -> None:
    with running("--faults", "hang:1") as server:
        seen: list[str] = []

        def hang() -> None:
            try:
                seen.append(str(server.chat("Hello")[0]))
            except (OSError, http.client.HTTPException):
                seen.append("cut")

        threads = [threading.Thread(target=hang) for _ in range(8)]
        for thread in threads:
            thread.start()
        while json.loads(server.call("GET", "/faults")[1])["calls"] < 8:
            time.sleep(0.02)
        assert seen == []
        started = time.perf_counter()
        server.process.terminate()
        assert server.process.wait(10) == 0
        assert time.perf_counter() - started < 1
        for thread in threads:
            thread.join(5)
        assert len(seen) == 8
        assert set(seen) <= {"cut", "500"}  # a call that hung is never answered, not even at the end


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--faults", "sleepy:0.1"], "Not a fault: 'sleepy:0.1'. Kinds are 429,"),
        (["--faults", "429:0.7,500:0.7"], "add up to more than 1"),
        (["--problems", "missing.jsonl"], "Cannot read missing.jsonl"),
    ],
    ids=["unknown fault", "too many faults", "no file"],
)
def test_a_wrong_option_is_one_line_and_exit_1(options: list[str], message: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lema_local.servers.oracle", "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert message in done.stderr


def test_a_bad_row_is_named_with_its_line(problems: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(problems.read_text() + '{"question": 1}\n')
    command = [sys.executable, "-m", "lema_local.servers.oracle", "--port", "0", "--problems", "bad.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "bad.jsonl:4 is no JSON object with question and answer. Mend the row.\n",
    )


def test_a_taken_port_is_one_line_and_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "lema_local.servers.oracle", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Port {port} on 127.0.0.1 is taken. ")
    assert done.stderr.count("\n") == 1
