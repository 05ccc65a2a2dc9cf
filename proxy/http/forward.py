"""Which request headers an engine gets to see: an allowlist, so that nothing internal or secret travels by accident."""

from __future__ import annotations

from aiohttp import web

from proxy.http.request_id import HEADER

FORWARDED = frozenset(
    {
        b"accept",
        b"accept-language",
        b"baggage",
        b"content-type",
        b"openai-beta",
        b"openai-organization",
        b"openai-project",
        b"traceparent",
        b"tracestate",
        b"user-agent",
        b"x-session-id",
        b"endpoint-load-metrics-format",
    }
)


def forwarded_headers(request: web.Request, request_id: str) -> list[tuple[str, str]]:
    """The headers to send to an engine: those of FORWARDED that came, and the request's id."""
    headers = [
        (name.decode("ascii"), value.decode("utf-8", "surrogateescape"))
        for name, value in request.raw_headers
        if name.lower() in FORWARDED
    ]
    headers.append((HEADER, request_id))
    return headers
