"""Memory that nothing refers to goes back to the machine."""

from __future__ import annotations

import gc
import threading
import weakref

import psutil
import pytest

from backends.inprocess.memory import collect, give_back

SECONDS = 30


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


def test_whoever_collects_waits_for_another_thread_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    collecting, pausing = threading.Event(), threading.Event()

    class Slow(Knot):
        def __del__(self) -> None:
            collecting.set()
            assert pausing.wait(SECONDS)

    def let_it_end(_: float) -> None:
        pausing.set()
        other.join(SECONDS)

    monkeypatch.setattr("backends.inprocess.memory.time.sleep", let_it_end)
    Slow(1)
    other = threading.Thread(target=gc.collect)
    other.start()
    assert collecting.wait(SECONDS)
    knot = weakref.ref(Knot(1))
    collect()
    assert knot() is None
