"""vLLM's OpenAI-compatible server."""

from __future__ import annotations

from backends.remote.openai_backend import OPENAI_ROUTES, OpenAIBackend


class VllmBackend(OpenAIBackend):
    """An allowlist, because a key on vLLM guards /v1 only: /invocations, /sleep and others stay open behind it."""

    routes = OPENAI_ROUTES | {
        ("POST", "/v1/rerank"),
        ("POST", "/rerank"),
        ("POST", "/v1/score"),
        ("POST", "/score"),
        ("POST", "/tokenize"),
        ("POST", "/detokenize"),
    }
