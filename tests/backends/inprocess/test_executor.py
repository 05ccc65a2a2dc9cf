import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Generator
from contextlib import aclosing
from functools import partial

import pytest

from backends.errors import Unavailable
from backends.inprocess.executor import Executor, on_loop

WAIT = 5.0


@pytest.fixture
async def executor() -> AsyncIterator[Executor]:
    executor = Executor("test")
    yield executor
    await executor.close()


async def seen(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, WAIT)


class Counter:
    """A blocking generator that knows how far it came, and in which thread it was closed."""

    def __init__(self, items: int) -> None:
        self.items = items
        self.made = 0
        self.closed = threading.Event()
        self.thread = ""

    def __call__(self, left: threading.Event) -> Generator[int, None, None]:
        try:
            for number in range(self.items):
                self.made += 1
                yield number
        finally:
            self.thread = threading.current_thread().name
            self.closed.set()


async def test_call_runs_in_a_thread_of_the_pool(executor: Executor) -> None:
    def where(prefix: str, *, suffix: str) -> str:
        return prefix + threading.current_thread().name + suffix

    assert (await executor.call(where, "<", suffix=">")).startswith("<test")


async def test_call_brings_exceptions_over(executor: Executor) -> None:
    with pytest.raises(ZeroDivisionError):
        await executor.call(lambda: 1 // 0)


async def test_whoever_hears_of_the_end_of_work_finds_nothing_of_it_left(executor: Executor) -> None:
    begin, heard = threading.Event(), asyncio.Queue[object]()
    tell = on_loop(heard.put_nowait)
    thing = Counter(1)
    known = weakref.ref(thing)
    job = executor._submit(partial(lambda _: begin.wait(WAIT), thing), stop=lambda: None)
    job.add_done_callback(lambda _: tell(known()))  # in the thread, as set_result does
    del thing
    begin.set()
    assert await heard.get() is None


async def test_a_closed_pool_has_no_threads() -> None:
    executor = Executor("to be closed")
    await executor.call(lambda: None)
    await executor.close()
    assert "to be closed_0" not in {thread.name for thread in threading.enumerate()}


async def test_a_caller_cancelled_while_queued_takes_its_work_along(executor: Executor) -> None:
    started, release, ran = threading.Event(), threading.Event(), threading.Event()

    def block() -> None:
        started.set()
        release.wait(WAIT)

    first = asyncio.create_task(executor.call(block))
    await seen(started)
    second = asyncio.create_task(executor.call(ran.set))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    release.set()
    await first
    await executor.call(lambda: None)
    assert not ran.is_set()


async def test_a_caller_cancelled_while_its_work_runs_leaves_at_once(executor: Executor) -> None:
    started, release = threading.Event(), threading.Event()

    def block() -> None:
        started.set()
        release.wait(WAIT)

    task = asyncio.create_task(executor.call(block))
    await seen(started)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not release.is_set()
    release.set()


async def test_the_pool_is_bounded() -> None:
    executor = Executor("test", workers=2)
    lock, running, most = threading.Lock(), 0, 0
    together = threading.Barrier(2)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(WAIT)
        with lock:
            running -= 1

    await asyncio.gather(*(executor.call(work) for _ in range(6)))
    assert most == 2
    await executor.close()


async def test_stream_gives_every_item_in_order(executor: Executor) -> None:
    counter = Counter(1000)
    assert [item async for item in executor.stream(counter, ahead=3)] == list(range(1000))
    assert counter.thread.startswith("test")


async def test_stream_runs_no_further_ahead_than_told(executor: Executor) -> None:
    counter = Counter(1000)
    async with aclosing(executor.stream(counter, ahead=4)) as items:
        await anext(items)
        for _ in range(100):
            await asyncio.sleep(0)
        assert counter.made <= 1 + 4 + 1


async def test_stream_brings_exceptions_over_after_the_items_before_them(executor: Executor) -> None:
    def breaks(left: threading.Event) -> Generator[int, None, None]:
        yield 1
        raise LookupError("lost")

    items = executor.stream(breaks)
    assert await anext(items) == 1
    with pytest.raises(LookupError, match="lost"):
        await anext(items)


async def test_closing_a_stream_stops_its_generator_and_waits_for_it(executor: Executor) -> None:
    counter = Counter(1_000_000)
    async with aclosing(executor.stream(counter, ahead=2)) as items:
        await anext(items)
    assert counter.closed.is_set()
    assert counter.made < 10
    assert counter.thread.startswith("test")


async def test_a_reader_who_leaves_is_told_to_a_generator_that_is_busy(executor: Executor) -> None:
    busy = threading.Event()

    def work(left: threading.Event) -> Generator[bool, None, None]:
        yield True
        busy.set()
        assert left.wait(WAIT)

    async with aclosing(executor.stream(work)) as items:
        await anext(items)
        await seen(busy)


async def test_a_stream_cancelled_while_queued_never_starts(executor: Executor) -> None:
    started, release = threading.Event(), threading.Event()

    def block() -> None:
        started.set()
        release.wait(WAIT)

    first = asyncio.create_task(executor.call(block))
    await seen(started)
    counter = Counter(3)
    waiting = asyncio.ensure_future(anext(executor.stream(counter)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    await first
    await executor.call(lambda: None)
    assert counter.made == 0


async def test_a_slow_reader_does_not_hold_the_thread_of_a_short_stream(executor: Executor) -> None:
    async with aclosing(executor.stream(Counter(10), ahead=16)) as slow:
        await anext(slow)
        assert [item async for item in executor.stream(Counter(2))] == [0, 1]


async def test_close_stops_streams_with_an_error_and_drops_what_waits() -> None:
    executor = Executor("test")
    counter = Counter(1_000_000)
    running = executor.stream(counter, ahead=2)
    await anext(running)
    waiting = asyncio.create_task(executor.call(lambda: None))
    await asyncio.sleep(0)
    await executor.close()
    assert counter.closed.is_set()
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        async for _ in running:
            pass
    with pytest.raises(Unavailable):
        await executor.call(lambda: None)


async def test_close_may_let_accepted_work_end() -> None:
    executor = Executor("test")
    stream = executor.stream(Counter(50), ahead=2)
    assert await anext(stream) == 0
    waiting = asyncio.create_task(executor.call(lambda: "served"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(executor.close(finish=True))
    assert [item async for item in stream] == list(range(1, 50))
    assert await waiting == "served"
    await closing


async def test_on_loop_runs_the_callback_in_the_loops_thread(executor: Executor) -> None:
    threads: asyncio.Queue[tuple[int, int]] = asyncio.Queue()

    def here(value: int) -> None:
        threads.put_nowait((value, threading.get_ident()))

    post = on_loop(here)
    await executor.call(post, 7)
    assert await threads.get() == (7, threading.get_ident())
