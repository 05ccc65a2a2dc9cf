# `make bench`: what a request costs here and in other proxies, measured in one run (docs/benchmarks.md).

BENCH_VENV := .venv-bench
BENCH_PYTHON ?= $(BENCH_VENV)/bin/python
BENCH_ARGS ?=

.PHONY: bench
bench: $(VENV)/.installed $(if $(filter $(BENCH_VENV)/%,$(BENCH_PYTHON)),$(BENCH_VENV)/.installed) ## cost of a request next to nginx, vllm-router, sglang-router and LiteLLM (BENCH_ARGS="--peers nginx,switchboard --seconds 2")
	$(BENCH_PYTHON) -m tests.bench --switchboard-python $(BIN)/python $(BENCH_ARGS)

$(BENCH_VENV)/.installed: requirements/bench.lock
	@echo "Installing the systems to compare with: $$(wc -l < $<) packages into $(BENCH_VENV) (once; a few minutes) ..."
	@$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --disable-pip-version-check --no-deps -r $<
	@touch $@
