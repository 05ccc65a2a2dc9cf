"""What a client may take of the server, and what it hears when it takes more, on a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
import pytest

from proxy.registry.models import Registry
from tests.support import serve_app

NOTHING = Registry(engines={}, models=())
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
FORM = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
SECRET = b"top-secret"


@dataclass
class Answer:
    """An answer as it came: headers by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Client:
    """A socket that says what a test wants."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> Answer:
        """The next answer; every one has a Content-Length here."""
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(first.split()[1]), headers, body)

    async def dropped(self) -> bytes:
        """What came until the server closed the connection."""
        async with asyncio.timeout(5):
            return await self.reader.read()


@asynccontextmanager
async def client(url: str, sent: bytes = b"") -> AsyncIterator[Client]:
    """A connection on which `sent` was sent."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(sent)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_client_without_a_head_is_dropped(sent: bytes) -> None:
    async with serve_app(NOTHING, head_seconds=0.1) as url, client(url, sent) as slow:
        assert await slow.dropped() == b""


async def test_bytes_now_and_then_do_not_buy_time() -> None:
    async with serve_app(NOTHING, head_seconds=0.3) as url, client(url, b"GET /health HTTP/1.1\r\n") as slow:
        begun = time.monotonic()
        while not slow.reader.at_eof() and time.monotonic() < begun + 5:
            slow.writer.write(b"X-A: b\r\n")
            await asyncio.sleep(0.05)
        assert slow.reader.at_eof()


async def test_the_second_head_has_a_deadline_too_and_idle_connections_have_none() -> None:
    async with serve_app(NOTHING, head_seconds=0.1) as url, client(url, HEALTH) as idle, client(url, HEALTH) as slow:
        assert (await idle.answer()).status == (await slow.answer()).status == 200
        slow.writer.write(b"GET /hea")
        assert await slow.dropped() == b""
        idle.writer.write(HEALTH)
        assert (await idle.answer()).status == 200


@pytest.mark.parametrize(
    "sent", [CHAT + b'Content-Length: 100\r\n\r\n{"model"', FORM + b"Content-Length: 100\r\n\r\n--b\r\n"]
)
async def test_a_body_that_stands_still_is_answered_408(sent: bytes) -> None:
    async with serve_app(NOTHING, body_seconds=0.1) as url, client(url, sent) as stalled:
        answer = await stalled.answer()
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert "No more of the request body came" in orjson.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize(("slowest", "status"), [(10.0, 404), (1000.0, 408)])
async def test_a_slow_body_is_read_while_it_does_not_crawl(
    monkeypatch: pytest.MonkeyPatch, slowest: float, status: int
) -> None:
    monkeypatch.setattr("proxy.http.body.SLOWEST", slowest)
    body = b'{"model": "nobody"}'
    head = CHAT + b"Content-Length: %d\r\n\r\n" % len(body)
    async with serve_app(NOTHING, body_seconds=0.5) as url, client(url, head) as slow:
        for byte in body:
            slow.writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        answer = await slow.answer()
    assert answer.status == status
    assert status != 408 or b"slower than 1000 bytes a second" in answer.body


async def test_one_connection_too_many_is_told_so() -> None:
    async with serve_app(NOTHING, max_connections=1) as url:
        async with client(url, HEALTH) as first:
            assert (await first.answer()).status == 200
            async with client(url) as second:
                answer = await second.answer()
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert answer.headers["x-request-id"] and "try again" in orjson.loads(answer.body)["error"]
                assert await second.dropped() == b""
            first.writer.write(HEALTH)
            assert (await first.answer()).status == 200
        status = 503
        while status == 503:
            async with client(url, HEALTH) as third:
                status = (await third.answer()).status
        assert status == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /health HTTP/1.1\r\nAuthorization Bearer " + SECRET + b"\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + SECRET * 2000 + b"\r\n\r\n", 400),
        (SECRET + b" nonsense\r\n\r\n", 400),
        (b"GET /health HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    ],
)
async def test_what_is_not_http_is_answered_recorded_and_not_repeated(
    sent: bytes, status: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve_app(NOTHING, log_format="console") as url:
        async with client(url, sent) as strange:
            answer = await strange.answer()
            assert await strange.dropped() == b""
        async with client(url, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") as operator:
            metrics = await operator.answer()
    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (status, "application/json")
    assert answer.headers["x-request-id"] in capsys.readouterr().out
    assert orjson.loads(answer.body)["error"]
    assert SECRET not in answer.body and SECRET.decode() not in caplog.text
    assert f'status="{status}"}} 1.0' in metrics.body.decode()


async def test_a_body_that_breaks_off_is_refused_at_once_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    sent = CHAT + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    async with serve_app(NOTHING) as url, client(url, sent) as broken:
        assert (await broken.answer()).status == 100
        broken.writer.write(SECRET + b"\r\n")
        answer = await broken.answer()
        assert await broken.dropped() == b""
    assert answer.status == 400 and b"not framed as HTTP says" in answer.body
    assert SECRET not in answer.body and SECRET.decode() not in caplog.text
    assert not any(record.exc_info for record in caplog.records)


async def test_other_transfer_codings_than_chunked_are_not_implemented() -> None:
    sent = CHAT + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    async with serve_app(NOTHING) as url, client(url, sent) as packed:
        assert (await packed.answer()).status == 501


async def test_a_body_is_asked_for_only_from_those_with_a_key() -> None:
    head = CHAT + b"Expect: 100-continue\r\nContent-Length: 2\r\n"
    async with serve_app(NOTHING, api_keys=SECRET.decode()) as url:
        async with client(url, head + b"\r\n") as stranger:
            assert (await stranger.answer()).status == 401
        async with client(url, head + b"Authorization: Bearer " + SECRET + b"\r\n\r\n") as known:
            assert (await known.answer()).status == 100
            known.writer.write(b"{}")
            assert b"No model was named" in (await known.answer()).body


@pytest.mark.parametrize("path", [b"/health", b"/nowhere"])
async def test_other_expectations_are_ignored(path: bytes) -> None:
    sent = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nExpect: " + SECRET + b"\r\n\r\n"
    async with serve_app(NOTHING) as url, client(url, sent) as demanding:
        answer = await demanding.answer()
    assert answer.status == (200 if path == b"/health" else 404)
    assert SECRET not in answer.body and answer.headers["x-request-id"]


async def test_no_answer_tells_versions() -> None:
    async with serve_app(NOTHING) as url, client(url, HEALTH) as curious:
        assert (await curious.answer()).headers["server"] == "switchboard"
