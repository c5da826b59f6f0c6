# make help lists the targets; VENV=DIR puts the virtual environment elsewhere
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
MIX ?= math_heavy

.DEFAULT_GOAL := help
.PHONY: help setup setup-train build test lint types check bench bench-near bench-tokens bench-train bench-generate bench-read fuzz torture reproduce mutants clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-15s %s\n", $$1, $$2 }'

setup: $(VENV)/.ready  ## make the virtual environment with pinned versions

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("poolmix needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup-train: setup  ## add PyTorch and what training needs (its tests are skipped without)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,train]'

build: setup  ## build a bundle from the sample data (MIX=chat_heavy for another mix)
	$(BIN)/python -m pipeline build mix=$(MIX)

test: setup  ## run all tests
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup  ## check style and format (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## check types (pyright, strict on pipeline/)
	$(BIN)/pyright --pythonpath $(BIN)/python

check: lint types test  ## everything above

fuzz: setup  ## read 21,000 damaged files and records of a GiB (10 minutes)
	POOLMIX_FUZZ_FILES=10000 $(BIN)/python -m pytest tests/pipeline/sources/test_read_fuzz.py
	$(BIN)/python -m pytest -m fuzz tests/pipeline/sources

torture: setup  ## kill commands 500 times and interrupt them 120 times, at every moment (40 minutes)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m torture tests/faults -s

reproduce: setup  ## build the same bundle a hundred times in other surroundings (10 minutes)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m torture tests/faults/test_reproducible.py

mutants: setup  ## break each rule of the design on purpose: a test must notice (10 minutes)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -s -m torture tests/mutation

bench-read: setup  ## compare reading of JSON lines with pyarrow's reader and orjson (1 GB)
	$(BIN)/python tests/benchmarks/bench_read.py

bench: setup  ## compare speed with a hand-written recipe (5 runs; needs the shared data)
	$(BIN)/python tests/benchmarks/bench_build.py

bench-near: setup  ## time near deduplication of 200,000 rows with planted copies (3 runs)
	$(BIN)/python tests/benchmarks/bench_near.py

bench-tokens: setup-train  ## compare tokenizing and packing with TRL's own (3 runs; needs the shared data)
	$(BIN)/python tests/benchmarks/bench_tokens.py

bench-train: setup-train  ## compare training with a plain TRL script (5 to 9 minutes)
	$(BIN)/python tests/benchmarks/bench_train.py

bench-generate: setup-train  ## compare replies in batches with one prompt at a time (15 minutes)
	$(BIN)/python tests/benchmarks/bench_generate.py

clean:  ## remove pools, bundles and caches (not the virtual environment)
	rm -rf data_pools/pools data_pools/bundles .pytest_cache .ruff_cache .hypothesis
