"""A trial's answer on its way: where it begins, the replica has proved that it works."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backends.base import Sink


class ProvingSink:
    """The client's connection; began: told when the answer's head comes, which is a success's."""

    def __init__(self, sink: Sink, began: Callable[[], None]) -> None:
        self._sink = sink
        self._began = began

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

    def start(self, status: int, headers: Sequence[tuple[str, str]], *, stream: bool) -> None:
        """Tell, and go on."""
        self._began()
        self._sink.start(status, headers, stream=stream)

    def write(self, data: bytes) -> None:
        """Go on: the client's own way to write changes after the first bytes."""
        self._sink.write(data)

    async def drained(self) -> None:
        """As the client's."""
        await self._sink.drained()

    def abort(self) -> None:
        """As the client's."""
        self._sink.abort()
