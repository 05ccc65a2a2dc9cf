"""Sees to it that requests go to replicas that work: who may be asked, what each end means, and who has fallen silent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from backends.base import RelayOutcome
from backends.errors import TimedOut, Unavailable
from proxy.registry.models import ModelEntry
from proxy.routing.breaker import NEUTRAL, Verdict, judged
from proxy.routing.candidates import allowed, none_serves, settle_trials
from proxy.routing.fleet import Choice, Fleet, drained
from proxy.routing.health import End, State
from proxy.routing.poison import Asked, Poison
from proxy.routing.replica import Replica

TICK = 0.25
LATE = 1.0  # seconds after which our own loop, stopped or blocked, is to blame for what was not heard in time
GRACE = 2.0  # seconds after that in which nothing is held against an engine: what had waited for us ends all at once
VERDICT_WITHIN = 1.0  # seconds for which a request waits for another's trial, where there is nothing else to wait for
SOON = 0.05
AT_ONCE = 8  # looks at engines

log = structlog.get_logger("health")


class Watchdog:
    """One for all replicas of a fleet. poison: the requests that killed some."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._late_at = float("-inf")
        self.poison = Poison()
        self._looks: dict[Replica, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Look after the replicas from now on."""
        self._wait(asyncio.get_running_loop())

    async def close(self) -> None:
        """No more."""
        if self._timer is not None:
            self._timer.cancel()
        looks = [*self._looks.values()]
        for task in looks:
            task.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    # ------------------------------------------------------------------- before a request

    def at_ease(self, choices: Sequence[Choice]) -> bool:
        """Whether able() would return all of these: the one look of the hot path."""
        for _, replica in choices:  # noqa: SIM110 - a generator would cost twice as much
            if not replica.health.serving or replica.identity.wrong or replica.draining:
                return False
        return True

    def ticket(self, choice: Choice) -> int | None:
        """What begin() would return without having to ask anybody; None where it would."""
        target, replica = choice
        return replica.health.epoch if replica.health.serving and target.spec.source in replica.identity.fit else None

    async def able(self, entry: ModelEntry, choices: Sequence[Choice], *, again: bool = False) -> Sequence[Choice]:
        """Those that may get the request. again: it has failed elsewhere, and is no good for finding out.

        Raises Unavailable, with the reasons and the time of the next trial, when none may. Where another request is finding out
        just now, it waits a moment for that.
        """
        if self.at_ease(choices):
            return choices
        choices = [choice for choice in choices if not choice.replica.draining]
        if not choices:
            raise drained(entry)
        loop = asyncio.get_running_loop()
        patience = loop.time() + VERDICT_WITHIN
        while True:
            now = loop.time()
            settle_trials(choices, now)
            able = allowed(choices, now, again=again)
            if able:
                return able
            on_trial = any(choice.replica.health.state is State.TRIAL for choice in choices)
            if again or not on_trial or now >= patience:
                raise none_serves(entry, choices, now)
            await asyncio.sleep(SOON)

    async def begin(self, entry: ModelEntry, choice: Choice) -> int:
        """The ticket of a request that is about to go there. Raises Unavailable: nobody is there, or somebody else."""
        replica, wanted = choice.replica, choice.target.spec.source
        now = asyncio.get_running_loop().time()
        ticket = replica.began(now)
        if wanted in replica.identity.fit or replica.watched is None:
            return ticket
        if not _to_be_asked(entry, choice):
            replica.identity.fit.add(wanted)
            return ticket
        replica.expect()
        try:
            fits = await replica.identity.check(replica.watched, wanted)
        except BaseException as error:
            self.ended(choice, ticket, error)
            raise
        finally:
            replica.leave()
        if fits:
            return ticket
        replica.health.ended(now, ticket, End.NEUTRAL)
        log.warning("replica", replica=replica.name, url=replica.url, reason=replica.identity.wrong[wanted])
        raise none_serves(entry, (choice,), now)

    # ------------------------------------------------------------------- after it

    def ended(
        self,
        choice: Choice,
        ticket: int,
        error: BaseException | None,
        outcome: RelayOutcome | None = None,
        *,
        proof: bool = True,
        request: Asked = b"",
    ) -> None:
        """The request is over. error: what it raised; outcome: what a relay saw in passing; proof: the model had to work for it;
        request: what it asked.
        """
        replica = choice.replica
        if error is None and ticket == replica.health.untroubled and (outcome is None or outcome.error is None):
            if self.poison.active:
                self.poison.cleared(request)
            return
        verdict = judged(error, outcome)
        now = asyncio.get_running_loop().time()
        if verdict.end is End.OK:
            replica.health.ended(now, ticket, End.OK if proof else End.NEUTRAL)
            return
        failure = outcome.error if error is None and outcome is not None else error
        if self._excused(failure, now):
            verdict = NEUTRAL
        elif _silent(replica, verdict, failure, now):
            verdict = Verdict(End.SILENT, f"it has work, and nothing came from it for {replica.silence(now):.0f} s")
        replica.health.ended(now, ticket, *verdict)
        if verdict.end is End.SILENT:
            _cut(replica)
        elif verdict.end is End.GONE:
            self.poison.died(replica.name, now)
        elif verdict.end in (End.BROKEN, End.STATUS):
            self.poison.broke(replica.name, request, now)

    def _excused(self, error: BaseException | None, now: float) -> bool:
        """Whether our own loop stood still just now: only a refused connection is not its doing."""
        refused = isinstance(error, Unavailable) and isinstance(error.__cause__, OSError)
        return now - self._late_at < GRACE and not refused

    # ------------------------------------------------------------------- by the clock

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + TICK
        self._timer = loop.call_at(self._due, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        if now - self._due > LATE:
            self._late_at = now
            log.warning("the event loop stood still", seconds=round(now - self._due, 1))
        for replica in self._fleet.all():
            self._watch_silence(replica, now)
            if replica.look_due(now) or self.poison.awaits(replica.name, now):
                replica.looked_at = now
                self._look_at(replica)
        self._wait(loop)

    def _look_at(self, replica: Replica) -> None:
        if len(self._looks) < AT_ONCE and replica not in self._looks:
            look = asyncio.create_task(self._look(replica), name=f"look at {replica.name}")
            self._looks[replica] = look
            look.add_done_callback(lambda _: self._looks.pop(replica, None))

    async def _look(self, replica: Replica) -> None:
        """See whether it accepts connections, and serves what it should: a hint for the next trial, and no more."""
        if replica.watched is None:
            return
        try:
            await replica.identity.look(replica.watched)
        except Unavailable:
            self.poison.died(replica.name, asyncio.get_running_loop().time())
        else:
            replica.health.hint(asyncio.get_running_loop().time())

    def _watch_silence(self, replica: Replica, now: float) -> None:
        limit = replica.health.rules.silence
        if limit is None or replica.health.out or now - self._late_at < GRACE:
            return
        if replica.watched is not None and replica.watched.pulse(now).in_flight and replica.silence(now) >= limit:
            replica.health.eject(now, End.SILENT, f"it has work, and nothing came from it for {limit:g} s")
            _cut(replica)


def _to_be_asked(entry: ModelEntry, choice: Choice) -> bool:
    """Whether its engine is asked what it serves: not for any name, and not for an adapter, which is loaded when it is needed."""
    return choice.replica.health.rules.identity and "*" not in entry.aliases and choice.target.spec.adapter is None


def _silent(replica: Replica, verdict: Verdict, error: BaseException | None, now: float) -> bool:
    """Whether the request ended because nothing at all came from the engine, to nobody.

    Callers who leave one after the other before their requests time out show as much as one who waited for so long.
    """
    silence = replica.silence(now)
    if isinstance(error, TimedOut) and error.waited:
        return silence >= error.waited
    return verdict.end is End.NEUTRAL and silence >= replica.spec.timeouts.first_byte


def _cut(replica: Replica) -> None:
    if replica.watched is not None:
        message = f"Engine {replica.name!r} has fallen silent and was taken out of service; ask again."
        replica.watched.cut(TimedOut(message))
