"""An engine that speaks OpenAI's dialect over raw sockets, says the same to the same request, and fails as it is told to."""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from backends.types import Json, JsonObject
from tests.backends.remote.rig import CLOSE, Peer, chunked, head, json_answer

DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"
STREAM_HEAD = head(b"Transfer-Encoding: chunked\r\n")
WAIT_SECONDS = 10.0

Then: TypeAlias = Literal["close", "reset", "hang", "keep"]

# Letters of one to four bytes, and separators that some take for the end of a line.
_WORDS = ("tide", "grün", "北京", "🙂", "naïve", "a\u2028b", "c\u0085d", "lamp", "Ω", 'q"uo\\te')
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


def words(seed: int, ask: str, count: int) -> tuple[str, ...]:
    """What the engine says to the request of this id: a function of the two, and of nothing else."""
    rng = random.Random(f"{seed}/{ask}")
    return tuple(f"{rng.choice(_WORDS)} " for _ in range(count))


@dataclass(frozen=True, slots=True)
class Said:
    """A sound answer to one request. model: who says it."""

    seed: int
    ask: str
    model: str
    count: int

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(words(self.seed, self.ask, self.count))

    @property
    def frames(self) -> tuple[bytes, ...]:
        """The events of its stream: the role, each word, the finish, the tokens used, the end."""
        spoken = [self._chunk({"content": word}) for word in words(self.seed, self.ask, self.count)]
        chunks = [self._chunk({"role": "assistant", "content": ""}), *spoken, self._chunk({}, "stop")]
        return (
            *map(event, chunks),
            event({**self._frame("chat.completion.chunk"), "choices": [], **self._usage}),
            DONE,
        )

    @property
    def whole(self) -> bytes:
        """The body of its JSON answer."""
        choice: Json = {"index": 0, "message": {"role": "assistant", "content": self.text}, "finish_reason": "stop"}
        return _json({**self._frame("chat.completion"), "choices": [choice], **self._usage})

    @property
    def _usage(self) -> JsonObject:
        return {"usage": {"prompt_tokens": 3, "completion_tokens": self.count, "total_tokens": self.count + 3}}

    def _frame(self, kind: str) -> JsonObject:
        return {"id": f"chatcmpl-{self.ask}", "object": kind, "created": 1, "model": self.model}

    def _chunk(self, delta: JsonObject, finish: str | None = None) -> JsonObject:
        choice: Json = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**self._frame("chat.completion.chunk"), "choices": [choice]}


def event(value: JsonObject) -> bytes:
    """A server-sent event."""
    return b"data: " + _json(value) + b"\n\n"


def _json(value: JsonObject) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# --------------------------------------------------------------------------- scripts


@dataclass(frozen=True, slots=True)
class Turn:
    """One request being answered. stream: its client asked for events."""

    peer: Peer
    said: Said
    stream: bool
    number: int

    async def end(self, then: Then) -> None:
        """Leave the connection as told; "hang" waits for the proxy to close it."""
        match then:
            case "close":
                self.peer.writer.close()
            case "reset":
                self.peer.reset()
            case "hang":
                await self.peer.gone()
            case "keep":
                pass


Script: TypeAlias = Callable[[Turn], Awaitable[None]]


async def sound(turn: Turn) -> None:
    """Answer, each event in a packet of its own."""
    await cut(None)(turn)


async def silent(turn: Turn) -> None:
    """Take the request, and say nothing ever."""
    await turn.end("hang")


def cut(after: int | None, then: Then = "keep", *, torn: int = 0) -> Script:
    """Say the first `after` events (a slice's end; None = all, and that there are no more) and `torn` bytes of the next.

    Of a JSON answer half is said where not all is.
    """

    async def script(turn: Turn) -> None:
        frames = turn.said.frames
        if not turn.stream:
            answer = json_answer(turn.said.whole)
            await turn.peer.send(answer if after is None else answer[: len(answer) - len(turn.said.whole) // 2])
        else:
            await turn.peer.send(STREAM_HEAD, *map(chunked, frames[:after]))
            if after is None:
                await turn.peer.send(LAST_CHUNK)
            elif torn:
                await turn.peer.send(chunked(frames[after][:torn]))
        await turn.end(then)

    return script


def other(change: Callable[[list[bytes]], Iterable[bytes]], then: Then = "keep", end: bytes = LAST_CHUNK) -> Script:
    """Say other events than the sound ones. end: what follows the last."""

    async def script(turn: Turn) -> None:
        await turn.peer.send(STREAM_HEAD, *map(chunked, change(list(turn.said.frames))), end)
        await turn.end(then)

    return script


def paced(seconds: float, comment: bytes = b"") -> Script:
    """Say each event after a pause, and a comment in the middle of it."""

    async def script(turn: Turn) -> None:
        await turn.peer.send(STREAM_HEAD)
        for frame in turn.said.frames:
            await asyncio.sleep(seconds / 2)
            if comment:
                await turn.peer.send(chunked(comment))
            await asyncio.sleep(seconds / 2)
            await turn.peer.send(chunked(frame))
        await turn.peer.send(LAST_CHUNK)

    return script


def raw(*parts: bytes, then: Then) -> Script:
    """Send these bytes, whatever was asked."""

    async def script(turn: Turn) -> None:
        await turn.peer.send(*parts)
        await turn.end(then)

    return script


def refusal(status: bytes, message: str = "as the script says", fields: bytes = b"") -> Script:
    """Answer with an error as vLLM words it. status: code and phrase."""
    body = _json({"error": {"message": message, "type": "Error", "param": None, "code": int(status[:3])}})
    return raw(json_answer(body, status, fields), then="keep")


def each(number: int, script: Script, otherwise: Script = sound) -> Script:
    """Play `script` at every `number`th request."""

    async def chosen(turn: Turn) -> None:
        await (script if turn.number % number == 0 else otherwise)(turn)

    return chosen


# --------------------------------------------------------------------------- the engine


class ScriptedEngine:
    """Use as `async with ScriptedEngine(seed) as engine:`. script, health and early may be changed at any time.

    A request's id is the text of its last message. executions: how often each was read to its end and begun; left: those
    whose connection the proxy closed before the answer was out; health: the status of `/health`, None = it hangs;
    early: what is answered once a request's head is there, without its body; swallowed: bytes of bodies read.
    """

    def __init__(self, seed: int, script: Script = sound, *, model: str = "m", count: int = 12, port: int = 0) -> None:
        self.seed = seed
        self.script = script
        self.model = model
        self.count = count
        self.health: int | None = 200
        self.early: bytes | None = None
        self.executions: Counter[str] = Counter()
        self.left: set[str] = set()
        self.running = 0
        self.open = 0
        self.asked: Counter[str] = Counter()
        self.swallowed = 0
        self.port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> ScriptedEngine:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self.until(lambda: not self.open)

    @property
    def url(self) -> str:
        """The base URL, without /v1."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; once stopped, on the same port again."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, family=socket.AF_INET)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """As a process that was killed: nobody listens, connections are reset."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    @property
    def listening(self) -> bool:
        """Whether it is up."""
        return self._server.is_serving()

    def said(self, ask: str) -> Said:
        """The sound answer to a request."""
        return Said(self.seed, ask, self.model, self.count)

    async def until(self, fact: Callable[[], bool], within: float = WAIT_SECONDS) -> None:
        """Wait for a fact about this engine. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while not fact():
                self._changed.clear()
                await self._changed.wait()

    async def executed(self, number: int) -> None:
        """Wait until it has begun so many requests."""
        await self.until(lambda: self.executions.total() == number)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.open += 1
        try:
            while not writer.is_closing() and await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            self.open -= 1
            self._changed.set()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read and answer one request; False when there are no more."""
        request = await reader.readuntil(b"\r\n\r\n")
        path = request.split(b" ", 2)[1].decode()
        self.asked[path] += 1
        self._changed.set()
        peer = Peer(reader, writer)
        if request.startswith(b"GET "):
            await self._told(peer, path)
            return True
        if self.early is not None:
            await self._refuse(peer, self.early)
            return False
        length = _LENGTH.search(request)
        body = await reader.readexactly(int(length[1]) if length else 0)
        self.swallowed += len(body)
        await self._answer(peer, cast("JsonObject", json.loads(body)))
        return True

    async def _answer(self, peer: Peer, asked: JsonObject) -> None:
        ask = _id(asked)
        self.executions[ask] += 1
        self.running += 1
        self._changed.set()
        turn = Turn(peer, self.said(ask), asked.get("stream") is True, self.executions.total())
        gone = False
        try:
            await self.script(turn)
        except (ConnectionError, RuntimeError) as error:
            # uvloop's word for writing to what is closed is RuntimeError.
            if isinstance(error, RuntimeError) and not peer.writer.is_closing():
                raise
            gone = True
            raise ConnectionResetError from error
        finally:
            if not peer.writer.is_closing() or gone:
                self._note_left(peer.reader, ask, gone)
            self.running -= 1
            self._changed.set()

    def _note_left(self, reader: asyncio.StreamReader, ask: str, gone: bool) -> None:
        if gone or reader.at_eof() or reader.exception() is not None:
            self.left.add(ask)

    async def _refuse(self, peer: Peer, answer: bytes) -> None:
        """Answer at once, and read on, as a server does that wants its refusal to be heard."""
        self.running += 1
        try:
            await peer.send(answer)
            while data := await peer.reader.read(65536):
                self.swallowed += len(data)
        finally:
            self.running -= 1
            self._changed.set()

    async def _told(self, peer: Peer, path: str) -> None:
        """What an engine says of itself."""
        match path:
            case "/v1/models":
                card: Json = {"id": self.model, "object": "model", "created": 1, "owned_by": "script"}
                await peer.send(json_answer(_json({"object": "list", "data": [card]})))
            case "/health" | "/metrics" if self.health is None:
                await peer.gone()
            case "/health":
                await peer.send(json_answer(b"", f"{self.health} As told".encode()))
            case "/metrics":
                labels = f'{{model_name="{self.model}"}}'
                figures = f"vllm:num_requests_running{labels} {float(self.running)}\n"
                await peer.send(json_answer(f"{figures}vllm:num_requests_waiting{labels} 0.0\n".encode()))
            case _:
                await peer.send(json_answer(b'{"detail":"Not Found"}', b"404 Not Found", CLOSE))


def _id(asked: JsonObject) -> str:
    """The text of the last message, or the prompt."""
    messages = asked.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else {}
    return str(last.get("content") if isinstance(last, dict) and last else asked.get("prompt"))
