#!/bin/sh
# Resolve the environments that stand beside the project's: vLLM for `make test-engines`, other proxies for `make bench`,
# and what `make bench-speech` adds to the project's own. Needs uv.
set -eu
cd "$(dirname "$0")"
resolve() { uv pip compile --quiet --python-version 3.11 --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$@"; }

# torch is named without its build; what the build of the index needs (CUDA libraries or not) comes with it when it is installed.
resolve vllm.in --override overrides-vllm.txt --output-file vllm.full
sed -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton==/d' vllm.full > vllm.lock
resolve bench.in --output-file bench.lock
resolve bench-models.in --override overrides-cpu.txt --constraint cpu.lock --output-file bench-models.full
sed -e 's/+cpu$//' -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton==/d' bench-models.full | grep -vxFf cpu.lock > bench-models.lock
rm -f vllm.full bench-models.full
