#!/usr/bin/env bash
# Builds llama.cpp's own bench tool, llama-batched-bench, over the library that lema's recipes serve by.
#
#     bash bench/batched_bench.sh FOLDER           # a few seconds; FOLDER/llama-batched-bench
#     python bench/generation.py --tool FOLDER/llama-batched-bench
#
# Two small sources of the source distribution that the library was built from; needs g++ and the package registry.
set -euo pipefail
folder=${1:?the folder for the tool}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$folder"
version=$("$python" -c 'import importlib.metadata; print(importlib.metadata.version("llama-cpp-python"))')
site=$("$python" -c 'import importlib.util; print(importlib.util.find_spec("llama_cpp").submodule_search_locations[0])')
library=$site/lib
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
    --dest "$folder" "llama-cpp-python==$version"
sources=llama_cpp_python-$version/vendor/llama.cpp
tar --extract --gzip --file "$folder/llama_cpp_python-$version.tar.gz" --directory "$folder" \
    "$sources"/{include,ggml/include,common,vendor,tools/batched-bench}
cd "$folder"
g++ -O2 -std=c++17 -I"$sources"/include -I"$sources"/ggml/include -I"$sources"/common -I"$sources"/vendor \
    "$sources"/tools/batched-bench/*.cpp \
    -L"$library" -Wl,-rpath,"$library" -lllama-common -lllama -lggml -lggml-base -o llama-batched-bench
echo "$PWD/llama-batched-bench"
