"""What the first lines of a request already rule out is refused then, and what is no request leaves no traces of itself."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from proxy.registry.models import Registry
from tests.support import serve_app

NOTHING = Registry(engines={}, models=())


async def answer_to(url: str, sent: bytes) -> bytes:
    """What the server says to these bytes, up to the end of its answer's head."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(sent)
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head


async def test_a_body_announced_as_too_large_is_not_waited_for() -> None:
    sent = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 999999999\r\n\r\n{"
    )
    async with serve_app(NOTHING) as url:
        assert (await answer_to(url, sent)).startswith(b"HTTP/1.1 413 ")


async def test_a_malformed_request_is_logged_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    async with serve_app(NOTHING) as url:
        sent = b"GET /health HTTP/1.1\r\nHost: x\r\nAuthorization Bearer top-secret\r\n\r\n"
        assert b" 400 " in await answer_to(url, sent)
    lines = [record for record in caplog.records if record.name == "aiohttp.server"]
    assert [line.getMessage() for line in lines] == ["Error handling request from 127.0.0.1: BadHttpMessage"]
    assert not lines[0].exc_info
    assert "top-secret" not in caplog.text
