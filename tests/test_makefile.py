"""What `make setup` does where llama.cpp's server does not compile, and which cache it takes llama.cpp from; the
installer is a script that tells how it was called."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RULES = f"-DCMAKE_PROJECT_INCLUDE={ROOT}/servers/llama_server.cmake"
# Where it is asked to compile the server, it fails if it is told to.
INSTALLER = """#!/bin/sh
case "$*" in *llama*) ;; *) exit 0;; esac
echo "$CMAKE_ARGS" >> "{folder}/calls"
echo "$*" >> "{folder}/arguments"
case "$CMAKE_ARGS" in *LEMA_SERVER=OFF*) ;; *) exit {code};; esac
"""


def set_up(folder: Path, *, compiles: bool, has_server: bool, **variables: str) -> tuple[str, list[str]]:
    """What `make setup` says, and the CMAKE_ARGS of each installation."""
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "venv" / "bin" / "python").symlink_to(sys.executable)
    installer = folder / "installer"
    installer.write_text(INSTALLER.format(folder=folder, code=0 if compiles else 1))
    installer.chmod(0o755)
    values = {"VENV": folder / "venv", "INSTALL": installer, "HAS_SERVER": "true" if has_server else "false"}
    done = subprocess.run(
        ["make", "--no-print-directory", "setup", *(f"{name}={value}" for name, value in values.items())],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in ("CMAKE_ARGS", "MAKEFLAGS")} | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "venv" / ".data").exists()
    return done.stdout, (folder / "calls").read_text().splitlines()


def test_llama_cpp_is_compiled_with_its_server_once(tmp_path: Path) -> None:
    said, calls = set_up(tmp_path, compiles=True, has_server=True)
    assert [call.split() for call in calls] == [[RULES]]
    assert "cannot be built" not in said


def test_a_server_that_does_not_compile_is_left_out_and_a_line_says_so(tmp_path: Path) -> None:
    said, calls = set_up(tmp_path, compiles=False, has_server=False)
    assert [call.split() for call in calls] == [[RULES], [RULES, "-DLEMA_SERVER=OFF"]]
    assert "llama.cpp's server cannot be built here: the recipe llama_cpp stands in" in said


def cache_of(folder: Path, **variables: str) -> str:
    """Where `make setup` looks for a llama-cpp-python that is compiled already."""
    set_up(folder, compiles=True, has_server=True, XDG_CACHE_HOME="/cache", **variables)
    arguments = (folder / "arguments").read_text().split()
    return arguments[arguments.index("--cache-dir") + 1]


def test_what_another_compiler_or_other_options_compiled_is_not_taken_from_a_cache(tmp_path: Path) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho another 1.0\n")
    compiler.chmod(0o755)
    usual = cache_of(tmp_path / "usual")
    assert usual.startswith("/cache/lema_local/compiled/")
    assert cache_of(tmp_path / "again") == usual
    assert cache_of(tmp_path / "options", CMAKE_ARGS="-DGGML_CUDA=ON") != usual
    assert cache_of(tmp_path / "compilers", CXX=str(compiler)) != usual
