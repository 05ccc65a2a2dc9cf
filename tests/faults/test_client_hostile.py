"""Clients that lie about their requests, or make them of as many pieces as they can."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from pathlib import Path

from tests.backends.remote.rig import Answer
from tests.faults.door import connect, exchange, get, registry_of, serving
from tests.faults.ledger import Ledger
from tests.faults.process import apart
from tests.faults.scripted_engine import ScriptedEngine

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\n"
SMUGGLED = json.dumps({"model": "m", "messages": [{"role": "user", "content": "smuggled"}]}).encode()
SECOND = HEAD + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED
LAG = 2.0
"""Seconds that somebody else may wait, at most: a quarter of one where nothing else runs, more on a machine that is busy."""


def asked(ask: str) -> bytes:
    """The body of a chat request."""
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": ask}]}).encode()


async def test_c11_lying_lengths(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    body = asked("honest")
    lies = {
        "negative": b"Content-Length: -1\r\n\r\n" + body,
        "signed": b"Content-Length: +%d\r\n\r\n" % len(body) + body,
        "two": b"Content-Length: %d\r\nContent-Length: 3\r\n\r\n" % len(body) + body,
        "two in one": b"Content-Length: %d, %d\r\n\r\n" % (len(body), len(body)) + body,
        "hexadecimal": b"Content-Length: 0x%x\r\n\r\n" % len(body) + body,
        "endless": b"Content-Length: 99999999999999999999999999\r\n\r\n" + body,
        "none": b"Content-Length: \r\n\r\n" + body,
        "short": b"Content-Length: %d\r\n\r\n" % (len(body) - 5) + body,
        "long": b"Content-Length: %d\r\n\r\n" % (len(body) + 9) + body,
        "huge": b"Content-Length: 999999999\r\n\r\n" + body,
    }
    endings = {"long": 408, "huge": 413}
    async with serving(registry_of(engine.url), ledger, seed, body_seconds=0.3) as door:
        for lie, rest in lies.items():
            answer = Answer(await exchange(door.url, HEAD + rest))
            assert answer.status == endings.get(lie, 400), (lie, answer.raw)
        await door.burst(5)
    ledger.settle(engine)
    assert "honest" not in engine.executions
    ledger.note(f"{len(lies)} lies refused")


async def test_c12_smuggling(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    """None of these is taken for a request and what follows it for another: none gets past the door."""
    length = b"Content-Length: 0\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n"
    corpus = {
        "length and chunks": HEAD + length + chunked + b"\r\n0\r\n\r\n",
        "chunks and length": HEAD + chunked + length + b"\r\n0\r\n\r\n",
        "chunked twice": HEAD + chunked + chunked + b"\r\n0\r\n\r\n",
        "chunked, then something else": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "chunked by another name": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "chunked behind a tab": HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        "a space before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "a folded header": HEAD + b"X-Folded: a\r\n b\r\n" + length + b"\r\n",
        "a header without a colon": HEAD + b"Nonsense\r\n" + length + b"\r\n",
        "bare line feeds": HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 0\n\n",
        "a bare carriage return": HEAD + b"X: a\rTransfer-Encoding: chunked\r\n" + length + b"\r\n",
        "a null byte": HEAD + b"X: a\x00b\r\n" + length + b"\r\n",
        "a host twice": HEAD + b"Host: other\r\n" + length + b"\r\n",
        "no host": HEAD.replace(b"Host: door\r\n", b"") + length + b"\r\n",
        "a chunk size with a sign": HEAD + chunked + b"\r\n+0\r\n\r\n",
        "a chunk size with a prefix": HEAD + chunked + b"\r\n0x0\r\n\r\n",
        "a chunk longer than its size": HEAD + chunked + b"\r\n1\r\nxx\r\n0\r\n\r\n",
        "a chunk size ended by a line feed": HEAD + chunked + b"\r\n0\n\r\n",
        "HTTP/1.0 with chunks": HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + chunked + b"\r\n0\r\n\r\n",
    }
    async with serving(registry_of(engine.url), ledger, seed) as door:
        passed = {}
        for trick, sent in corpus.items():
            reader, writer = await connect(door.url)
            writer.write(sent + SECOND)
            async with asyncio.timeout(5):
                raw = await reader.read()
            writer.close()
            if not raw.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501", b"HTTP/1.0 400")) or engine.executions["smuggled"]:
                passed[trick] = raw[:300]
                engine.executions.clear()
        assert not passed, json.dumps({k: v.decode() for k, v in passed.items()}, indent=1)
        await door.burst(5)
    ledger.settle(engine)
    ledger.note(f"{len(corpus)} tricks refused, 0 requests smuggled")


async def test_c13_myriads_of_pieces(ledger: Ledger, seed: int, engine: ScriptedEngine, tmp_path: Path) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n'
    form = (
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: door\r\nConnection: close\r\nContent-Type: %b\r\n%b\r\n\r\n%b"
    )
    parts = part * 100_000
    nested = (
        b'--b\r\nContent-Disposition: form-data; name="file"\r\nContent-Type: multipart/mixed; boundary=c\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n--c\r\n\r\n--c--\r\n--b--\r\n"
    )
    multipart = b"multipart/form-data; boundary=b"
    pieces = {
        "chunks of a byte": (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 1_000_000 + b"0\r\n\r\n",
            400,
        ),
        "parts": (form % (multipart, b"Content-Length: %d" % len(parts), parts), 400),
        "forms in a form": (form % (multipart, b"Content-Length: %d" % len(nested), nested), 400),
        "headers": (HEAD + b"X: y\r\n" * 100_000 + b"\r\n", 400),
        "brackets": (HEAD + b"Content-Length: 1000000\r\n\r\n" + b"[" * 1_000_000, 400),
    }
    async with apart(engine.url, ledger, seed, tmp_path) as (door, _):
        for name, (sent, status) in pieces.items():
            longest, answer = await _lag_during(door.url, exchange(door.url, sent))
            assert Answer(answer).status == status, (name, answer)
            assert longest < LAG, (name, longest)
    ledger.settle(engine)
    ledger.note(f"{len(pieces)} heaps of pieces refused; nobody else waited {LAG} s")


async def test_c14_submitted_twenty_times(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    key = {"Idempotency-Key": "order-7"}
    async with serving(registry_of(engine.url), ledger, seed) as door:
        await door.burst(20, ask="order", again=True, stream=False, headers=key)
    ledger.settle(engine)
    assert engine.executions == {"order": 1}


async def _lag_during(url: str, work: Coroutine[None, None, bytes]) -> tuple[float, bytes]:
    """The longest time that the door took for a small thing meanwhile, in seconds; and what the work brought."""
    task = asyncio.ensure_future(work)
    longest = 0.0
    while not task.done():
        begun = time.monotonic()
        await get(url, "/health")
        longest = max(longest, time.monotonic() - begun)
    return longest, await task
