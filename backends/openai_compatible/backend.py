"""Any other server that speaks OpenAI's API."""

from __future__ import annotations

from backends.remote.openai_backend import OpenAIBackend


class OpenAICompatibleBackend(OpenAIBackend):
    """Just what OpenAI's own API has."""
