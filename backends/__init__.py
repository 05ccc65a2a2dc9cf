"""Adapters to engines and pipelines, as import strings: torch loads only when a model of this process is configured."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from backends.base import Backend, EngineSpec

BACKENDS = {
    "vllm": "backends.vllm.backend:VllmBackend",
    "tgi": "backends.tgi.backend:TgiBackend",
    "openai_compatible": "backends.openai_compatible.backend:OpenAICompatibleBackend",
    "transformers": "backends.transformers.backend:TransformersBackend",
    "whisper": "backends.whisper.backend:WhisperBackend",
    "translation": "backends.translation.backend:TranslationBackend",
    "pipelines": "backends.pipelines.backend:PipelinesBackend",
}
REMOTE = frozenset({"vllm", "tgi", "openai_compatible"})


def create(spec: EngineSpec) -> Backend:
    """The backend for an engine of spec.kind; imports its module on first use, in a process of its own if spec says so."""
    path = BACKENDS[spec.kind]
    if spec.isolation == "process" and spec.kind not in REMOTE:
        return cast("Backend", import_module("backends.inprocess.isolation").IsolatedBackend(spec, path))
    module, _, name = path.partition(":")
    return cast("Backend", getattr(import_module(module), name)(spec))
