"""llama-cpp-python with llama.cpp's server compiles as `make setup` compiles it, for processors that this one need not
be."""

import os
import platform
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from needs import needs

RULES = Path(__file__).parents[2] / "servers" / "llama_server.cmake"
AVX2 = ["AVX2", "FMA", "F16C", "BMI2"]
AVX512 = [*AVX2, "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16"]
AMX = [*AVX512, "AMX_TILE", "AMX_INT8", "AMX_BF16"]


@needs("llama_cpp")
@pytest.mark.slow  # minutes each, and the package registry
@pytest.mark.timeout(3600)
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="compiles for x86 processors")
@pytest.mark.parametrize("units", [AVX2, AVX512, AMX], ids=["avx2", "avx512", "amx"])
def test_the_server_compiles_for_each_kind_of_processor(units: list[str], tmp_path: Path) -> None:
    options = [f"-DCMAKE_PROJECT_INCLUDE={RULES}", "-DGGML_NATIVE=OFF", *(f"-DGGML_{unit}=ON" for unit in units)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "wheel", "--no-cache-dir"]
    package = f"llama-cpp-python=={version('llama-cpp-python')}"
    compiled = subprocess.run(
        [*pip, "--no-deps", "--no-binary", "llama-cpp-python", "--wheel-dir", str(tmp_path), package],
        env=os.environ | {"CMAKE_ARGS": " ".join(options)},
        capture_output=True,
        text=True,
    )
    assert compiled.returncode == 0, compiled.stdout[-5000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "llama_cpp/lib/llama-server" in archive.namelist()
