"""Structured logs on standard output: JSON, one object a line; never a prompt, a transcript or a key."""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from typing import Literal

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

from proxy.observability.call import Call

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(level: str, style: Literal["json", "console"]) -> None:
    """Set up structlog for the process, and send the standard library's warnings the same way."""
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.StackInfoRenderer(),
    ]
    factory: structlog.BytesLoggerFactory | structlog.PrintLoggerFactory
    if style == "json":
        # Without the frames' local variables: prompts and keys live there.
        tracebacks = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
        processors += [tracebacks, structlog.processors.JSONRenderer(serializer=_dumps)]
        factory = structlog.BytesLoggerFactory(sys.stdout.buffer)
    else:
        plain = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain))
        factory = structlog.PrintLoggerFactory(sys.stdout)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING, force=True)


def _dumps(value: object, default: object = None, **_: object) -> bytes:
    return orjson.dumps(value, default=str)


class _ToStructlog(logging.Handler):
    """Libraries log through the standard library; their lines become lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


class AccessLog:
    """One line a request.

    It is the hottest line there is: as JSON it goes to structlog's logger as bytes, past the chain of processors,
    which costs more than all else that is done for the line.
    """

    def __init__(self, level: str, style: Literal["json", "console"]) -> None:
        self._wanted = LEVELS[level] <= logging.INFO
        self._bytes = structlog.BytesLogger(sys.stdout.buffer) if style == "json" else None
        self._log = structlog.get_logger("access")

    def write(self, call: Call) -> None:
        """Write the call's line."""
        if not self._wanted:
            return
        fields = _fields(call)
        if self._bytes is None:
            self._log.info("request", **fields)
            return
        fields |= {"event": "request", "level": "info", "timestamp": datetime.now(UTC)}
        self._bytes.msg(orjson.dumps(fields, option=orjson.OPT_UTC_Z))


def _fields(call: Call) -> dict[str, object]:
    """What a call's line says; times in milliseconds, and what is not known left out."""
    fields: dict[str, object] = {
        "id": call.request_id,
        "contract": call.contract,
        "method": call.method,
        "path": call.path,
        "status": call.status,
        "total_ms": round((time.monotonic() - call.started) * 1e3, 2),
    }
    if call.model:
        fields["model"] = call.model
        fields["engine"] = call.engine
    if call.instead_of:
        fields["instead_of"] = call.instead_of
    if call.replica not in ("", call.engine):
        fields["replica"] = call.replica
    if call.caller.key:
        fields["key"] = call.caller.key
    if call.queued:
        fields["queued_ms"] = round(call.queued * 1e3, 2)
    if call.first_byte_at is not None:
        fields["first_byte_ms"] = round((call.first_byte_at - call.started) * 1e3, 2)
    if call.prompt_tokens is not None:
        fields["prompt_tokens"] = call.prompt_tokens
        fields["completion_tokens"] = call.completion_tokens
    if call.error is not None:
        fields["error"] = call.error
    return fields
