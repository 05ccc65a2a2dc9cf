"""What the first lines of a request already rule out is refused then."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

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
