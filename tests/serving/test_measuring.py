"""What ends the child that measures forms ends it alone, and leaves no files."""

import sys
from pathlib import Path

import pytest
from needs import needs

from lema_local.errors import ServerError
from lema_local.serving.measuring import EXACT, measure_in_child

pytestmark = needs("llama_cpp")


@pytest.fixture
def targets(tmp_path: Path) -> dict[str, Path]:
    return {EXACT: tmp_path / "m-f32.gguf", "bf16": tmp_path / "m-bf16.gguf"}


def instead_of_python(folder: Path, script: str) -> str:
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_an_instruction_that_the_processor_lacks_is_an_error_that_says_what_to_type(
    tmp_path: Path, targets: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = f"touch {targets[EXACT]} {tmp_path}/.{targets['bf16'].name}.7"
    monkeypatch.setattr(sys, "executable", instead_of_python(tmp_path, f"{written}; kill -ILL $$"))
    with pytest.raises(ServerError, match="compiled on another machine; `make llama-server` compiles"):
        measure_in_child(tmp_path / "m.gguf", targets)
    assert [path.name for path in tmp_path.iterdir()] == ["program"]


def test_a_file_that_llama_cpp_cannot_read_is_an_error_of_one_line(tmp_path: Path, targets: dict[str, Path]) -> None:
    source = tmp_path / "m.gguf"
    source.write_bytes(b"no weights")
    with pytest.raises(ServerError, match=rf"The speed of {source} cannot be measured: llama.cpp cannot write") as told:
        measure_in_child(source, targets)
    assert "\n" not in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_a_child_that_says_nothing_of_use_is_an_error(
    tmp_path: Path, targets: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for script, said in (("echo '{}'", "cannot be measured: 'form'"), ("exit 3", "llama.cpp ended with code 3")):
        monkeypatch.setattr(sys, "executable", instead_of_python(tmp_path, script))
        with pytest.raises(ServerError, match=said):
            measure_in_child(tmp_path / "m.gguf", targets)
