"""Which of the waiting jobs run together next: plain values and no clock, so that it can be tested without either."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Job = TypeVar("Job")
Result = TypeVar("Result")

# Batches that must fit into memory, after one that did not, before a larger one is tried.
RECOVERY = 64


@dataclass(frozen=True, slots=True)
class Batch(Generic[Key, Job]):
    """Jobs to run in one call: they agree in everything that key names."""

    key: Key
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """What a job raised in place of a result."""

    error: Exception


class Backlog(Generic[Key, Job]):
    """Jobs that wait, sorted by what must agree (key) and by whose they are (owner).

    A batch is due when `max_batch` jobs of one key wait, or when one has waited `max_wait` seconds. It begins with the
    owner whose last turn was longest ago and takes one job from each owner in turn: however many jobs others have, an
    owner waits for at most as many batches as there were owners before it. An owner's jobs of one key stay in order.
    left: whether nobody waits for a job any more; such jobs are dropped when their turn comes. limit: the most jobs that a
    batch of this key takes, where that is fewer than max_batch.
    """

    def __init__(
        self,
        *,
        max_batch: int,
        max_wait: float,
        left: Callable[[Job], bool] = lambda _: False,
        limit: Callable[[Key], int | None] = lambda _: None,
    ) -> None:
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._left = left
        self._limit = limit
        # One owner's jobs of one key stand in a line, each with the second since when it waits.
        self._lines: dict[Key, dict[Hashable, deque[tuple[float, Job]]]] = {}
        self._turns: dict[Hashable, int] = {}
        self._turn = 0
        self._room = max_batch
        self._fitted = 0

    def __len__(self) -> int:
        """How many jobs wait."""
        return sum(len(line) for lines in self._lines.values() for line in lines.values())

    @property
    def room(self) -> int:
        """The most jobs that a batch takes now: max_batch, or fewer while memory is short."""
        return self._room

    def add(self, owner: Hashable, key: Key, job: Job, now: float) -> None:
        """Let owner's job wait; a new owner's turn comes after those of all who wait."""
        if owner not in self._turns:
            self._turns[owner] = self._next_turn()
        self._lines.setdefault(key, {}).setdefault(owner, deque()).append((now, job))

    def due_at(self) -> float | None:
        """The second from which take() yields a batch (in the past: at once); None while nothing waits."""
        self._forget_departed()
        return min(map(self._due_at, self._lines), default=None)

    def take(self, now: float) -> Batch[Key, Job] | None:
        """The batch whose turn it is; None when none is due."""
        self._forget_departed()
        due = [key for key in self._lines if self._due_at(key) <= now]
        if not due:
            return None
        key = min(due, key=lambda key: min(self._turns[owner] for owner in self._lines[key]))
        return Batch(key, tuple(self._pick(key)))

    def drain(self) -> list[Job]:
        """All jobs that wait, which wait no more."""
        jobs = [job for lines in self._lines.values() for line in lines.values() for _, job in line]
        self._lines.clear()
        self._turns.clear()
        return jobs

    def ran(self, size: int, *, fitted: bool) -> None:
        """Learn from a batch of `size` jobs whether it fitted into memory: half of what did not is the next room."""
        if not fitted:
            self._room = max(1, min(self._room, size // 2))
            self._fitted = 0
        elif self._room < self._max_batch:
            self._fitted += 1
            if self._fitted >= RECOVERY:
                self._room = min(self._max_batch, 2 * self._room)
                self._fitted = 0

    def _pick(self, key: Key) -> Iterator[Job]:
        """As many jobs of key as a batch takes, one of each owner in turn; who gave one goes to the end of the turns."""
        owners = sorted(self._lines[key], key=self._turns.__getitem__)
        taken, room = 0, self._room_for(key)
        while owners and taken < room:
            for owner in owners[: room - taken]:
                _, job = self._lines[key][owner].popleft()
                yield job
                taken += 1
                self._turns[owner] = self._next_turn()
            owners = [owner for owner in owners if self._lines[key][owner]]
        self._forget_empty()

    def _room_for(self, key: Key) -> int:
        return min(self._room, self._limit(key) or self._room)

    def _due_at(self, key: Key) -> float:
        lines = self._lines[key].values()
        if sum(map(len, lines)) >= self._room_for(key):
            return float("-inf")
        return min(line[0][0] for line in lines) + self._max_wait

    def _forget_departed(self) -> None:
        for lines in self._lines.values():
            for owner, line in lines.items():
                if any(self._left(job) for _, job in line):
                    lines[owner] = deque((since, job) for since, job in line if not self._left(job))
        self._forget_empty()

    def _forget_empty(self) -> None:
        for key, lines in list(self._lines.items()):
            for owner in [owner for owner, line in lines.items() if not line]:
                del lines[owner]
            if not lines:
                del self._lines[key]
        waiting = {owner for lines in self._lines.values() for owner in lines}
        for owner in self._turns.keys() - waiting:
            del self._turns[owner]

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn


def compute_all(
    compute: Callable[[Key, Sequence[Job]], Sequence[Result]], batch: Batch[Key, Job]
) -> list[Result | Failed]:
    """compute's result for each job of the batch, in order, or what it raised for that job alone.

    When compute raises, the batch is run again in halves: what was too much for the memory fits then, and a job that
    cannot be computed takes none of its mates along.
    """
    try:
        results = list(compute(batch.key, batch.jobs))
    except Exception as error:
        if len(batch.jobs) == 1:
            return [Failed(error)]
        middle = len(batch.jobs) // 2
        halves = (batch.jobs[:middle], batch.jobs[middle:])
        return [answer for jobs in halves for answer in compute_all(compute, Batch(batch.key, jobs))]
    if len(results) != len(batch.jobs):
        raise AssertionError(f"{len(results)} results came for {len(batch.jobs)} jobs")
    return [*results]


def out_of_memory(error: Exception) -> bool:
    """Whether error says that the device's or the machine's memory is full, in the words of CTranslate2, CUDA or torch."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "out of memory" in str(error).lower())
