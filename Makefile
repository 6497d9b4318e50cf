# Needs Python 3.11 (with venv and pip) and make; every target that needs packages sets them up first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
SHELL := bash
.SHELLFLAGS := -o pipefail -ec

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup quickstart test slowtest cluster-test lint types check bench docs lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make .venv from requirements.lock, if it is absent or stale

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) must be there; install it, or name it: make PYTHON=..."; exit 2; }
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(PIP) install --progress-bar off -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

quickstart: $(STAMP) ## set up and run the main job on the built-in corpus, ten minutes on two cores
	@out=sweeps/quickstart-$$(date +%Y%m%d-%H%M%S); \
	$(BIN)/rocore sweep configs/tune/quickstart.yaml --out "$$out"; \
	echo "The report: $$out/report.html"

test: $(STAMP) ## set up and run the tests, two at a time (PYTEST_ARGS="-k name -n 0" passes options on)
	$(BIN)/pytest -m "not slow" -n 2 --dist loadgroup $(PYTEST_ARGS)

slowtest: $(STAMP) ## the tests that take minutes: sweeps killed many times in a row, servers, whole benchmarks
	$(BIN)/pytest -m "slow and not cluster" $(PYTEST_ARGS)

cluster-test: $(STAMP) ## faults on several hosts (network namespaces, needs root), about 20 minutes; prints their table
	FAULT_TABLE=benchmarks/cluster_faults.json $(BIN)/pytest -m cluster tests/cluster $(PYTEST_ARGS)

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

check: test lint types ## everything that must pass before a change goes in

bench: $(STAMP) ## measure speed and memory, long: one table, benchmarks/latest.json and pictures (BENCH_ARGS passes options on)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

docs: $(STAMP) ## rewrite the table of keys in docs/configuration.md from rocore/config.py
	$(BIN)/python docs/render_configuration.py

lock: ## write requirements.lock from what is installed in .venv
	@printf '%s\n' \
	  '# Exact versions of everything that runs and tests this project, without the project itself.' \
	  '# Made by `make lock` from what is installed in .venv (Python 3.11). To renew: install what you want there, for' \
	  '# example `.venv/bin/pip install --upgrade ray`, run `make check`, then `make lock`.' \
	  '# The build of torch (CPU or CUDA) is left to the package index at hand, as are the CUDA packages that one needs.' \
	  > requirements.lock.new
	$(PIP) freeze --all --exclude-editable --exclude rocore-tune --exclude pip \
	  | sed -E -e '/^(nvidia|cuda|triton)[-a-z0-9_]*==/d' -e 's/^(torch==[^+]*)\+.*/\1/' >> requirements.lock.new
	mv requirements.lock.new requirements.lock

clean: ## remove what tools leave behind; .venv, runs/, sweeps/ and data/ stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .hypothesis .pytest_cache
	find rocore tune cluster tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
