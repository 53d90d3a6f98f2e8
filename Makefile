# Everything runs in .venv, which `make setup` creates; `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
OUT ?= shards
WORKERS ?= $(shell nproc 2>/dev/null || echo 1)
PREP := $(BIN)/alexnet-prep
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types unit test-long format shards stats bench bench-peers gpu-check clients pictures image clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv and install the project and its tools

$(STAMP): setup.cfg pyproject.toml constraints.txt .ci/setup
	PYTHON=$(PYTHON) .ci/setup

demo: setup ## draw a sample source, make shards, train, evaluate: the whole job in a few minutes
	$(BIN)/python -m alexnet_train.demo demo

test: setup lint types unit ## lint, types and all tests

lint: setup ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy --strict
	$(BIN)/mypy

unit: setup ## the tests alone
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n auto --dist worksteal

test-long: setup ## the long proofs: full fuzz counts, chaos, injected faults (an hour or two)
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -m long --timeout 7200

format: setup ## rewrite the code in ruff's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

shards: setup ## make shards of SOURCE=/path/to/archives in OUT=shards (without SOURCE: of the drawn sample)
	$(if $(SOURCE),,$(PREP) sample sample)
	$(PREP) shards --source "$(or $(SOURCE),sample)" --out "$(OUT)" --workers $(WORKERS)

stats: setup ## alexnet-prep compute-stats: mean image and RGB eigenvectors of OUT's training shards
	$(PREP) compute-stats --shards "$(OUT)" --workers $(WORKERS)

bench-peers: setup ## virtual environments for what the benchmarks measure against (.venv-peers)
	PYTHON=$(PYTHON) benchmarks/peers.sh

bench: setup ## one table beside what people would use instead, on the photos in DATA (without: drawn); kept in benchmarks/results
	$(BIN)/python -m benchmarks.table $(if $(DATA),--data "$(DATA)") $(BENCH)

gpu-check: ## what a GPU must show, in 8 minutes: PYTHON with CUDA torch, WHEELS=folder of small packages (docs/training.md)
	@PYTHONPATH=$(CURDIR)/prep:$(CURDIR)/shards:$(CURDIR)/train:$(WHEELS):$$PYTHONPATH $(PYTHON) benchmarks/gpu_check.py

clients: setup ## every example of other loaders and tools, in environments of their own: a table with versions (minutes)
	$(BIN)/python benchmarks/clients.py $(NAMES)

pictures: demo ## take the pictures of README.md anew, from the demo's pages (needs chromium)
	$(BIN)/python benchmarks/pictures.py

image: ## a container image, where docker is
	docker build -t alexnet-replication .

clean: ## remove caches and the demo's files; data in shards/ stays
	rm -rf demo sample build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -type d -exec rm -rf {} +
