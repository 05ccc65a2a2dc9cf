"""One client on the socket: it is greeted, told what happens, answered, and told when it goes wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from pydantic import Field

from backends.errors import BackendError
from proxy.contracts.models.captions import Captions
from proxy.contracts.models.envelope import (
    LONGEST_TEXT,
    Message,
    Moment,
    Refused,
    Strict,
    checked,
    event,
    read,
    written,
)
from proxy.contracts.models.errors import error_object
from proxy.errors import ApiError, from_backend, invalid
from proxy.events.bus import Bus, Listener
from proxy.events.replay import Missed
from proxy.events.values import SessionClosed
from proxy.http.websocket import GOING_AWAY, MAX_MESSAGE, PING_SECONDS, TRY_AGAIN, Goodbye, Socket, race

HELLO_SECONDS = 3.0
"""A client that says nothing for so long is greeted as if it had said hello."""
HEARTBEAT_SECONDS = 15.0
SESSION_ENDED = 4410


class Resume(Strict):
    """seq: of the last message that the client has read."""

    seq: int = Field(ge=0, le=2**63)


class Hello(Strict):
    """`session.hello`: resume = go on where an earlier connection ended."""

    resume: Resume | None = None


class Heartbeat(Strict):
    """`session.heartbeat`: nothing but a sign of life."""


class Conversation:
    """Talks with one client until one of them goes. captions: of the audio that it sends; leaving: set when the server stops."""

    def __init__(
        self, socket: Socket, bus: Bus, listener: Listener, captions: Captions, leaving: asyncio.Event
    ) -> None:
        self._socket = socket
        self._bus = bus
        self._listener = listener
        self._captions = captions
        self._leaving = leaving
        self._greeted = asyncio.Event()
        self._place = bus.seq
        self._sent = 0

    async def run(self) -> None:
        """Raises Goodbye with the reason of the end, or Gone."""
        await race(self._read(), self._tell(), self._beat(), self._greet_the_silent(), self._watch(), self._leave())

    async def complain(self, error: ApiError, corr: str | None = None) -> None:
        """Tell the client what was wrong with its message, or with all that it wants."""
        await self._send("error", error_object(error), corr)

    # ------------------------------------------------------------------ what the client says

    async def _read(self) -> None:
        while True:
            said = await self._socket.receive()
            corr = None
            try:
                if isinstance(said, bytes):
                    await self._captions.hear(said)
                    continue
                message = read(said, self._listener.sid)
                corr = message.id
                await self._answer(message)
            except Refused as refused:
                await self.complain(refused.error, refused.corr)
            except ApiError as error:
                await self.complain(error, corr)
            except BackendError as error:
                await self.complain(from_backend(error), corr)

    async def _answer(self, message: Message) -> None:
        if message.t == "session.hello":
            hello = checked(Hello, message.data, "data.")
            await self._greet(None if hello.resume is None else hello.resume.seq, message.id)
            return
        await self._greet_once()
        match message.t:
            case "session.heartbeat":
                checked(Heartbeat, message.data, "data.")
                await self._send("session.heartbeat", {}, message.id)
            case "asr.start":
                await self._captions.start(message.data, message.id)
            case "asr.stop":
                await self._captions.stop(message.data, message.id)
            case unknown:
                known = "session.hello, session.heartbeat, asr.start, asr.stop"
                raise invalid("t", f"`{unknown}` is no message that clients send. These are: {known}")

    # ------------------------------------------------------------------ what it is told

    async def _greet(self, after: int | None, corr: str | None) -> None:
        """Welcome the client. after: begin with what it missed since, whatever it was told; None = go on, from its coming on."""
        missed = Missed((), gap=False)
        if after is not None:
            missed = self._bus.resume(self._listener, after)
            self._place = min(after, self._bus.seq)
        resumed = {"requested": after, "replayed": len(missed.records), "gap": missed.gap}
        welcome = {
            "heartbeat": {"interval_ms": int(HEARTBEAT_SECONDS * 1e3), "timeout_ms": int(2 * PING_SECONDS * 1e3)},
            "limits": {"max_text_bytes": LONGEST_TEXT, "max_binary_bytes": MAX_MESSAGE},
            "resume": {name: value for name, value in resumed.items() if value is not None},
        }
        self._greeted.set()
        await self._send("session.welcome", welcome, corr)

    async def _greet_once(self) -> None:
        if not self._greeted.is_set():
            await self._greet(None, None)

    async def _greet_the_silent(self) -> None:
        await asyncio.sleep(HELLO_SECONDS)
        await self._greet_once()
        await asyncio.Event().wait()

    async def _tell(self) -> None:
        await self._greeted.wait()
        while True:
            record = await self._listener.next()
            self._place = record.seq
            await self._socket.send(event(record, self._listener.sid))
            if isinstance(record.event, SessionClosed):
                raise Goodbye(SESSION_ENDED, f"the session was {record.event.reason}")

    async def _beat(self) -> None:
        await self._greeted.wait()
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._send("session.heartbeat", {}, None)

    async def _send(self, kind: str, data: Mapping[str, object], corr: str | None) -> None:
        self._sent += 1
        moment = Moment(time.time(), time.monotonic_ns())
        await self._socket.send(written(kind, data, self._listener.sid, f"msg_{self._sent}", self._place, corr, moment))

    # ------------------------------------------------------------------ how it ends

    async def _watch(self) -> None:
        await self._listener.dropped.wait()
        raise Goodbye(TRY_AGAIN, "too slow: events were not read in time; reconnect and resume")

    async def _leave(self) -> None:
        await self._leaving.wait()
        await self._captions.finish()
        if self._greeted.is_set():
            await self._listener.read_out.wait()
        raise Goodbye(GOING_AWAY, "the server is shutting down; reconnect and resume")
