# `make` alone lists the targets.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
export DAGSTER_DISABLE_TELEMETRY := 1

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[all]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[all,test,lint]'
	@touch $@

setup: $(VENV)/.installed ## create the virtual environment
dev: $(VENV)/.installed-dev ## add what tests and lint need

run: setup ## curate the bundled samples, list what was published, query it
	$(BIN)/winnow run --sample
	$(BIN)/winnow list
	$(BIN)/winnow query "$$(cat docs/first-query.sql)"

test: dev ## run all tests, in two processes
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST)

lint: dev ## ruff, mypy, import-linter, contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	for folder in assets/datasets/*/*/; do $(BIN)/dg check yaml $$folder || exit 1; done # all at once dg checks only one

ui: setup ## start Dagster on the datasets here
	$(BIN)/winnow ui

bench: setup ## measure speed and memory
	$(BIN)/python -m benchmarks variants
	$(BIN)/python -m benchmarks occurrences
	$(BIN)/python -m benchmarks rights
	$(BIN)/python -m benchmarks startup
	$(BIN)/python -m benchmarks lookup
	$(BIN)/python -m benchmarks samples

docs: setup ## write the reference pages from the contracts
	$(BIN)/python -m dagster_project.reference docs/reference
	$(BIN)/python -m tests.vcf_conformance docs/reference

.PHONY: help setup dev run test lint ui bench docs
