# The locked CUDA set in an environment of its own: it runs without a GPU too. About 7 GB and five minutes, once.
WHISPERX := .venv-whisperx

.PHONY: test-whisperx
test-whisperx: $(WHISPERX)/.installed ## speech and pipelines with whisperX and the CUDA set (no GPU needed)
	OMP_NUM_THREADS=1 $(WHISPERX)/bin/pytest -n 2 tests/whisperx tests/backends/whisper tests/backends/translation \
	  tests/backends/inprocess tests/backends/transformers

$(WHISPERX)/.installed: requirements/cuda.lock requirements/dev.lock
	@echo "Installing $$(cat $^ | wc -l) packages into $(WHISPERX) (once; about five minutes and 7 GB) ..."
	@$(PYTHON) -m venv $(WHISPERX)
	$(WHISPERX)/bin/pip install --disable-pip-version-check --no-deps -r requirements/cuda.lock
	$(WHISPERX)/bin/pip install --disable-pip-version-check -q --no-deps -r requirements/dev.lock
	@touch $@
