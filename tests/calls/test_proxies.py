"""A proxy of the environment has what goes to hosts elsewhere, and nothing of what stays on this machine."""

import json
from collections.abc import Iterator

import pytest
from batch_server import BatchServer
from client_calls import endpoint, many
from scripted_server import Say, ScriptedServer

from lema_local.calls.batch_api import BatchApi

ELSEWHERE = "http://elsewhere.example.com/v1"


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, server.base_url.removesuffix("/v1"))
    yield server
    server.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "second"])
def test_of_an_endpoint_s_servers_a_proxy_has_the_calls_to_those_elsewhere(
    server: ScriptedServer, proxy: ScriptedServer, host: str, is_first: bool
) -> None:
    here = server.base_url.replace("127.0.0.1", host)
    first, second = (here, ELSEWHERE) if is_first else (ELSEWHERE, here)
    assert len(many(endpoint(first, more_base_urls=(second,), concurrency=1), 10)) == 10
    assert set(proxy.paths) == {f"{ELSEWHERE}/chat/completions"}
    assert set(server.paths) == {"/v1/chat/completions"}


def test_a_proxy_that_cannot_be_used_is_no_hindrance_on_this_machine(
    server: ScriptedServer, proxy: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "gopher://nowhere")
    assert len(many(endpoint(server.base_url), 1)) == 1


def test_a_batch_goes_through_a_proxy_only_to_hosts_elsewhere(proxy: ScriptedServer) -> None:
    here = BatchServer(lambda line: line)
    try:
        assert BatchApi(endpoint(here.base_url)).find("tag") is None
        assert proxy.headers == []
    finally:
        here.stop()
    proxy.then = lambda _: Say(body=json.dumps({"id": "b", "object": "batch", "status": "in_progress"}).encode())
    assert BatchApi(endpoint(ELSEWHERE)).create("f", url="/v1/chat/completions", tag="tag").id == "b"
    assert proxy.paths == [f"{ELSEWHERE}/batches"]
