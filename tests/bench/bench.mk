# `make bench`: what a request costs here and in other proxies, measured in one run (docs/benchmarks.md).

BENCH_VENV := .venv-bench
BENCH_PYTHON ?= $(BENCH_VENV)/bin/python
BENCH_ARGS ?=

.PHONY: bench
bench: $(VENV)/.installed $(if $(filter $(BENCH_VENV)/%,$(BENCH_PYTHON)),$(BENCH_VENV)/.installed) ## cost of a request next to nginx, vllm-router, sglang-router and LiteLLM (BENCH_ARGS="--peers nginx,switchboard --seconds 2")
	$(BENCH_PYTHON) -m tests.bench --switchboard-python $(BIN)/python $(BENCH_ARGS)

.PHONY: bench-overload
bench-overload: $(VENV)/.installed ## goodput at 0.5 to 10 times what an engine can serve, with admission and without (docs/admission.md)
	$(BIN)/python -m tests.bench.overload --without $(BENCH_ARGS)

$(BENCH_VENV)/.installed: requirements/bench.lock
	@echo "Installing the systems to compare with: $$(wc -l < $<) packages into $(BENCH_VENV) (once; a few minutes) ..."
	@$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --disable-pip-version-check --no-deps -r $<
	@touch $@

# The libraries are the project's own packages, of the same versions: this environment adds to them what is missing.
MODELS_VENV := .venv-bench-models
MODELS_PYTHON ?= $(MODELS_VENV)/bin/python

.PHONY: bench-speech bench-translation
bench-speech bench-translation: bench-%: $(VENV)/.installed $(if $(filter $(MODELS_VENV)/%,$(MODELS_PYTHON)),$(MODELS_VENV)/.installed)
	$(MODELS_PYTHON) -m tests.bench.$* --switchboard-python $(BIN)/python $(BENCH_ARGS)

bench-speech: ## clips at once, next to faster-whisper and transformers with the same model
bench-translation: ## sentences at once, next to CTranslate2 and transformers with the same model

$(MODELS_VENV)/.installed: requirements/bench-models.lock $(VENV)/.installed
	@$(PYTHON) -m venv $(MODELS_VENV)
	@$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > "$$($(MODELS_VENV)/bin/python -c 'import site; print(site.getsitepackages()[0])')/project.pth"
	$(MODELS_VENV)/bin/pip install --disable-pip-version-check -q --no-deps -r $<
	@touch $@
