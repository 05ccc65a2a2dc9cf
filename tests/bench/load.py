"""A closed loop of requests on raw asyncio protocols: each connection sends its next request when an answer is complete.

usage: python -m tests.bench.load URL CONNECTIONS SECONDS MODEL KEY {json|stream} PAUSE_MS

Prints one JSON object: requests, requests per second, latency and time to first token in milliseconds, errors. Every
answer is checked: status 200, all the text, the usage, and for a stream its end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uvloop

from tests.bench.mock_engine import TOKENS

PATH = "/v1/chat/completions"
PROMPT = "Tell me a story about a fox. " * 8
GRACE_SECONDS = 30.0

_LAST_WORD = f" word{TOKENS - 1}".encode()
_END_OF_CHUNKS = b"0\r\n\r\n"


@dataclass(slots=True)
class Results:
    """What all connections saw. Times in seconds; errors by what was wrong."""

    latencies: list[float] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def summary(self, seconds: float) -> dict[str, object]:
        """The figures, as printed."""
        return {
            "requests": len(self.latencies),
            "per_second": round(len(self.latencies) / seconds, 1),
            "p50_ms": percentile(self.latencies, 0.50),
            "p99_ms": percentile(self.latencies, 0.99),
            "first_token_p50_ms": percentile(self.first_tokens, 0.50),
            "errors": self.errors.total(),
            "error": self.errors.most_common(1)[0][0] if self.errors else "",
        }


def request_bytes(host: str, model: str, key: str, *, stream: bool, pause_ms: int) -> bytes:
    """The request that every connection repeats."""
    body: dict[str, object] = {
        "model": model,
        "messages": [{"role": "user", "content": f"pause {pause_ms} ms. {PROMPT}"}],
        "max_tokens": TOKENS,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    data = json.dumps(body).encode()
    lines = [f"POST {PATH} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", f"Content-Length: {len(data)}"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def fault_of(head: bytes, body: bytes, *, stream: bool, seconds: float = 0.0, least: float = 0.0) -> str:
    """What is wrong with a complete answer that took `seconds`; empty when nothing is. least: what its pauses add up to."""
    if not head.startswith(b"http/1.1 200"):
        return f"{head[:40].decode('latin-1')}: {body[:200].decode('latin-1')}"
    wanted = [_LAST_WORD, b'"completion_tokens"', *([b"data: [DONE]"] if stream else [])]
    missing = [mark.decode() for mark in wanted if mark not in body]
    if missing:
        return f"the answer lacks {', '.join(missing)}"
    return "the answer came faster than its tokens" if seconds < least else ""


class Arriving:
    """An answer as far as it has come. Times are time.perf_counter()."""

    __slots__ = ("body_at", "first", "head", "length", "received", "sent")

    def __init__(self) -> None:
        self.sent = time.perf_counter()
        self.received = bytearray()
        self.head = b""
        self.body_at = 0
        self.length: int | None = None
        self.first: float | None = None

    def feed(self, data: bytes) -> bool:
        """Take bytes; True when the answer is complete."""
        self.received += data
        if not self.head and not self._read_head():
            return False
        if self.first is None and b" word0" in self.received:
            self.first = time.perf_counter()
        if self.length is None:
            return self.received.endswith(_END_OF_CHUNKS)
        return len(self.received) - self.body_at >= self.length

    def _read_head(self) -> bool:
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return False
        self.head, self.body_at = bytes(self.received[:end]).lower(), end + 4
        at = self.head.find(b"content-length:")
        self.length = int(self.head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else None
        return True


class Connection(asyncio.Protocol):
    """One client: sends, reads an answer to its end, checks it, sends again until the time is up."""

    def __init__(self, request: bytes, results: Results, stop_at: float, *, stream: bool, least: float) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._request = request
        self._results = results
        self._stop_at = stop_at
        self._stream = stream
        self._least = least
        self._answer = Arriving()
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._results.errors["the connection was closed"] += 1
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._answer.feed(data):
            self._finish(self._answer)

    def _finish(self, answer: Arriving) -> None:
        now, results = time.perf_counter(), self._results
        body, seconds = bytes(answer.received[answer.body_at :]), now - answer.sent
        fault = fault_of(answer.head, body, stream=self._stream, seconds=seconds, least=self._least)
        if fault:
            results.errors[fault] += 1
        else:
            results.latencies.append(seconds)
            results.first_tokens.append((answer.first or now) - answer.sent)
        if now < self._stop_at:
            self._send()
        else:
            self.done.set_result(None)
            self._transport.close()

    def _send(self) -> None:
        self._answer = Arriving()
        self._transport.write(self._request)


async def run(
    url: str, connections: int, seconds: float, request: bytes, *, stream: bool, pause_ms: int = 0
) -> Results:
    """Load `url` for `seconds`; answers that are on their way then are waited for."""
    least = TOKENS * pause_ms / 1e3
    results, loop = Results(), asyncio.get_running_loop()
    host, _, port = urlsplit(url).netloc.partition(":")
    stop_at = time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < stop_at:
            _, connection = await loop.create_connection(
                lambda: Connection(request, results, stop_at, stream=stream, least=least), host, int(port)
            )
            await connection.done

    try:
        async with asyncio.timeout(seconds + GRACE_SECONDS):
            await asyncio.gather(*(client() for _ in range(connections)))
    except (TimeoutError, OSError) as error:
        results.errors[repr(error)] += 1
    return results


def percentile(values: list[float], part: float) -> float | None:
    """In milliseconds, of values in seconds; None of no values. part: from 0 to 1."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1e3, 3) if ordered else None


def main() -> None:
    """Run from the command line."""
    url, connections, seconds, model, key, mode, pause_ms = sys.argv[1:]
    stream = mode == "stream"
    request = request_bytes(urlsplit(url).netloc, model, key, stream=stream, pause_ms=int(pause_ms))
    results = uvloop.run(run(url, int(connections), float(seconds), request, stream=stream, pause_ms=int(pause_ms)))
    print(json.dumps(results.summary(float(seconds))))


if __name__ == "__main__":
    main()
