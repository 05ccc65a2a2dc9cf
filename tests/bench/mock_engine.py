"""A vLLM-shaped engine on a raw asyncio protocol, fast enough never to be what is measured.

usage: python -m tests.bench.mock_engine PORT

It serves the model `mock` and nothing else. A request with `"stream": true` gets TOKENS chunks, each written on its own;
the prompt says how many milliseconds lie between two of them ("pause 5 ms"), because every proxy passes that on.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import cast

import uvloop

TOKENS = 64
MODEL = "mock"

_PAUSE = re.compile(rb"pause (\d+) ms")
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_MODEL = re.compile(rb'"model"\s*:\s*"mock"')
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"


def _answer(body: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json") -> bytes:
    head = b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n"
    return head % (status, kind, len(body)) + body


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _chunk(value: object) -> bytes:
    data = b"data: " + (value if isinstance(value, bytes) else _json(value)) + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def _frame(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": MODEL}


def _piece(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _chunk({**_frame("chat.completion.chunk"), "choices": [choice]})


_USAGE = {"prompt_tokens": 5, "completion_tokens": TOKENS, "total_tokens": 5 + TOKENS}
_TEXT = "".join(f" word{number}" for number in range(TOKENS))
_WHOLE = _answer(
    _json(
        {
            **_frame("chat.completion"),
            "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}],
            "usage": _USAGE,
        }
    )
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    + _piece({"role": "assistant", "content": ""})
)
_PIECES = tuple(_piece({"content": f" word{number}"}) for number in range(TOKENS))
_STREAM_END = (
    _piece({}, "stop")
    + _chunk({**_frame("chat.completion.chunk"), "choices": [], "usage": _USAGE})
    + _chunk(b"[DONE]")
    + _LAST_CHUNK
)
_MODELS = _answer(
    _json({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "vllm"}]})
)
_METRICS = _answer(b'vllm:num_requests_running{model_name="mock"} 0.0\n', kind=b"text/plain")
_OTHER_MODEL = _answer(b'{"error":{"message":"The model does not exist.","code":404}}', b"404 Not Found")
_EMPTY = _answer(b"{}")


class Engine(asyncio.Protocol):
    """One connection; a request is read whole, then answered."""

    def __init__(self) -> None:
        self._received = b""
        self._streaming: asyncio.Task[None] | None = None
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._streaming is not None:
            self._streaming.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            body_end = self._body_end(self._received[: head_end + 2], head_end + 4)
            if body_end is None:
                return
            head, body = self._received[:head_end], self._received[head_end + 4 : body_end]
            self._received = self._received[body_end:]
            self._serve(head.split(b" ", 2)[1], body)

    def _body_end(self, head: bytes, start: int) -> int | None:
        """Where the body that begins at `start` ends; None while it is not all here."""
        length = _LENGTH.search(head)
        if length is not None:
            end = start + int(length[1])
            return end if len(self._received) >= end else None
        if b"transfer-encoding: chunked" not in head.lower():
            return start
        last = self._received.find(_LAST_CHUNK, start)
        return last + len(_LAST_CHUNK) if last >= 0 else None

    def _serve(self, path: bytes, body: bytes) -> None:
        if path.startswith(b"/v1/models"):
            self._transport.write(_MODELS)
        elif path.startswith(b"/metrics"):
            self._transport.write(_METRICS)
        elif not body:
            self._transport.write(_EMPTY)
        elif not _MODEL.search(body):
            self._transport.write(_OTHER_MODEL)
        elif _STREAM.search(body):
            pause = _PAUSE.search(body)
            self._streaming = asyncio.ensure_future(self._stream(int(pause[1]) / 1e3 if pause else 0.0))
        else:
            self._transport.write(_WHOLE)

    async def _stream(self, pause: float) -> None:
        self._transport.write(_STREAM_HEAD)
        for piece in _PIECES:
            await asyncio.sleep(pause)
            self._transport.write(piece)
        self._transport.write(_STREAM_END)


async def main(port: int) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Engine, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
