"""Where no connection comes about: the run ends in one line that says why in words, and nothing is sent."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from client_calls import CANARY, ask, endpoint
from scripted_server import Say, ScriptedServer

from lema_local.errors import EndpointError
from lema_local.serving.process import free_port

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of how openai hands aiohttp a password
ELSEWHERE = "model.example.com"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without proxies, whose resolver knows itself alone."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    known = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def refusal(url: str, *, retries: int = 0) -> str:
    """The line that a call ends in."""
    outcome, failures = ask(endpoint(url, api_key=CANARY, max_retries=retries))
    assert isinstance(outcome, EndpointError)
    assert str(outcome).isprintable()
    assert len(failures) == 1
    assert CANARY not in f"{outcome} {failures}"
    return str(outcome)


@pytest.fixture
def self_signed(tmp_path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """The port of a server with a certificate that it made itself, and what it was sent."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=127.0.0.1")
    command = ["openssl", "req", "-x509", *kind, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context, sent = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), list[bytes]()
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):  # closed: the test is over
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                        sent.append(secure.recv(1000))

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1], sent
        listening.shutdown(socket.SHUT_RDWR)


def test_a_certificate_that_is_not_trusted_ends_the_run_at_once(self_signed: tuple[int, list[bytes]]) -> None:
    port, sent = self_signed
    said = refusal(f"https://127.0.0.1:{port}/v1", retries=5)
    assert said.startswith(
        f"The certificate of https://127.0.0.1:{port}/v1 is not trusted: self-signed certificate (127.0.0.1:{port}). "
    )
    assert b"".join(sent) == b""


def test_https_to_a_server_of_plain_http_ends_the_run_at_once(server: ScriptedServer) -> None:
    url = server.base_url.replace("http:", "https:")
    said = refusal(url, retries=5)
    assert said.startswith(f"{url} does not speak TLS: ")
    assert "give http:// as its base URL" in said
    assert server.calls == 0


def test_a_host_without_an_address_is_told_by_its_name() -> None:
    said = refusal(f"http://{ELSEWHERE}/v1")
    assert said.startswith(f"Cannot reach http://{ELSEWHERE}/v1: Name or service not known ({ELSEWHERE}:80). Check ")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_answer_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    port = free_port("127.0.0.1")
    monkeypatch.setenv(f"{scheme}_proxy", f"http://me:{CANARY}@127.0.0.1:{port}")
    said = refusal(f"{scheme}://{ELSEWHERE}/v1")
    assert f": the proxy does not answer, connection refused (127.0.0.1:{port}). Check " in said


@pytest.mark.parametrize(
    ("scheme", "words"), [("http", "refuses us (HTTP 407)"), ("https", ": the proxy answers 501 ")]
)
def test_a_proxy_that_refuses_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, server: ScriptedServer, scheme: str, words: str
) -> None:
    server.then = lambda _: Say(407)  # to CONNECT it has no answer at all
    monkeypatch.setenv(f"{scheme}_proxy", server.base_url.removesuffix("/v1").replace("//", f"//me:{CANARY}@"))
    said = refusal(f"{scheme}://{ELSEWHERE}/v1")
    assert f"{scheme}://{ELSEWHERE}/v1" in said
    assert words in said
