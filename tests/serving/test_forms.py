"""What the cache has of a model's weights in another form is used while it is whole, and of this build of llama.cpp."""

import json
from pathlib import Path

import pytest
from needs import needs

from lema_local.serving import forms
from lema_local.serving.forms import choose_form, known_choice, weights_in_form
from lema_local.serving.measuring import Choice, Measured
from lema_local.settings.models import Model, cache_directory

pytestmark = needs("llama_cpp")
CHOICE = Choice("f16", {"file": Measured(100.0), "f16": Measured(200.0, 0.999)})


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    return Model(name="m", gguf_path=file)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of llama.cpp, as it was compiled; it has two names, as they have."""
    folder = tmp_path / "lib"
    folder.mkdir()
    library = folder / "libllama.so"
    library.write_bytes(b"compiled")
    (folder / "libllama.so.0").hardlink_to(library)
    monkeypatch.setattr(forms, "program_path", lambda recipe: folder / "llama-server")
    return library


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is written of weights."""
    found: list[Path] = []

    def convert(source: Path, target: Path, form: str) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"the weights")
        found.append(target)

    monkeypatch.setattr(forms, "convert", convert)
    return found


@pytest.mark.parametrize("damage", ["cut off", "changed", "never finished"])
def test_weights_are_written_once_and_anew_where_they_are_not_whole(
    model: Model, library: Path, written: list[Path], damage: str
) -> None:
    path = weights_in_form(model, "f16")
    assert weights_in_form(model, "f16") == path
    assert written == [path]
    if damage == "never finished":
        (signature,) = path.parent.glob("*.sha256")
        signature.unlink()
    else:
        path.write_bytes(b"the wei" if damage == "cut off" else b"the wolves!")
    said: list[str] = []
    assert weights_in_form(model, "f16", on_notice=said.append).read_bytes() == b"the weights"
    assert said == ["writing m as f16 (once)"]


def test_another_build_of_the_engine_writes_its_own_weights_and_chooses_anew(
    model: Model, library: Path, written: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "_measure", lambda model: CHOICE)
    assert choose_form(model) == known_choice(model) == CHOICE
    before = weights_in_form(model, "f16")
    library.write_bytes(b"compiled anew")  # of the same version
    assert known_choice(model) is None
    after = weights_in_form(model, "f16")
    assert written == [before, after]
    assert before != after
    library.write_bytes(b"compiled")
    assert known_choice(model) == CHOICE
    assert weights_in_form(model, "f16", on_notice=pytest.fail) == before


@pytest.mark.parametrize("kept", ["", "{", "[]", "{KEY: 1}", '{KEY: {"form": "f16"}}', '{KEY: {"measured": {}}}'])
def test_a_choice_that_is_not_whole_is_none(
    model: Model, library: Path, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "_measure", lambda model: CHOICE)
    choose_form(model)
    file = cache_directory() / "forms.json"
    (key,) = json.loads(file.read_text())
    file.write_text(kept.replace("KEY", json.dumps(key)))
    assert known_choice(model) is None
