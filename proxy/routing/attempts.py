"""One request, tried on one replica after another until one takes it, as far as that harms nobody."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import fields

from backends.base import Relay, RelayOutcome, RelayRequest, Sink, Tokenizing
from backends.errors import BackendError, Unavailable, Unsupported
from backends.types import Chat, Complete, Event, Request, Tokenized
from proxy.registry.models import ModelEntry, Target
from proxy.routing.candidates import allowed
from proxy.routing.fleet import Choice
from proxy.routing.hedging import Lane, hedged
from proxy.routing.retries import RetryBudget, may_retry, was_sent
from proxy.routing.selection import Selector, Wanted
from proxy.routing.waking import Waking
from proxy.routing.watchdog import Watchdog


class Attempts:
    """Brings requests to replicas. retries, hedges: how many requests each engine had seen that were sent elsewhere, too.

    safe: the caller said that a request may be done twice; goes_to: told of the engine that it is sent to; wanted: what replicas
    are chosen by, and learns which one was.
    """

    def __init__(self, watchdog: Watchdog, waking: Waking) -> None:
        self._selector = Selector()
        self._watchdog = watchdog
        self._waking = waking
        # By the first engine of the model that was asked for: several engines of one model share what it may repeat.
        self._budgets: defaultdict[str, RetryBudget] = defaultdict(RetryBudget)
        self.retries: defaultdict[str, int] = defaultdict(int)
        self.hedges: defaultdict[str, int] = defaultdict(int)

    async def relay(
        self,
        entry: ModelEntry,
        choices: Sequence[Choice],
        ask: Callable[[Target], RelayRequest],
        sink: Sink,
        outcome: RelayOutcome,
        goes_to: Callable[[str], None],
        wanted: Wanted,
        *,
        safe: bool = False,
    ) -> None:
        """Pass bytes through. Raises BackendError only before the first byte went out."""
        self._budgets[entry.engine].seen += 1
        if len(choices) == 1 and (only := choices[0]).replica.relay is not None and not only.on_demand:
            # Nothing to choose from, and nobody else to ask.
            if not self._watchdog.at_ease(choices):
                await self._watchdog.able(entry, choices)
            wanted.chosen = only.replica
            return await self._relayed(entry, only, only.replica.relay, ask(only.target), sink, outcome)
        failed: BackendError | None = None
        restarted = False
        while True:
            choice = await self._next(entry, choices, wanted, failed)
            asked = ask(choice.target)
            relay = choice.replica.relay
            if relay is None or not relay.relays(asked.method, asked.path):
                choices = without(choice, choices)
                continue
            goes_to(choice.replica.engine)
            outcome.began = wanted.begun
            try:
                if not safe and not choice.on_demand:
                    return await self._relayed(entry, choice, relay, asked, sink, outcome)
                async with self._waking.hold(entry, choice.target):
                    if safe and choice.replica.spec.hedge_ms and len(choices) > 1:
                        return await self._hedged(entry, choice, without(choice, choices), ask, sink, outcome, wanted)
                    return await self._relayed(entry, choice, relay, asked, sink, outcome)
            except BackendError as error:
                failed, choices = error, without(choice, choices)
                if choices and self._may_go_on(entry, choice, error, safe=safe):
                    continue
                if restarted or not await self._waking.restarted(entry, choice.target, error):
                    raise
                failed, choices, restarted = None, [choice], True

    async def events(
        self,
        entry: ModelEntry,
        choices: Sequence[Choice],
        request: Request,
        goes_to: Callable[[str], None],
        wanted: Wanted,
        *,
        safe: bool = False,
    ) -> AsyncGenerator[Event, None]:
        """A replica's answer."""
        self._budgets[entry.engine].seen += 1
        failed: BackendError | None = None
        restarted = False
        while True:
            choice = await self._next(entry, choices, wanted, failed)
            begun = False
            goes_to(choice.replica.engine)
            try:
                async with (
                    self._waking.hold(entry, choice.target),
                    aclosing(self._run(entry, choice, request)) as events,
                ):
                    async for event in events:
                        if not begun:
                            begun = True
                            wanted.begun()
                        yield event
                return
            except BackendError as error:
                failed, choices = error, without(choice, choices)
                if begun:
                    raise
                if choices and self._may_go_on(entry, choice, error, safe=safe):
                    continue
                if restarted or not await self._waking.restarted(entry, choice.target, error):
                    raise
                failed, choices, restarted = None, [choice], True

    async def tokenize(self, entry: ModelEntry, choices: Sequence[Choice], request: Chat | Complete) -> Tokenized:
        """How a replica's model reads the text. Raises Unsupported where its engine cannot tell."""
        choice = await self._next(entry, choices, Wanted(), None)
        backend = choice.replica.backend
        if not isinstance(backend, Tokenizing):
            raise Unsupported(f"The engine behind `{entry.name}` does not show its tokens.", param="model")
        ticket = await self._watchdog.begin(entry, choice)
        try:
            told = await backend.tokenize(choice.target.spec, request)
        except BaseException as error:
            self._watchdog.ended(choice, ticket, error)
            raise
        self._watchdog.ended(choice, ticket, None, proof=False)
        return told

    async def _relayed(
        self,
        entry: ModelEntry,
        choice: Choice,
        relay: Relay,
        asked: RelayRequest,
        sink: Sink,
        outcome: RelayOutcome,
    ) -> None:
        replica = choice.replica
        if self._watchdog.poison.active:
            self._watchdog.poison.refuse(asked.body, asyncio.get_running_loop().time())
        ticket = self._watchdog.ticket(choice)
        if ticket is None:
            ticket = await self._watchdog.begin(entry, choice)
        if replica.health.out:
            outcome.began = _both(outcome.began, lambda: replica.proved(ticket))
        replica.enter()
        try:
            await relay.relay(asked, sink, outcome)
        except BaseException as error:
            self._watchdog.ended(choice, ticket, error, request=asked.body)
            raise
        finally:
            replica.leave()
        proof = "tokenize" not in asked.path
        self._watchdog.ended(choice, ticket, None, outcome, proof=proof, request=asked.body)

    async def _hedged(
        self,
        entry: ModelEntry,
        choice: Choice,
        others: Sequence[Choice],
        ask: Callable[[Target], RelayRequest],
        sink: Sink,
        outcome: RelayOutcome,
        wanted: Wanted,
    ) -> None:
        """Pass bytes through; where no answer has begun after a while, another replica is sent the request, too."""
        engine, after = choice.replica.engine, choice.replica.spec.hedge_ms / 1e3
        seen = RelayOutcome(began=outcome.began), RelayOutcome(began=outcome.began)
        asked = [choice]

        async def send(number: int, lane: Lane) -> None:
            target, replica = asked[number]
            request = ask(target)
            if replica.relay is None or not replica.relay.relays(request.method, request.path):
                raise Unsupported(f"Engine {replica.name!r} has no {request.path}.", param="model")
            async with self._waking.hold(entry, target):
                await self._relayed(entry, asked[number], replica.relay, request, lane, seen[number])

        def second(lane: Lane) -> Coroutine[None, None, None] | None:
            now = asyncio.get_running_loop().time()
            able = allowed(others, now, again=True)
            if not able or not self._budgets[entry.engine].take(now):
                return None
            self.hedges[engine] += 1
            asked.append(self._selector.choose(entry, able, wanted, now))
            return send(1, lane)

        try:
            winner = await hedged(sink, after, lambda lane: send(0, lane), second)
            wanted.chosen = asked[winner].replica
        finally:
            heard = seen[1] if seen[1].first_byte_at is not None else seen[0]
            for each in fields(RelayOutcome):
                setattr(outcome, each.name, getattr(heard, each.name))

    async def _run(self, entry: ModelEntry, choice: Choice, request: Request) -> AsyncGenerator[Event, None]:
        replica, asked = choice.replica, (entry.name, request)
        self._watchdog.poison.refuse(asked, asyncio.get_running_loop().time())
        ticket = await self._watchdog.begin(entry, choice)
        replica.enter()
        try:
            async with aclosing(replica.backend.run(choice.target.spec, request)) as events:
                async for event in events:
                    if replica.health.out:
                        replica.proved(ticket)
                    yield event
        except BaseException as error:
            self._watchdog.ended(choice, ticket, error, request=asked)
            raise
        finally:
            replica.leave()
        self._watchdog.ended(choice, ticket, None, request=asked)

    async def _next(
        self, entry: ModelEntry, choices: Sequence[Choice], wanted: Wanted, failed: BackendError | None
    ) -> Choice:
        """Where to go next. Raises Unavailable where nobody can serve; after a failure, that failure."""
        if failed is None and self._watchdog.at_ease(choices):
            return self._selector.choose(entry, choices, wanted, asyncio.get_running_loop().time())
        try:
            able = await self._watchdog.able(entry, choices, again=failed is not None)
        except Unavailable:
            if failed is None:
                raise
            raise failed from failed.__cause__
        return self._selector.choose(entry, able, wanted, asyncio.get_running_loop().time())

    def _may_go_on(self, entry: ModelEntry, choice: Choice, error: BackendError, *, safe: bool) -> bool:
        """Whether this failure may be made up for elsewhere; one that an engine has seen is counted."""
        if not may_retry(error, first_byte_sent=False, safe=safe):
            return False
        if was_sent(error):
            if not self._budgets[entry.engine].take(asyncio.get_running_loop().time()):
                return False
            self.retries[choice.replica.engine] += 1
        return True


def without(choice: Choice, choices: Sequence[Choice]) -> list[Choice]:
    """The others."""
    return [each for each in choices if each is not choice]


def _both(one: Callable[[], None] | None, other: Callable[[], None]) -> Callable[[], None]:
    """What calls both."""

    def both() -> None:
        other()
        if one is not None:
            one()

    return both
