"""The doctor: what it says of endpoints, and what it never gives away."""

from pathlib import Path

import pytest
from scripted_server import ScriptedServer

from lema_local.doctor import Check, examine
from lema_local.hardware import Gpu
from lema_local.settings.profiles import Overrides, load_profile


def corrector(server: ScriptedServer) -> Check:
    """The check of a corrector at this server, whose key is in $DOCTOR_KEY."""
    overrides = Overrides(corrector_url=server.base_url, corrector_model="m", corrector_key_env="DOCTOR_KEY")
    profile = load_profile("smoke", overrides, environment={})
    return next(check for check in examine(profile, Path("none.duckdb")) if check.what == "endpoint corrector")


def test_an_endpoint_of_this_machine_is_asked_past_a_proxy(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCTOR_KEY", "k")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert corrector(server).state == "ok"


def test_gpus_that_this_torch_cannot_use_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lema_local.doctor.gpus", lambda: [Gpu("NVIDIA A100", 80.0)])
    versions = {"torch": "2.13.0+cpu"}
    monkeypatch.setattr("importlib.metadata.version", lambda name: versions.get(name, "1.0"))

    def torch() -> Check:
        checks = examine(load_profile("smoke", environment={}), Path("none.duckdb"))
        return next(check for check in checks if check.what == "torch")

    assert (torch().state, torch().found) == ("missing", "2.13.0+cpu cannot use the GPUs")
    versions["torch"] = "2.13.0"
    assert torch().state == "ok"


def test_a_key_does_not_follow_a_redirect(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCTOR_KEY", "secret")
    elsewhere = ScriptedServer()
    try:
        server.redirect = f"{elsewhere.base_url}/models"
        corrector(server)
        assert "Bearer secret" in [headers.get("authorization") for headers in server.headers]
        assert elsewhere.headers == []
    finally:
        elsewhere.stop()


def test_a_missing_key_and_a_silent_server_say_what_to_do(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCTOR_KEY", raising=False)
    check = corrector(server)
    assert (check.state, check.todo) == ("missing", "export DOCTOR_KEY=...")
    monkeypatch.setenv("DOCTOR_KEY", "k")
    server.stop()
    check = corrector(server)
    assert (check.state, check.found) == ("missing", f"no answer at {server.base_url}")
