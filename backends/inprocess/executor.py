"""How blocking work leaves the event loop: a bounded pool of threads, and nothing else decides where it runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar, cast

from backends.errors import Unavailable

T = TypeVar("T")
P = ParamSpec("P")


class _End:
    """Marks the end of a stream in its queue."""


class Executor:
    """A pool of at most `workers` threads; work beyond that waits its turn, and may be given up while it waits.

    One pool per concern: loading has its own, so that it never holds up inference; a pool of one worker serves
    its callers strictly in turn.
    """

    def __init__(self, name: str, *, workers: int = 1) -> None:
        self._name = name
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._stops: dict[Future[object], Callable[[], None]] = {}
        self._open = True

    async def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """fn's result, or its exception.

        A caller who is cancelled while queued takes the work along; one who is cancelled later leaves at once and
        fn runs to its end unheard. Raises Unavailable when the executor is closed.
        """
        job = self._submit(lambda: fn(*args, **kwargs), stop=lambda: None)
        try:
            await _settled(job)
        finally:
            job.cancel()
        if job.cancelled():
            raise self._closed()
        return job.result()

    async def stream(
        self, fn: Callable[[threading.Event], Generator[T, None, None]], *, ahead: int = 16
    ) -> AsyncGenerator[T, None]:
        """The items of the blocking generator that fn makes, which runs at most `ahead` items before its reader.

        fn is given an event that is set when the reader has left. Closing the stream stops the generator at its
        next item, closes it in its own thread and waits for that. Exceptions cross over. Raises Unavailable when the
        executor is closed before the end.
        """
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[T | _End] = asyncio.Queue()
        room = threading.Semaphore(ahead)
        left = threading.Event()

        def stop() -> None:
            left.set()
            room.release()

        def work() -> None:
            source = fn(left)
            try:
                for item in source:
                    room.acquire()
                    if left.is_set():
                        return
                    loop.call_soon_threadsafe(items.put_nowait, item)
            finally:
                source.close()

        job = self._submit(work, stop)
        _when_done(job, lambda: items.put_nowait(_End()))
        try:
            while not isinstance(item := await items.get(), _End):
                room.release()
                yield item
            if left.is_set() or job.cancelled():
                raise self._closed()
            job.result()
        finally:
            job.cancel()
            stop()
            await _settled(job)

    async def close(self, *, finish: bool = False) -> None:
        """Take no more work and wait for what runs; what waits is dropped, streams stop at their next item.

        The threads are gone then, and with them what they held on to. finish: let all work already accepted come to its
        own end instead.
        """
        self._open = False
        jobs = dict(self._stops)
        if not finish:
            for job, stop in jobs.items():
                job.cancel()
                stop()
        for job in jobs:
            await _settled(job)
        # A thread tells that work is done while it still holds the work and its result.
        await asyncio.to_thread(self._threads.shutdown)

    def _submit(self, work: Callable[[], T], stop: Callable[[], None]) -> Future[T]:
        if not self._open:
            raise self._closed()
        job = self._threads.submit(_once, [work])
        known = cast("Future[object]", job)
        self._stops[known] = stop
        _when_done(job, lambda: self._stops.pop(known))
        return job

    def _closed(self) -> Unavailable:
        return Unavailable(f"{self._name} is being shut down; try again later.", retry_after=1.0)


def _once(work: list[Callable[[], T]]) -> T:
    """Run the work and let go of it, so that whoever hears of its end finds nothing of it left."""
    return work.pop()()


def _when_done(job: Future[T], callback: Callable[[], object]) -> None:
    """Run callback on the current event loop once job is done, failed or cancelled."""
    loop = asyncio.get_running_loop()

    def post(_: Future[T]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(callback)

    job.add_done_callback(post)


async def _settled(job: Future[T]) -> None:
    """Wait until job is done, failed or cancelled, without cancelling it and without raising what it raised."""
    settled = asyncio.Event()
    _when_done(job, settled.set)
    await settled.wait()


def on_loop(callback: Callable[[T], object]) -> Callable[[T], None]:
    """The callback as worker threads may call it: it runs on the event loop that is current now."""
    loop = asyncio.get_running_loop()

    def post(value: T) -> None:
        loop.call_soon_threadsafe(callback, value)

    return post
