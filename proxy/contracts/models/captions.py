"""Live captions on a session's socket: `asr.start`, audio in binary messages, `asr.stop`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Literal

import structlog
from aiohttp import web

from backends.errors import BackendError
from proxy.captions.wiring import Wiring
from proxy.contracts.models.caption_calls import counted
from proxy.contracts.models.caption_plan import Planner
from proxy.contracts.models.envelope import Strict, checked
from proxy.contracts.models.errors import error_object
from proxy.errors import ApiError, ErrorCode, from_backend
from proxy.events.values import CaptionsStarted, CaptionsStopped, Event, StopReason, Trouble
from proxy.http.observe import CALL
from proxy.keys import CAPTIONER, EVENTS, TRAFFIC

if TYPE_CHECKING:
    from proxy.captions.live import Live

SAMPLE_RATE = 16_000


class Start(Strict):
    """`asr.start`. sample_rate: of pcm16; translate: `false` = no translations, whatever the session's target language."""

    format: Literal["pcm16", "webm"]
    sample_rate: Literal[16000] | None = None
    translate: bool = True


class Stop(Strict):
    """`asr.stop`."""


class Captions:
    """The audio of one connection: one stream at a time. sid: None = a socket without a session, which has no captions."""

    def __init__(self, request: web.Request, sid: str | None) -> None:
        self._request = request
        self._sid = sid
        self._live: Live | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended_by: str | None = None
        self._complained = False

    async def start(self, data: Mapping[str, object], corr: str | None) -> None:
        """Begin a stream. corr: the id of the message that says so. Raises ApiError or BackendError when that cannot be."""
        start = checked(Start, data, "data.")
        sid = self._session(start)
        planner = Planner(self._request, sid, translate=start.translate)
        plan = await planner.plan()
        name = f"asr_{secrets.token_hex(4)}"
        wiring = Wiring(
            name=name,
            format=start.format,
            plan=planner.plan,
            run=partial(counted, self._request),
            tell=self._tell,
            fail=partial(self._fail, name, corr),
        )
        stack = AsyncExitStack()
        self._live = await stack.enter_async_context(self._request.app[CAPTIONER].stream(wiring))
        entry, asked = plan.speech
        self._tell(
            CaptionsStarted(
                stream_id=name,
                format=start.format,
                model_id=entry.name,
                language=asked.language,
                target_language=None if plan.translate is None else plan.translate[1].target,
                sample_rate=SAMPLE_RATE if start.format == "pcm16" else None,
            ),
            corr,
        )
        self._ended_by = corr
        self._task = asyncio.create_task(self._run(name, corr, self._live, stack), name=f"captions {name}")
        self._request.app[CAPTIONER].runs(sid, self._task)
        # Cancelled before its first step, it would never come to its end, and the stream would count for ever.
        await asyncio.sleep(0)

    async def hear(self, data: bytes) -> None:
        """Audio. Waits while the stream is behind: the client is then not read from. Raises INVALID, once, without a stream."""
        if self._live is not None:
            await self._live.feed(data)  # what comes after the end of a stream was on its way when it ended
        elif not self._complained:
            self._complained = True
            raise ApiError(ErrorCode.INVALID, "Binary messages are audio; send asr.start before them.")

    async def stop(self, data: Mapping[str, object], corr: str | None) -> None:
        """No more audio: what was said last becomes final. corr: the id of the message that says so. Raises INVALID."""
        checked(Stop, data, "data.")
        if self._live is None or self._task is None or self._task.done():
            raise ApiError(ErrorCode.INVALID, "No stream is under way; send asr.start first.")
        self._ended_by = corr
        self._live.end()

    async def finish(self) -> None:
        """Let a stream under way come to its end now."""
        if self._live is not None and self._task is not None:
            self._live.end()
            await asyncio.wait({self._task})

    async def close(self) -> None:
        """Free all that a stream under way holds; what was not final is lost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _session(self, start: Start) -> str:
        """The session to caption in. Raises ApiError when there is none, or it is not the time."""
        if self._sid is None:
            message = "Captions need a session: make one with POST /api/sessions, and open /ws/{its id}."
            raise ApiError(ErrorCode.INVALID, message)
        if start.format != "pcm16" and start.sample_rate is not None:
            message = "`data.sample_rate` is for pcm16; webm says its own."
            raise ApiError(ErrorCode.INVALID, message, param="data.sample_rate")
        if self._task is not None and not self._task.done():
            raise ApiError(ErrorCode.INVALID, "A stream is under way; send asr.stop and wait for asr.stopped.")
        if self._request.app[TRAFFIC].draining:
            raise ApiError(ErrorCode.UNAVAILABLE, "The server is shutting down; reconnect.", retry_after=1)
        return self._sid

    async def _run(self, name: str, corr: str | None, live: Live, stack: AsyncExitStack) -> None:
        reason: StopReason = "closed"
        async with stack:
            try:
                reason = "stopped" if await live.run() else "limit"
            except (ApiError, BackendError) as error:
                reason = "failed"
                self._fail(name, corr, from_backend(error) if isinstance(error, BackendError) else error)
            except Exception:
                reason = "failed"
                structlog.get_logger("errors").exception(
                    "unexpected error in captions", id=self._request[CALL].request_id
                )
                self._fail(
                    name, corr, ApiError(ErrorCode.INTERNAL, "The server failed to caption this; its log says why.")
                )
            finally:
                stopped = CaptionsStopped(stream_id=name, seconds=round(live.seconds, 3), reason=reason)
                self._tell(stopped, self._ended_by)

    def _tell(self, event: Event, corr: str | None = None) -> None:
        self._request.app[EVENTS].publish(event, self._sid, corr)

    def _fail(self, name: str, corr: str | None, error: ApiError) -> None:
        told = error_object(error)
        details = {**error.details, "stream_id": name}
        self._tell(Trouble(code=str(told["code"]), message=error.message, details=details), corr)
