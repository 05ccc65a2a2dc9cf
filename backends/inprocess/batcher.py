"""The awaiting side of batches: jobs of many callers, one call of the model at a time, everybody's own result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic

from backends.errors import Unavailable
from backends.inprocess.batch import Backlog, Batch, Failed, Job, Key, Result, compute_all, out_of_memory
from backends.inprocess.executor import Executor

# Seconds after which memory that was short may be free again.
RETRY_SHORT_MEMORY = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket(Generic[Job, Result]):
    """A job and the future of its result; a future that is cancelled says that its caller has left."""

    job: Job
    future: asyncio.Future[Result]


class Batcher(Generic[Key, Job, Result]):
    """Runs jobs of many callers together: those of equal key, at most `max_batch` at a time, in one thread of its own.

    compute(key, jobs) blocks, and returns one result for each job, in order. It is called again for parts of the same
    batch when it raises, so it must change nothing but its results. A batch waits for mates for at most `max_wait_ms`
    after its oldest job came, and for no longer than the thread is free. limit: the most jobs of this key in one batch;
    None = max_batch.
    """

    def __init__(
        self,
        name: str,
        compute: Callable[[Key, Sequence[Job]], Sequence[Result]],
        *,
        max_batch: int,
        max_wait_ms: float,
        limit: Callable[[Key], int | None] = lambda _: None,
    ) -> None:
        self._name = name
        self._compute = compute
        self._backlog: Backlog[Key, _Ticket[Job, Result]] = Backlog(
            max_batch=max_batch,
            max_wait=max_wait_ms / 1000,
            left=lambda ticket: ticket.future.done(),
            limit=limit,
        )
        self._thread = Executor(name)
        self._work = asyncio.Event()
        self._server: asyncio.Task[None] | None = None
        self._open = True

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return len(self._backlog)

    def submit(self, owner: Hashable, key: Key, jobs: Sequence[Job]) -> list[asyncio.Future[Result]]:
        """The futures of the jobs' results. Cancelling one drops its job, unless it runs already, and disturbs no other.

        owner: whose turn it is, mostly one request: turns go round the owners however many jobs each has. A future
        raises what compute raised for its job alone; Unavailable when that is lack of memory, or when the batcher is
        closed. Raises Unavailable when it was closed before.
        """
        if not self._open:
            raise self._closed()
        loop = asyncio.get_running_loop()
        tickets = [_Ticket(job, loop.create_future()) for job in jobs]
        for ticket in tickets:
            self._backlog.add(owner, key, ticket, loop.time())
        if self._server is None:
            self._server = loop.create_task(self._serve(), name=self._name)
        self._work.set()
        return [ticket.future for ticket in tickets]

    async def run(self, owner: Hashable, key: Key, jobs: Sequence[Job]) -> list[Result]:
        """The jobs' results in order. When one fails, or the caller leaves, the others are dropped too."""
        futures = self.submit(owner, key, jobs)
        try:
            return [await future for future in futures]
        finally:
            for future in futures:
                future.cancel()

    async def close(self) -> None:
        """Take no more jobs, fail those that wait, and wait for the batch that runs."""
        self._open = False
        for ticket in self._backlog.drain():
            _settle(ticket.future, Failed(self._closed()))
        self._work.set()
        if self._server is not None:
            await self._server
        await self._thread.close()

    async def _serve(self) -> None:
        """Run one batch after the other until closed."""
        loop = asyncio.get_running_loop()
        while self._open:
            self._work.clear()
            batch = self._backlog.take(loop.time())
            if batch is not None:
                await self._run(batch)
            else:
                await self._wait(self._backlog.due_at())

    async def _wait(self, due_at: float | None) -> None:
        """Wait until due_at, or until something changes."""
        try:
            async with asyncio.timeout_at(due_at):
                await self._work.wait()
        except TimeoutError:
            pass

    async def _run(self, batch: Batch[Key, _Ticket[Job, Result]]) -> None:
        short = False
        unheard = Failed(self._closed())

        def compute(key: Key, tickets: Sequence[_Ticket[Job, Result]]) -> Sequence[Result | Failed]:
            """The results of those jobs whose callers are still there, asked just before and between halves."""
            nonlocal short
            present = [ticket for ticket in tickets if not ticket.future.done()]
            try:
                results = self._compute(key, [ticket.job for ticket in present]) if present else ()
            except Exception as error:
                short = short or out_of_memory(error)
                raise
            heard = dict(zip(present, results, strict=True))
            return [heard.get(ticket, unheard) for ticket in tickets]

        answers = await self._thread.call(compute_all, compute, batch)
        self._backlog.ran(len(batch.jobs), fitted=not short)
        for ticket, answer in zip(batch.jobs, answers, strict=True):
            _settle(ticket.future, self._told(answer))

    def _told(self, answer: Result | Failed) -> Result | Failed:
        """The answer in the callers' words where the memory was too small for even one job."""
        if isinstance(answer, Failed) and out_of_memory(answer.error):
            told = Unavailable(
                f"{self._name} has too little memory left for this; try again later, or unload other models.",
                retry_after=RETRY_SHORT_MEMORY,
            )
            told.__cause__ = answer.error
            return Failed(told)
        return answer

    def _closed(self) -> Unavailable:
        return Unavailable(f"{self._name} is being unloaded; try again later.", retry_after=1.0)


def _settle(future: asyncio.Future[Result], answer: Result | Failed) -> None:
    if future.done():
        return
    if isinstance(answer, Failed):
        future.set_exception(answer.error)
        future.exception()  # seen: a caller who waits for several jobs hears of the first that failed only
    else:
        future.set_result(answer)
