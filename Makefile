# Two commands: `make run` (from a bare clone to an answering proxy) and `make test`.

PYTHON ?= python3.11
PORT   ?= 8080
VENV   := .venv
BIN    := $(VENV)/bin
PROFILE := backends/nano/switchboard.toml

.PHONY: run test lint types arrows unit docs lock clean help

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.installed ## install what is needed, start the proxy with the shipped models (PORT=8080)
	@set -a; [ ! -f .env ] || . ./.env; set +a; \
	export SWITCHBOARD_CONFIG="$${SWITCHBOARD_CONFIG:-$(PROFILE)}" SWITCHBOARD_LISTEN="$${SWITCHBOARD_LISTEN:-127.0.0.1:$(PORT)}" \
	       SWITCHBOARD_LOG_FORMAT="$${SWITCHBOARD_LOG_FORMAT:-console}"; \
	exec $(BIN)/python -m proxy serve --greet

test: lint types arrows unit ## everything that needs neither a GPU nor an engine

lint: $(VENV)/.installed-dev ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev ## mypy --strict
	$(BIN)/mypy

arrows: $(VENV)/.installed-dev ## the direction of imports
	$(BIN)/lint-imports

unit: $(VENV)/.installed-dev ## the test suite
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not engines"

docs: $(VENV)/.installed ## write .env.example and the README's table anew from the settings class
	$(BIN)/python -m proxy settings | cat - compose/stacks.env > .env.example
	$(BIN)/python docs/settings_table.py README.md

# torch's CPU build needs nothing more; its CUDA build, which some indexes serve under the same version, brings its libraries.
$(VENV)/.installed: requirements/cpu.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: say which with PYTHON=...'; exit 1; }
	@echo "Installing $$(wc -l < $<) packages into $(VENV) (once; a few minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --no-deps -r $<
	@$(BIN)/pip install --disable-pip-version-check -q -c $< "$$(grep '^torch==' $<)"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.lock
	@echo "Installing what tests need ..."
	@$(BIN)/pip install --disable-pip-version-check -q --no-deps -r requirements/dev.lock
	@touch $@

lock: ## resolve requirements/*.in anew into the locks
	sh requirements/lock.sh

clean: ## remove environments and caches
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

-include tests/engines/engines.mk
-include tests/bench/bench.mk
-include tests/whisperx/whisperx.mk
-include tests/docker/docker.mk
-include tests/sim/sim.mk
-include tests/faults/faults.mk
