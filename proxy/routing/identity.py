"""Is it still the engine that was configured? What a replica lists is compared with what it is asked for."""

from __future__ import annotations

import asyncio

from backends.base import Watched
from backends.errors import BackendError, Unavailable

WITHIN = 5.0  # seconds; a request waits for it
SHOWN = 3  # names in a message


def mismatch(wanted: str, listed: frozenset[str], known: frozenset[str], *, lists_all: bool) -> str | None:
    """Why a replica that lists these models is not to be asked for `wanted`; None = it may be.

    known: what it listed when it was first seen. Some engines answer to any name, and some list but a part: these are only
    held to what they were. lists_all: this one serves what it lists, and nothing else.
    """
    if wanted in listed:
        return None
    names = ", ".join(f"`{name}`" for name in sorted(listed)[:SHOWN]) or "no model"
    shown = f"{names}{', ...' if len(listed) > SHOWN else ''}"
    if lists_all:
        return f"it serves {shown}, not `{wanted}`"
    if known and (wanted in known or not known & listed):
        return f"it serves {shown} now, and was another engine before"
    return None


class Identity:
    """What one replica was found to serve. fit: names that it may be asked for; wrong: names that it may not, and why."""

    __slots__ = ("_asking", "_known", "_lives", "fit", "wrong")

    def __init__(self) -> None:
        self.fit: set[str] = set()
        self.wrong: dict[str, str] = {}
        self._known: frozenset[str] = frozenset()
        self._lives = 0
        self._asking: asyncio.Task[frozenset[str] | None] | None = None

    def forget(self) -> None:
        """It was away, and may come back as another."""
        self._lives += 1
        self.fit.clear()

    async def check(self, backend: Watched, wanted: str) -> bool:
        """Whether it may be asked for `wanted`. Raises Unavailable when nothing accepts connections there.

        An engine that does not tell is given the benefit of the doubt: a request finds out what it is.
        """
        lives = self._lives
        listed = await self._listing(backend)
        if listed is not None:
            self._compare(wanted, listed, lists_all=backend.lists_all)
        # What went away meanwhile is to be asked again by the next one.
        if lives == self._lives and wanted not in self.wrong:
            self.fit.add(wanted)
        return wanted not in self.wrong

    async def look(self, backend: Watched) -> None:
        """See whether it is the right one again, where it was another. Raises Unavailable."""
        listed = await self._listing(backend)
        if listed is not None:
            for name in [*self.wrong]:
                self._compare(name, listed, lists_all=backend.lists_all)

    def _compare(self, name: str, listed: frozenset[str], *, lists_all: bool) -> None:
        self._known = self._known or listed
        why = mismatch(name, listed, self._known, lists_all=lists_all)
        if why is None:
            self.wrong.pop(name, None)
        else:
            self.fit.discard(name)
            self.wrong[name] = why

    async def _listing(self, backend: Watched) -> frozenset[str] | None:
        """What it lists, asked once for all who want to know at a time; None = it does not tell. Raises Unavailable."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(_listed(backend), name="ask an engine what it serves")
            self._asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._asking)


async def _listed(backend: Watched) -> frozenset[str] | None:
    try:
        async with asyncio.timeout(WITHIN):
            return await backend.models()
    except Unavailable:
        raise
    except (BackendError, TimeoutError):
        return None
