#!/bin/sh
# Resolve requirements/*.in into the locks. Needs uv (pip install uv) and a package index.
# The locks are installed with `pip install --no-deps`: the overrides lift caps that reality does not need (docs/decisions/001-two-locks.md).
set -eu
cd "$(dirname "$0")"
resolve() { uv pip compile --quiet --python-version 3.11 --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$@"; }
# The CPU set names torch without its build and leaves out the CUDA libraries of the other build (NVML's client is none of them).
cpu_only() { sed -e 's/+cpu$//' -e '/^nvidia-ml-py==/b' -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton==/d' "$1"; }

resolve cpu.in --override overrides-cpu.txt --output-file cpu.full && cpu_only cpu.full > cpu.lock
resolve dev.in --override overrides-cpu.txt --constraint cpu.lock --output-file dev.full
cpu_only dev.full | grep -vxFf cpu.lock > dev.lock
resolve cuda.in --override overrides-cuda.txt --output-file cuda.lock
rm -f cpu.full dev.full
