# `make test-faults`: what happens when engines and clients fail (docs/faults.md). A part of `make test`, too.

.PHONY: test-faults
test-faults: $(VENV)/.installed-dev ## engines and clients that fail in every way (FAULTS_SEED=7 for another seed)
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/faults
