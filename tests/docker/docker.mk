# `make test-compose`: builds the CPU stack's image and runs the stack, where a docker engine is at hand.

.PHONY: test-compose
test-compose: ## the CPU stack for real: build, start, ask it on its three ports (needs a docker engine)
	sh tests/docker/compose.sh
