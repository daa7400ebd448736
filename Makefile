# make demo   install, then train, test and run dynamics on the example data
# make test   install, then the whole test suite
# PYTHON=python3.12 chooses the interpreter of .venv; WORKERS=8 the number of test processes.

PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt

.PHONY: install demo test lint format types docs examples ci clean

install: .venv/.dev

# torch first, by itself: a machine without a GPU must get the CPU build of exactly this version.
.venv/.package: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	  "multiace needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

.venv/.dev: .venv/.package
	$(PIP) --editable '.[dev,docs]'
	@touch $@

demo: .venv/.package
	$(BIN)/python examples/demo.py

# One thread a process: tests and examples are many and small.
test: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: .venv/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: .venv/.dev
	$(BIN)/mypy

docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

examples: .venv/.dev
	@set -e; for example in examples/[0-9]*.py; do \
	  echo "== $$example"; OMP_NUM_THREADS=1 $(BIN)/python $$example; done

ci: lint types docs examples test

clean:
	rm -rf .venv site runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
