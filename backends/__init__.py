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
}
REMOTE = frozenset({"vllm", "tgi", "openai_compatible"})


def create(spec: EngineSpec) -> Backend:
    """The backend for an engine of spec.kind; imports its module on first use."""
    module, _, name = BACKENDS[spec.kind].partition(":")
    return cast("Backend", getattr(import_module(module), name)(spec))
