"""Memory that nothing refers to goes back to the machine."""

from __future__ import annotations

import psutil

from backends.inprocess.memory import give_back


class Knot:
    """Refers to itself, so that only a collection ends it."""

    def __init__(self, size: int) -> None:
        self.bytes = [bytes(1000) for _ in range(size)]
        self.itself = self


def test_what_refers_to_itself_and_what_the_allocator_keeps_is_given_back() -> None:
    def resident() -> int:
        return int(psutil.Process().memory_info().rss)

    knot = Knot(100_000)
    full = resident()
    del knot
    give_back()
    assert full - resident() > 50e6
