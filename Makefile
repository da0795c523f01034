# The only door: set up and run, test, check, measure, lock. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# Arguments of the program behind a target: make up ARGS="--sandbox", make test ARGS="-k stop"
ARGS ?=
# make chaos: the first seed, minutes of real kills (0 for none), simulated schedules (0 for none).
SEED ?= 1
MINUTES ?= 5
SCHEDULES ?= 1000

# Instructions that `-march=native` would use and that do harm:
# With AVX512-FP16 llama.cpp's vectors are 128 numbers long: heads of 64 or 96 miss them and are
# computed number by number, which made answers of 1,000 tokens half as fast.
# With AMX, gcc before 12.4 and 13.3 drops stores to the tile configuration (its bug 114098), and the
# engine dies of a segmentation fault at its first step.
NATIVE := $(shell echo | $${CC:-cc} -march=native -dM -E - 2>/dev/null)
WITHOUT := $(if $(findstring __AVX512FP16__,$(NATIVE)),-mno-avx512fp16)
WITHOUT += $(if $(findstring __AMX_TILE__,$(NATIVE)),-mno-amx-tile -mno-amx-int8 -mno-amx-bf16)
ifneq ($(strip $(WITHOUT)),)
KERNEL_FLAGS := -DCMAKE_C_FLAGS="$(strip $(WITHOUT))" -DCMAKE_CXX_FLAGS="$(strip $(WITHOUT))"
endif
# The multimodal part of llama-cpp-python is not used and doubles its build.
export CMAKE_ARGS := -DLLAVA_BUILD=OFF $(KERNEL_FLAGS) $(CMAKE_ARGS)

.NOTPARALLEL:
.PHONY: help up test check format bench clients gemma docs chaos lock install install-dev kernels native clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

up: $(VENV)/.roost ## Set up and run everything in one terminal (ARGS="--sandbox", "--headless --data DIR")
	@.ci/kernels start requirements.lock $(VENV)
	@exec $(VENV)/bin/roost up $(ARGS)

test: install-dev native ## Set up and run all tests
	@$(VENV)/bin/python -m pytest -q -n 2 --dist loadfile $(ARGS)

check: install-dev ## Formatting, lint, types, floors, lengths and folders
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/python .ci/style

format: install-dev ## Format and sort the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: install-dev native ## Measure; off in `make test`
	@$(VENV)/bin/python -m pytest -q -m benchmark -s tests/benchmarks $(ARGS)

clients: install-dev native ## Install coding agents and drive each through a turn at the gateway; off in `make test`
	@$(VENV)/bin/python -m pytest -q -m clients -s tests/platform/gateway/launch/test_clients.py $(ARGS)

gemma: install-dev native ## Download Gemma 3 270M and test the engine with it; off in `make test`
	@$(VENV)/bin/python -m pytest -q -m gemma tests/inference/models/test_gemma.py $(ARGS)

docs: $(VENV)/.roost ## Write docs/settings.md from the fields
	@$(VENV)/bin/roost settings --markdown > docs/settings.md

chaos: install-dev native ## Seeded crashes and faults, every invariant checked (SEED=n MINUTES=m SCHEDULES=k)
	@$(VENV)/bin/python -m roost_platform.chaos --seed $(SEED) --minutes $(MINUTES) --schedules $(SCHEDULES) $(ARGS)

install: $(VENV)/.roost native ## Set up what `roost` needs to run, with its native kernels

kernels: $(VENV)/.roost ## Compile the kernels for this processor again
	@.ci/kernels again requirements.lock $(VENV)

native: $(VENV)/.roost
	@.ci/kernels wait requirements.lock $(VENV)

install-dev: $(VENV)/.dev $(VENV)/.roost ## Set up what tests and checks need as well

clean: ## Remove caches; the environment and all data stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

lock: | $(VENV)/bin/python ## Pin every dependency by hash again
	@command -v uv >/dev/null || test -x $(VENV)/bin/uv || $(PIP) install --quiet uv
	@uv=$$(command -v uv || echo $(VENV)/bin/uv); \
	compile="$$uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header"; \
	$$compile pyproject.toml -o requirements.lock; \
	$$compile pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock

$(VENV)/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit("Roost needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@echo "Creating $(VENV)"
	@"$(PYTHON)" -m venv $(VENV)

# Stamps hold the sum of the lock they stand for, so an unchanged lock is never installed twice.
$(VENV)/.runtime: requirements.lock | $(VENV)/bin/python
	@.ci/install requirements.lock $@ $(VENV)

# What the development lock pins includes what running needs, at the same versions.
$(VENV)/.dev: requirements-dev.lock | $(VENV)/bin/python
	@.ci/install requirements-dev.lock $@ $(VENV)
	@sha256sum < requirements.lock > $(VENV)/.runtime

# The project itself, in place: edits take effect at once.
$(VENV)/.roost: pyproject.toml | $(VENV)/.runtime
	@$(PIP) install --quiet --no-deps -e .
	@touch $@
