# `make sim`: what each policy of choosing a replica gives, in virtual time (docs/routing.md).

.PHONY: sim
sim: $(VENV)/.installed ## policies on traces: first-token latency and cache hits (SIM=docs/routing.md writes them down)
	$(BIN)/python -m tests.sim $(SIM)
