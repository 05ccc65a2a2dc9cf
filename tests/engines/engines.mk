# `make test-engines`: the tests that need a real vLLM. It gets an environment of its own, because it pins its own torch and transformers.

VLLM_VENV := .venv-vllm
VLLM_PYTHON ?= $(VLLM_VENV)/bin/python

.PHONY: test-engines
test-engines: $(VENV)/.installed-dev $(if $(filter $(VLLM_VENV)/%,$(VLLM_PYTHON)),$(VLLM_VENV)/.installed) ## the tests against a real vLLM on the CPU (VLLM_PYTHON= to use one that you have)
	VLLM_PYTHON=$(VLLM_PYTHON) $(BIN)/pytest tests/engines -m engines

# --no-deps: the lock leaves out torchvision, torchaudio and torchcodec, whose CUDA builds break vLLM on the CPU.
$(VLLM_VENV)/.installed: requirements/vllm.lock
	@echo "Installing vLLM: $$(wc -l < $<) packages, 3.6 GB, into $(VLLM_VENV) (once; some minutes) ..."
	@$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --disable-pip-version-check --no-deps -r $<
	@$(VLLM_VENV)/bin/pip install --disable-pip-version-check -q -c $< "$$(grep '^torch==' $<)"
	@touch $@
