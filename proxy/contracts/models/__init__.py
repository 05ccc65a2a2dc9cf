"""The models API: which speech and translation models there are, what they do now, and the sessions that choose among them."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from proxy.contract import Contract
from proxy.contracts.models import discovery, health, languages, loading, sessions, socket, status
from proxy.contracts.models.errors import render_error
from proxy.contracts.models.operations import operations
from proxy.http.queries import without_query


def _routes() -> Iterable[web.RouteDef]:
    plain = (*status.routes(), *health.routes(), *loading.routes(), *sessions.routes(), *socket.routes())
    return (*discovery.routes(), *languages.routes(), *map(without_query, plain))


CONTRACT = Contract(
    name="models",
    routes=_routes,
    operations=operations,
    render_error=render_error,
    prefixes=("/api/models", "/api/languages", "/api/sessions", "/ws"),
)
