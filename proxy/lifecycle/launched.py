"""One engine that is started here, from its start to its end; between them it serves, or sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from backends.base import Backend, ModelSpec, Progress, Report, Sleeping
from backends.errors import BackendError, Broken, LoadTimedOut, Unavailable
from backends.launch import Container, Launch
from proxy.lifecycle.carrier import Carrier, shown
from proxy.lifecycle.resting import Failures, Level

LOOK_SECONDS = 0.1
"""Between two looks at whether it serves."""
SLEEP_FLAG = "--enable-sleep-mode"

Depth = Callable[["Launched"], Awaitable[Level]]
OnEnd = Callable[["Launched", BackendError], None]


class Launched:
    """Starts and stops one engine; whoever calls sees to it that nobody uses what it stops.

    held_mb, rest_mb: what it holds on its device when it serves, and when it sleeps, as far as that was measured; rests_since:
    when it fell asleep, on the loop's clock.

    able: whether engines can sleep on this machine; depth: says how deep it shall rest now; on_end: told when it ended by
    itself while it served or slept.
    """

    def __init__(
        self,
        name: str,
        launch: Launch,
        backend: Backend,
        carrier: Carrier,
        *,
        url: str,
        device: str,
        able: bool,
        depth: Depth,
        on_start: Callable[[], None],
        on_end: OnEnd,
    ) -> None:
        self.name = name
        self.device = device
        self.launch = launch
        self.backend = backend
        self.url = url
        self.able = able and bool(launch.sleep) and isinstance(backend, Sleeping)
        self.level: Level = 0
        self.up = False
        self.failures = Failures()
        self.held_mb: float | None = None
        self.rest_mb = 0.0
        self.rests_since = 0.0
        self._carrier = carrier
        self._depth = depth
        self._on_start = on_start
        self._on_end = on_end
        self._lock = asyncio.Lock()
        self._since = 0.0
        self._last: list[str] = []
        self._watching: asyncio.Task[None] | None = None
        self._later: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("engines").bind(engine=name)

    @property
    def asleep(self) -> bool:
        """Whether it runs without serving, and holds a part of its memory."""
        return self.up and bool(self.level)

    def follow(self, launch: Launch, backend: Backend, url: str) -> bool:
        """Be configured so from now on; False where that takes a new start: then it is as it was."""
        same = (type(backend), url, *_started_by(launch)) == (type(self.backend), self.url, *_started_by(self.launch))
        if same:
            self.launch, self.backend = launch, backend
        return same

    def holds(self, measured_mb: float | None) -> float | None:
        """It serves, and so much was measured: what it counts for, which is never less than what was said of it."""
        if self.device == "cpu" and isinstance(self.launch.by, Container):
            measured_mb = None  # a container's memory is not seen from here
        known = [each for each in (measured_mb, self.launch.memory_mb) if each is not None]
        self.held_mb = max(known, default=None)
        return self.held_mb

    def rested(self, freed_mb: float | None) -> None:
        """It rests, and so much was freed by that."""
        self.rest_mb = max(0.0, (self.held_mb or 0.0) - freed_mb) if self.asleep and freed_mb is not None else 0.0

    def refusal(self) -> Unavailable | None:
        """Why it is not to be started now: it failed time and again, and gets a pause."""
        wait = self.failures.wait(_now())
        if not wait:
            return None
        message = (
            f"Engine {self.name!r} failed {self.failures.count} times in a row; it may start again in {wait:.0f} s."
        )
        return Unavailable(message + shown(self._last), retry_after=max(1.0, wait))

    async def load(self, model: ModelSpec, report: Report) -> None:
        """Have it serve: woken up, taken over, or started. Raises BackendError; then it does not run."""
        async with self._lock:
            self._no_later()
            if not self.up:
                await self._start(report)
            elif self.level:
                await self._wake(report)

    async def unload(self, model: ModelSpec) -> None:
        """Stop it. Raises as end does."""
        await self.end()

    async def rest(self) -> None:
        """Have it sleep where it can and may, else stop. Raises Unavailable when it cannot be ended."""
        async with self._lock:
            level = await self._depth(self) if self.up and not self.level else 0
            if not level or not await self._sleep(level):
                await self._stop()

    async def end(self) -> None:
        """Stop it, whether it serves or sleeps. Raises Unavailable when it cannot be ended."""
        async with self._lock:
            await self._stop()

    async def adoptable(self) -> bool:
        """Whether it runs already, and was not started by this object."""
        async with self._lock:
            return not self.up and await self._carrier.adopt()

    async def close(self) -> None:
        """No more of it here: what ends with the proxy has ended."""
        self._no_later()
        self._unwatched()
        self.up = False
        await self._carrier.close()

    # ------------------------------------------------------------------- coming

    async def _start(self, report: Report) -> None:
        report(Progress("load"))
        try:
            async with asyncio.timeout(self.launch.start) as limit:
                if not await self._taken_over():
                    self._log.info("engine starting")
                    await self._carrier.start((SLEEP_FLAG,) if self.able and self.launch.flags else ())
                await self._ready(report)
        except BaseException as error:
            self._last = await self._carrier.said()
            self._unwatched()
            await self._carrier.stop()
            if isinstance(error, TimeoutError) and limit.expired():
                error = LoadTimedOut(
                    f"Engine {self.name!r} did not serve within {self.launch.start:g} s; see `start_seconds`."
                    + shown(self._last),
                    retry_after=5.0,
                )
            if isinstance(error, BackendError):
                self.failures = self.failures.another(_now(), 0.0)
                raise error from None
            raise
        self.up, self.level, self._since = True, 0, _now()
        self._log.info("engine ready")
        self._on_start()

    async def _taken_over(self) -> bool:
        """Whether it ran already, and can go on."""
        if not await self._carrier.adopt():
            return False
        if isinstance(self.backend, Sleeping) and self.launch.sleep and await self.backend.sleeping():
            # How deep was for its former owner to know: it may have no weights.
            await self._carrier.stop()
            return False
        self._log.info("engine taken over")
        return True

    async def _ready(self, report: Report) -> None:
        """Return when it serves. Raises Broken when it ends before."""
        began = _now()
        ended = asyncio.create_task(self._carrier.ended(), name=f"end of {self.name}")
        self._watching = asyncio.create_task(self._watch(ended), name=f"watch {self.name}")
        while True:
            asking = asyncio.create_task(self.backend.health())
            try:
                await asyncio.wait({ended, asking}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    lines = await self._carrier.said()
                    raise Broken(f"Engine {self.name!r} {ended.result()} before it served.{shown(lines)}")
                if asking.result().ok:
                    return
            finally:
                asking.cancel()
            await asyncio.wait({ended}, timeout=LOOK_SECONDS)
            report(Progress("load", int((_now() - began) * 1e3)))

    async def _wake(self, report: Report) -> None:
        report(Progress("load"))
        assert isinstance(self.backend, Sleeping), "nothing else sleeps"
        try:
            async with asyncio.timeout(self.launch.start):
                await self.backend.wake(self.level)
        except (BackendError, TimeoutError) as error:
            self._log.warning("engine does not wake up, and is started anew", error=repr(error))
            await self._stop()
            await self._start(report)
            return
        self.level, self._since = 0, _now()
        self._log.info("engine woke up")

    # ------------------------------------------------------------------- going

    async def _sleep(self, level: Level) -> bool:
        assert isinstance(self.backend, Sleeping), "nothing else is able to"
        try:
            await self.backend.sleep(level)
        except BackendError as error:
            self.able = False
            self._log.warning("engine cannot sleep, and is stopped instead", error=error.message)
            return False
        self.level, self.rests_since = level, _now()
        self._log.info("engine asleep", level=level)
        if self.launch.stop_after is not None:
            pause = max(0.0, self.launch.stop_after - (self.launch.idle or 0.0))
            self._later = asyncio.create_task(self._stop_later(pause), name=f"stop {self.name} later")
        return True

    async def _stop_later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with self._lock:
            self._later = None
            if self.level:
                await self._stop()

    async def _stop(self) -> None:
        self._no_later()
        self._unwatched()
        was_up, self.up, self.level = self.up, False, 0
        await self._carrier.stop()
        if was_up:
            self._log.info("engine stopped")

    async def _watch(self, ended: asyncio.Task[str]) -> None:
        how = await ended
        if not self.up:
            return
        slept, self.up, self.level = bool(self.level), False, 0
        self._no_later()
        self.failures = self.failures.another(_now(), _now() - self._since)
        self._last = await self._carrier.said()
        self._log.error("engine ended by itself", how=how, lines=self._last)
        error = Broken(f"Engine {self.name!r} {how}.{shown(self._last)}")
        if not slept:
            self._on_end(self, error)

    def _unwatched(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def _no_later(self) -> None:
        if self._later is not None and self._later is not asyncio.current_task():
            self._later.cancel()
        self._later = None


def _now() -> float:
    return asyncio.get_running_loop().time()


def _started_by(launch: Launch) -> tuple[object, ...]:
    """What of it cannot change while an engine runs."""
    return launch.by, launch.flags, launch.device, bool(launch.sleep)
