"""Which model is meant: TGI serves one and has no name for it, this door serves many."""

from __future__ import annotations

from aiohttp import web

from proxy.http.observe import CALL
from proxy.keys import DISPATCHER
from proxy.registry.models import ModelEntry

HEADER = "X-Model"
"""For clients that can set headers but no fields of the body, as TGI's own."""


def model_of(request: web.Request, named: str | None) -> ModelEntry:
    """The model that the body names, else the header, else the default for text. Raises ApiError (unknown, wrong task)."""
    return request.app[DISPATCHER].resolve(named or request.headers.get(HEADER), "text", request[CALL])
