"""While a model starts: whoever asked for an event stream is told that it waits, by comments, which clients skip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType

from aiohttp import web

from backends.errors import Broken
from backends.remote.framing import LAST_CHUNK, chunk
from proxy.http.splice import ClientSink

FIRST_SECONDS = 1.0
"""Before the first comment, with which the answer's head goes out: a start that fails sooner is still a status."""
EVERY_SECONDS = 5.0

HEAD = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),
)


def comment(percent: int | None) -> bytes:
    """What is said of a load that is so far.

    >>> comment(40)
    b': loading 40 %\\n\\n'
    """
    return b": loading\n\n" if percent is None else b": loading %d %%\n\n" % percent


class WaitingSink:
    """A relay's Sink that begins the answer itself when the engine is not there soon. percent: how far its start is.

    begun: the head is out, and it was none of the engine's; answered: the engine's answer has begun.
    """

    def __init__(self, sink: ClientSink, percent: Callable[[], int | None]) -> None:
        self._sink = sink
        self._percent = percent
        self._timer: asyncio.TimerHandle | None = None
        self.begun = False
        self.answered = False

    def __enter__(self) -> WaitingSink:
        self._timer = asyncio.get_running_loop().call_later(FIRST_SECONDS, self._tell)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._quiet()

    @property
    def chunked_ok(self) -> bool:
        """As the client's."""
        return self._sink.chunked_ok

    @property
    def gone(self) -> bool:
        """As the client's."""
        return self._sink.gone

    @property
    def full(self) -> bool:
        """As the client's."""
        return self._sink.full

    @property
    def write(self) -> Callable[[bytes], None]:
        """As the client's, which changes after the first bytes."""
        return self._sink.write

    def start(self, status: int, headers: Sequence[tuple[str, str]], *, stream: bool) -> None:
        """The engine's answer begins: with a head of its own, or after what was said already. Raises Broken for no stream."""
        self._quiet()
        self.answered = True
        if not self.begun:
            self._sink.start(status, headers, stream=stream)
        elif not stream:
            raise Broken("The engine answered with something else than the stream that it was asked for.")

    async def drained(self) -> None:
        """As the client's."""
        await self._sink.drained()

    def abort(self) -> None:
        """As the client's."""
        self._sink.abort()

    def end(self, event: bytes) -> None:
        """There will be no answer: say why, as an event, and end."""
        self._quiet()
        self._write(event)
        if self.chunked_ok:
            self.write(LAST_CHUNK)

    def _tell(self) -> None:
        if self._sink.gone:
            return
        if not self.begun:
            self.begun = True
            framing = (("Transfer-Encoding", "chunked"),) if self.chunked_ok else ()
            self._sink.start(200, (*HEAD, *framing), stream=True)
        self._write(comment(self._percent()))
        self._timer = asyncio.get_running_loop().call_later(EVERY_SECONDS, self._tell)

    def _write(self, data: bytes) -> None:
        self.write(chunk(data) if self.chunked_ok else data)

    def _quiet(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Comments:
    """Says how far a load is in a response of ours, as long as the block runs. waiting: the comment, None = there is no load."""

    def __init__(
        self, request: web.Request, response: web.StreamResponse, waiting: Callable[[], bytes | None] | None
    ) -> None:
        self._request = request
        self._response = response
        self._waiting = waiting
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        if self._waiting is not None:
            self._task = asyncio.create_task(self._tell(self._waiting), name="tell that it loads")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._over.set()
        if self._task is not None:
            # Not cancelled: it may be in the middle of writing.
            await self._task

    async def _tell(self, waiting: Callable[[], bytes | None]) -> None:
        pause = FIRST_SECONDS
        # A client who has gone is whose request is cancelled, and needs no comments.
        with suppress(ConnectionError):
            while not await self._ends_within(pause):
                said = waiting()
                if said is not None:
                    if not self._response.prepared:
                        await self._response.prepare(self._request)
                    await self._response.write(said)
                pause = EVERY_SECONDS

    async def _ends_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._over.wait()
        except TimeoutError:
            return False
