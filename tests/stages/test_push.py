"""Pushing to the Hub, against a server of our own that speaks its protocol: what arrives, who sees it, what is said."""

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from adapters import checkpoint
from bulk_records import Counts, fill, write_files
from commands import lema

from lema_local.errors import MissingPackageError
from lema_local.records.store import Writer
from lema_local.stages.build import build
from lema_local.stages.push import log_in

pytest.importorskip("huggingface_hub")
TOKEN = "hf_aTokenThatOnlyThisTestKnows"
COUNTS = Counts(gold=8, sampled=20, right=14, corrections=6, is_reference_derived=True)


class Hub:
    """What the server was told, and what it holds: repository -> is private, file -> bytes."""

    def __init__(self) -> None:
        self.private: dict[str, bool] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}  # of LFS, by SHA-256
        self.asked: list[str] = []
        self.dislikes: list[str] = []  # what is wrong with any card
        self.refuses = ""  # the path that is answered with 403, and the token back in its text
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            do_POST = do_PUT = do_GET  # noqa: N815 (the names are the base class's)

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, answer = hub.answer(self.path, self.headers.get("authorization") or "", body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
                """Silent."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, path: str, authorization: str, body: bytes) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        if path.startswith("/objects/"):
            self.objects[path.removeprefix("/objects/")] = body
            return 200, {}
        if authorization != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid credentials"}
        if self.refuses and path.startswith(self.refuses):
            return 403, {"error": f"{authorization} may not write"}
        if path == "/api/whoami-v2":
            return 200, {"type": "user", "name": "me"}
        if path == "/api/validate-yaml":
            return (400 if self.dislikes else 200), {"errors": [{"message": m} for m in self.dislikes], "warnings": []}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            actions = [{**o, "actions": {"upload": {"href": f"{self.url}/objects/{o['oid']}"}}} for o in wanted]
            return 200, {"transfer": "basic", "objects": actions}
        name = next((name for name in self.private if f"/{name}" in path), None)
        if name is None:
            return 404, {"error": "Repository not found"}
        if "/preupload/" in path:
            files = [{"path": f["path"], "shouldIgnore": False} for f in json.loads(body)["files"]]
            modes = ["lfs" if f["path"].endswith((".safetensors", ".parquet")) else "regular" for f in files]
            return 200, {"files": [{**f, "uploadMode": mode} for f, mode in zip(files, modes, strict=True)]}
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.files[name][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    self.files[name][value["path"]] = self.objects[value["oid"]]
            return 200, {"commitUrl": f"{self.url}/{name}/commit/1", "commitOid": "1"}
        return 200, {"id": name, "private": self.private[name], "sha": "1", "tags": [], "siblings": []}

    def _create(self, wanted: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = f"{wanted['organization']}/{wanted['name']}"
        place = f"datasets/{name}" if wanted["type"] == "dataset" else name
        if name in self.private:
            return 409, {"error": "You already created this repo", "url": f"{self.url}/{place}"}
        self.private[name], self.files[name] = wanted["visibility"] == "private", {}
        return 200, {"url": f"{self.url}/{place}"}


@pytest.fixture
def hub() -> Iterator[Hub]:
    started = Hub()
    yield started
    started.http.shutdown()
    started.http.server_close()


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    place = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
    return {**place, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An arm, and a checkpoint of it, in a folder."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "runs").mkdir()
    with Writer(folder / "lema.duckdb") as store:
        build(fill(store, write_files(folder, COUNTS), COUNTS), ("lema",))
        made = checkpoint(folder / "runs", 40, strength=0.1)
        store.add(replace(made, run_id=made.id))
        store.merge()
    return folder


@pytest.fixture
def db(records: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(records, tmp_path / "study")) / "lema.duckdb"


def push_checkpoint(db: Path, *more: str, **environment: str) -> Any:
    return lema("train", "push", "0000", "--repo", "me/adapter", *more, cwd=db.parent, **environment)


def push_arm(db: Path, *more: str, **environment: str) -> Any:
    to = ("--output", "arm", "--push", "me/arm")
    return lema("export", "--training-set", "lema", *to, *more, cwd=db.parent, **environment)


def test_a_pushed_checkpoint_is_its_adapter_and_card_and_private(
    db: Path, hub: Hub, environment: dict[str, str]
) -> None:
    directory = db.parent / "runs" / "step-000040"
    done = push_checkpoint(db, **environment)
    assert (done.returncode, done.stdout) == (0, f"{hub.url}/me/adapter  (private)\n"), done.stderr
    files = hub.files["me/adapter"]
    assert hub.private == {"me/adapter": True}
    assert set(files) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert files["adapter_model.safetensors"] == (directory / "adapter_model.safetensors").read_bytes()
    made = json.loads((directory / "adapter_config.json").read_text())
    hub_id = "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert json.loads(files["adapter_config.json"]) == {**made, "base_model_name_or_path": hub_id}
    assert yaml.safe_load(files["README.md"].decode().split("---\n")[1])["base_model"] == hub_id


@pytest.mark.parametrize("shape", ["plain", "axolotl", "llama-factory"])
def test_a_pushed_arm_is_what_was_exported_without_a_path_of_this_machine(
    db: Path, hub: Hub, environment: dict[str, str], shape: str
) -> None:
    done = push_arm(db, "--shape", shape, "--public", **environment)
    assert (done.returncode, done.stdout) == (0, f"{hub.url}/datasets/me/arm  (public)\n"), done.stderr
    files, folder = hub.files["me/arm"], db.parent / "arm"
    assert hub.private == {"me/arm": False}
    assert set(files) == {file.name for file in folder.iterdir()}
    different = {name for name in files if files[name] != (folder / name).read_bytes()}
    assert different == ({"axolotl.yml"} if shape == "axolotl" else set())
    assert not any(str(db.parent).encode() in content for content in files.values())
    if shape == "axolotl":
        assert yaml.safe_load(files["axolotl.yml"])["datasets"][0]["path"] == "train.jsonl"


def test_a_second_push_changes_the_same_repository(db: Path, hub: Hub, environment: dict[str, str]) -> None:
    assert push_arm(db, **environment).returncode == 0
    assert push_arm(db, "--format", "parquet", **environment).returncode == 0
    assert hub.files["me/arm"]["train.parquet"] == (db.parent / "arm" / "train.parquet").read_bytes()


def test_a_repository_that_is_public_already_takes_nothing_that_was_to_be_private(
    db: Path, hub: Hub, environment: dict[str, str]
) -> None:
    hub.private["me/adapter"], hub.files["me/adapter"] = False, {}
    done = push_checkpoint(db, **environment)
    assert (done.returncode, hub.files["me/adapter"]) == (1, {})
    assert "me/adapter is there already, and public: add --public, or name another." in done.stderr
    assert push_checkpoint(db, "--public", **environment).returncode == 0


@pytest.mark.parametrize("push", [push_checkpoint, push_arm])
def test_without_a_token_nothing_is_asked_or_written(
    db: Path, hub: Hub, environment: dict[str, str], push: Any
) -> None:
    done = push(db, **{**environment, "HF_TOKEN": ""})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: No token for the Hub: set HF_TOKEN to one that may write, or `hf auth login`.\n"
    assert (hub.asked, (db.parent / "arm").exists()) == ([], False)


def test_the_token_of_a_login_will_do(db: Path, hub: Hub, environment: dict[str, str]) -> None:
    folder = Path(environment["HF_HOME"])
    folder.mkdir()
    (folder / "token").write_text(TOKEN)
    assert push_checkpoint(db, **{**environment, "HF_TOKEN": ""}).returncode == 0


@pytest.mark.parametrize(
    ("refuses", "token", "says"),
    [
        ("", "hf_another", "the token is not good"),
        ("/api/repos/create", TOKEN, "take a token that may write there"),
        ("/api/models/me/adapter/commit", TOKEN, "take a token that may write there"),
        ("", "hf_é", "check the connection, the token"),
    ],
)
def test_what_the_hub_refuses_is_one_line_without_the_token(
    db: Path, hub: Hub, environment: dict[str, str], refuses: str, token: str, says: str
) -> None:
    hub.refuses = refuses
    done = push_checkpoint(db, **{**environment, "HF_TOKEN": token})
    error = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout) == (1, "")
    assert error.startswith("Error: ")
    assert says in error
    assert "Traceback" not in done.stderr
    assert token not in done.stderr


def test_a_card_that_the_hub_does_not_take_is_one_line_with_its_words(
    db: Path, hub: Hub, environment: dict[str, str]
) -> None:
    hub.dislikes = ['"license" must be one of its own']
    done = push_checkpoint(db, **environment)
    assert (done.returncode, hub.files["me/adapter"]) == (1, {})
    assert '"license" must be one of its own' in done.stderr.splitlines()[-1]


def test_a_hub_that_cannot_be_reached_is_one_line(db: Path, environment: dict[str, str]) -> None:
    done = push_checkpoint(db, **{**environment, "HF_HUB_OFFLINE": "1"})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Nothing was committed to me/adapter (OfflineModeIsEnabled)" in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--arm", "lema", "--output", "a.jsonl", "--push", "me/arm"), "--push takes an arm in a folder"),
        (("--table", "problem", "--output", "out", "--push", "me/arm"), "--push takes an arm in a folder"),
        (("--arm", "lema", "--output", "out", "--public"), "--public goes with --push"),
        (("--arm", "lema", "--output", "out", "--push", "arm"), "'arm' is no repository of the Hub: write OWNER/NAME"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_anything_is_written(
    db: Path, hub: Hub, environment: dict[str, str], options: tuple[str, ...], says: str
) -> None:
    done = lema("export", *options, cwd=db.parent, **environment)
    assert (done.returncode, done.stderr.count("\n"), hub.asked) == (1, 1, [])
    assert says in done.stderr
    assert not (db.parent / "out").exists()


def test_pushing_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'lema-local\[hub\]'"):
        log_in("me/adapter", "model", is_public=False)
