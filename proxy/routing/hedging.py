"""A request that may be done twice, and takes long to begin: the first of two replicas that answers wins, the other is let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from backends.base import Sink


class Race:
    """Two runners, of whom one answers. won: told of whoever begins first, at once."""

    def __init__(self) -> None:
        self.winner: Lane | None = None
        self.won: Callable[[Lane], object] | None = None

    def claim(self, lane: Lane) -> bool:
        """Whether this is the one that answers."""
        if self.winner is None:
            self.winner = lane
            if self.won is not None:
                self.won(lane)
        return self.winner is lane


class Lane:
    """A client's connection for one of two relays: only the winner's bytes reach it."""

    def __init__(self, sink: Sink, race: Race) -> None:
        self._sink = sink
        self._race = race

    @property
    def chunked_ok(self) -> bool:
        """As the client's."""
        return self._sink.chunked_ok

    @property
    def gone(self) -> bool:
        """Whether nobody listens: the client has left, or hears the other one."""
        return self._lost or self._sink.gone

    @property
    def full(self) -> bool:
        """As the client's."""
        return self._sink.full

    def start(self, status: int, headers: Sequence[tuple[str, str]], *, stream: bool) -> None:
        """Win. Raises ConnectionAbortedError when the other one has."""
        if not self._race.claim(self):
            raise ConnectionAbortedError("another replica answered first")
        self._sink.start(status, headers, stream=stream)

    def write(self, data: bytes) -> None:
        """To the client, from the winner."""
        if not self._lost:
            self._sink.write(data)

    async def drained(self) -> None:
        """As the client's."""
        await self._sink.drained()

    def abort(self) -> None:
        """Close the client's connection, if this one is the winner's."""
        if not self._lost:
            self._sink.abort()

    @property
    def _lost(self) -> bool:
        return self._race.winner not in (None, self)


async def hedged(
    sink: Sink,
    after: float,
    first: Callable[[Lane], Coroutine[None, None, None]],
    second: Callable[[Lane], Coroutine[None, None, None] | None],
) -> int:
    """Run `first`; where it has not begun to answer within `after` seconds, `second` beside it, if there is one.

    Whoever begins to answer first goes on, and the other is cancelled at once: 0 or 1, the winner. Raises what the winner raised;
    where nobody answered, what `first` did. Cancelling cancels both.
    """
    race = Race()
    lanes = Lane(sink, race), Lane(sink, race)
    tasks = [asyncio.create_task(first(lanes[0]))]
    try:
        await asyncio.wait(tasks, timeout=after)
        running = None if tasks[0].done() or race.winner is not None else second(lanes[1])
        if running is not None:
            tasks.append(asyncio.create_task(running))
            race.won = lambda lane: tasks[lanes.index(lane) - 1].cancel()
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    # Whatever the other one raised has been said to its own watchdog, and is of no more interest.
    for task in tasks:
        if not task.cancelled():
            task.exception()
    winner = 1 if race.winner is lanes[1] else 0
    tasks[winner].result()
    return winner
