"""A model's engines that come and go: which of them run, and which one is started where none does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext

from backends.errors import BackendError
from proxy.lifecycle.manager import LifecycleManager
from proxy.lifecycle.states import State
from proxy.registry.models import ModelEntry, Target, at
from proxy.routing.fleet import Choice
from proxy.routing.retries import was_sent

KNOWN_WITHIN = 2.0
"""Seconds in which the end of a process is known here, after its connections were refused."""
NOTHING: AbstractAsyncContextManager[None] = nullcontext()


class Waking:
    """Asks the lifecycle for what a request needs. Engines that are only watched cost it one look."""

    def __init__(self, lifecycle: LifecycleManager) -> None:
        self._lifecycle = lifecycle

    def cold(self, entry: ModelEntry) -> bool:
        """Whether a request would have to wait for a load, of the model or of an engine."""
        return all(self._lifecycle.waits(at(entry, target)) for target in entry.served_by)

    def percent(self, entry: ModelEntry) -> int | None:
        """How far the start of the model's engine is; None where that is not known, as of one that never started before."""
        told = [self._lifecycle.percent(at(entry, target)) for target in entry.served_by]
        return max((percent for percent in told if percent), default=None)

    def among(
        self, entry: ModelEntry, choices: Sequence[Choice], *, patient: bool = False
    ) -> AbstractAsyncContextManager[Sequence[Choice]]:
        """Of these, the ones whose engines run; where none does one is started, and runs until the block ends.

        Raises Unavailable when none starts, or that takes longer than a caller who is not patient should wait.
        """
        if not any(self._lifecycle.on_demand(at(entry, choice.target)) for choice in choices):
            return nullcontext(choices)
        return self._awake(entry, choices, patient)

    def hold(self, entry: ModelEntry, target: Target, *, patient: bool = False) -> AbstractAsyncContextManager[None]:
        """The engine of a target does not leave until the block ends."""
        served = at(entry, target)
        return self._lifecycle.hold(served, patient=patient) if self._lifecycle.on_demand(served) else NOTHING

    async def restarted(self, entry: ModelEntry, target: Target, error: BackendError) -> bool:
        """Whether nothing was sent because the engine had just ended, and it has been started again. Raises as hold does."""
        served = at(entry, target)
        if was_sent(error) or not self._lifecycle.on_demand(served):
            return False
        if not await self._lifecycle.ends(served, KNOWN_WITHIN):
            return False
        async with self._lifecycle.hold(served):
            return True

    @asynccontextmanager
    async def _awake(
        self, entry: ModelEntry, choices: Sequence[Choice], patient: bool
    ) -> AsyncIterator[Sequence[Choice]]:
        awake = [choice for choice in choices if self._ready(at(entry, choice.target))]
        if awake:
            self._revive(entry, choices)
            yield awake
            return
        async with AsyncExitStack() as stack:
            engine = await self._started(entry, choices, stack, patient)
            yield [choice for choice in choices if choice.target.engine == engine]

    async def _started(self, entry: ModelEntry, choices: Sequence[Choice], stack: AsyncExitStack, patient: bool) -> str:
        """The engine that runs now: the one that is preferred, or else another."""
        order = sorted(choices, key=lambda choice: (choice.target.priority, -(choice.target.weight or 1.0)))
        failed: BackendError | None = None
        for engine in dict.fromkeys(choice.target.engine for choice in order):
            target = next(choice.target for choice in order if choice.target.engine == engine)
            try:
                await stack.enter_async_context(self.hold(entry, target, patient=patient))
            except BackendError as error:
                failed = failed or error
            else:
                return engine
        assert failed is not None, "there is at least one engine"
        raise failed

    def _revive(self, entry: ModelEntry, choices: Sequence[Choice]) -> None:
        """Engines that ended by themselves are started again beside those that serve meanwhile."""
        for choice in choices:
            served = at(entry, choice.target)
            if self._lifecycle.on_demand(served) and self._lifecycle.place(served).state is State.ERROR:
                self._lifecycle.revive(served)

    def _ready(self, served: ModelEntry) -> bool:
        return not self._lifecycle.on_demand(served) or self._lifecycle.is_ready(served)
