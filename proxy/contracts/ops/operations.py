"""What operators' paths answer."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.operation import OBJECT, Answer, Operation, record, text

STATUS = record({"status": text()})
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
    )


def _get(path: str, summary: str, answer: Answer) -> Operation:
    return Operation(method="GET", path=path, summary=summary, success={200: answer})
