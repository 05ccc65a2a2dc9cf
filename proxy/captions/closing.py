"""The end of a session, in its order: its streams stop, and then those who listen are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from proxy.captions.captioner import Captioner
from proxy.events.values import CloseReason, SessionClosed

Publish: TypeAlias = Callable[[SessionClosed, str, str | None], None]


class Closing:
    """Tells the end of sessions that are no more. publish: takes the event, whose session it was, and what it answers."""

    def __init__(self, captioner: Captioner, publish: Publish) -> None:
        self._captioner = captioner
        self._publish = publish

    async def __call__(self, sid: str, reason: CloseReason, corr: str | None = None) -> None:
        """`session.closed` is the last that is heard of a session, after `asr.stopped` of all its streams."""
        await self._captioner.cut(sid)
        self._publish(SessionClosed(reason=reason), sid, corr)
