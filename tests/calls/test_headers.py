"""Of the environment only the key that the profile names goes to a server, whatever the openai client reads there."""

import json
from collections.abc import Iterator

import pytest
from batch_server import BatchServer
from client_calls import CANARY, endpoint, reply_of
from scripted_server import Body, Say, ScriptedServer, chat

from lema_local.calls.batch_api import BatchApi

SECRET = "of-the-environment"
OURS = {"host", "accept", "accept-encoding", "connection", "user-agent", "authorization", "content-type"}
OF_A_BODY = {"content-length", "transfer-encoding"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", f"{SECRET}-{name}")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://{SECRET}.example.com/v1")
    custom = ("X-Gateway-Key", "Authorization", "api-key", "User-Agent", "Accept", "Host", "Cookie", "content-type")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "\n".join(f"{name}: {SECRET}" for name in custom))


@pytest.fixture
def api() -> Iterator[BatchServer]:
    server = BatchServer(lambda line: {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": {}}})
    yield server
    server.stop()


def test_a_call_says_what_the_profile_says_and_nothing_of_the_environment(server: ScriptedServer) -> None:
    def echo(_: Body) -> Say:
        return chat(f"you sent {json.dumps(server.headers[-1])}")

    server.then = echo
    reply = reply_of(endpoint(server.base_url, api_key=CANARY))
    (headers,) = server.headers
    assert headers.keys() <= OURS | OF_A_BODY
    assert headers["authorization"] == f"Bearer {CANARY}"
    assert headers["content-type"] == "application/json"
    assert headers["host"] in server.base_url
    assert "you sent" in reply.text
    assert SECRET not in reply.text


def test_a_batch_says_what_the_profile_says_and_nothing_of_the_environment(api: BatchServer) -> None:
    batches = BatchApi(endpoint(api.base_url, api_key=CANARY))
    assert batches.find("t") is None
    file_id = batches.upload([json.dumps({"custom_id": "a"})], tag="t")
    remote = batches.create(file_id, url="/v1/chat/completions", tag="t")
    api.work_off()
    assert len(list(batches.lines(batches.status(remote.id)))) == 1
    assert len(api.all_headers) == 5  # the list, the file, the batch, how it stands, its results
    for headers in api.all_headers:
        assert headers.keys() <= OURS | OF_A_BODY
        assert headers["authorization"] == f"Bearer {CANARY}"
        assert SECRET not in repr(headers)
