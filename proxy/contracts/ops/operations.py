"""What operators' paths answer."""

from __future__ import annotations

from collections.abc import Iterable

from backends.types import JsonObject
from proxy.errors import ErrorCode
from proxy.operation import BARE, BODY, FLAG, OBJECT, Answer, Operation, many, one_of, record, text

STATUS = record({"status": text()})
RELOADED = record(
    {
        "status": one_of("reloaded", "unchanged"),
        "summary": many(text()),
        "changes": OBJECT,
        "needs_restart": many(text()),
    }
)
STANDING = record(
    {
        "engine": text(),
        "replica": {"type": "string", "nullable": True},
        "draining": FLAG,
        "in_flight": {"type": "integer", "minimum": 0},
    }
)
ROOT = record({"status": text(), "docs": text()})


def operations() -> Iterable[Operation]:
    """One for each route."""
    return (
        _get("/", "Whether the process is alive", Answer(description="It is; read on at `docs`", schema=ROOT)),
        _get("/health", "Whether the process is alive", Answer(description="It is", schema=STATUS)),
        Operation(
            method="GET",
            path="/ready",
            summary="Whether new work is welcome",
            success={
                200: Answer(description="It is", schema=STATUS),
                503: Answer(description="It is not: loading, or leaving", schema=STATUS),
            },
        ),
        _get("/metrics", "What was done, for Prometheus", Answer(description="Metrics", media="text/plain")),
        _get("/openapi.json", "This document", Answer(description="OpenAPI 3.0", schema=OBJECT)),
        _get("/docs", "This document, to read and try", Answer(description="A page", media="text/html")),
        _get("/docs/start.js", "What the page begins with", Answer(description="A script", media="text/javascript")),
        _get("/docs/swagger-ui-bundle.js", "Swagger UI", Answer(description="A script", media="text/javascript")),
        _get("/docs/swagger-ui.css", "Swagger UI's style", Answer(description="A style sheet", media="text/css")),
        _post(
            "/admin/reload",
            "Read the configuration anew and serve it",
            Answer(description="What has changed", schema=RELOADED),
        ),
        Operation(
            method="GET",
            path="/admin/engines",
            summary="Every engine, and what it does now",
            success={
                200: Answer(description="Engines", schema=record({"engines": many(OBJECT), "leaving": many(OBJECT)}))
            },
            errors=BARE | {ErrorCode.FORBIDDEN},
        ),
        _post(
            "/admin/engines/{name}/drain",
            "Send an engine no new requests",
            Answer(description="How many it still has", schema=STANDING),
            wait={"type": "number", "minimum": 0, "maximum": 3600, "description": "seconds to wait until it has none"},
        ),
        _post(
            "/admin/engines/{name}/undrain",
            "Send an engine requests again",
            Answer(description="How many it has", schema=STANDING),
        ),
    )


def _post(path: str, summary: str, answer: Answer, **options: JsonObject) -> Operation:
    """Something that an operator does."""
    of_engine = "{name}" in path
    return Operation(
        method="POST",
        path=path,
        summary=summary,
        query={**({"replica": text("one of its replicas; none = all")} if of_engine else {}), **options},
        success={200: answer},
        errors=BODY | {ErrorCode.FORBIDDEN} | ({ErrorCode.NOT_FOUND} if of_engine else frozenset()),
    )


def _get(path: str, summary: str, answer: Answer) -> Operation:
    return Operation(method="GET", path=path, summary=summary, success={200: answer})
