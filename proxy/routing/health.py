"""One replica's health: a state machine without a clock, fed by how real requests ended."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backends.base import HealthRules

ALONE_EVERY = 5.0  # seconds between two trials while no replica serves: longer pauses would spare nobody
LONGEST_REST = 60.0  # seconds of an engine's Retry-After that are believed
JITTER = (
    0.5  # of a pause is added by chance, so that several proxies do not try at once; below 1, so that pauses still grow
)


class State(StrEnum):
    """RESTING: it said itself that it is full. EJECTED: it failed. TRIAL: one request finds out whether it serves again."""

    SERVING = "serving"
    RESTING = "resting"
    EJECTED = "ejected"
    TRIAL = "trial"


class End(StrEnum):
    """How a request to a replica ended, as far as its health is concerned.

    NEUTRAL says nothing of it: refused with a 4xx, or the caller left. BUSY: the replica cannot take more now (429, 503).
    All others are failures. GONE: nothing accepts connections there; SILENT: it has work, and nothing at all comes from it.
    """

    OK = "ok"
    NEUTRAL = "neutral"
    BUSY = "busy"
    GONE = "gone"
    SILENT = "silent"
    TIMEOUT = "timeout"
    BROKEN = "broken"
    STATUS = "status"


AT_ONCE = frozenset({End.GONE, End.SILENT})  # each request that went there would learn the same, some of them slowly


@dataclass(frozen=True, slots=True)
class Report:
    """A replica's health for people. since: when the state began; next_trial: in seconds, None = no need of one, or under way."""

    state: State
    reason: str
    since: float
    next_trial: float | None


class ReplicaHealth:
    """Ask may_serve() before a request, then began(), and ended() with the ticket that it gave. Times are of any one clock.

    serving: whether requests may come without asking further, the one look of the hot path; epoch: which stretch of serving
    or of being out this is, and a request's ticket; kind: what it was last ejected for; changed: told when it is ejected, rests,
    and serves again.
    """

    __slots__ = (
        "_again",
        "_draw",
        "_failures",
        "_pauses",
        "_rests",
        "_since",
        "_trials",
        "_tried",
        "_until",
        "changed",
        "ejections",
        "epoch",
        "kind",
        "reason",
        "rules",
        "serving",
        "state",
    )

    def __init__(self, rules: HealthRules, draw: Callable[[], float] = random.random) -> None:
        self.rules = rules
        self.state = State.SERVING
        self.serving = True
        self.reason = ""
        self.kind: End | None = None
        self.epoch = 0
        self.ejections: Counter[End] = Counter()
        self.changed: Callable[[ReplicaHealth], None] = _nobody
        self._draw = draw
        self._failures = 0  # in a row
        self._pauses = 0  # of growing length, one after the other
        self._rests = 0
        self._since = 0.0
        self._until = 0.0  # of a rest or a pause
        self._trials = 0  # under way: one, or more where nobody serves
        self._tried = 0.0  # when the last trial began, or the last failure was
        self._again = float("-inf")  # when it last began to serve again

    # ------------------------------------------------------------------- what may be asked

    @property
    def out(self) -> bool:
        """Whether only a trial may go there."""
        return self.state in (State.EJECTED, State.TRIAL)

    @property
    def untroubled(self) -> int | None:
        """The epoch, where one more success is no news; None where it is."""
        return self.epoch if self.serving and not (self._failures or self._rests) else None

    @property
    def tried(self) -> float:
        """When the last trial began, or the last failure was."""
        return self._tried

    def may_serve(self, now: float) -> bool:
        """Whether a request may go there, as one of many or as the trial."""
        if self.state is State.RESTING and now >= self._until:
            self._serve(now)
        return self.serving or (self.state is State.EJECTED and now >= self._until)

    def alone_in(self, now: float) -> float:
        """Seconds until a request may go there even though it is out, because all others are, too; 0 = now."""
        if not self.out:
            return 0.0
        due = self._tried + ALONE_EVERY
        return max(0.0, (min(self._until, due) if self.state is State.EJECTED else due) - now)

    def report(self, now: float) -> Report:
        """For people."""
        waits = self.state in (State.RESTING, State.EJECTED)
        return Report(self.state, self.reason, self._since, max(0.0, self._until - now) if waits else None)

    # ------------------------------------------------------------------- what it is told

    def began(self, now: float) -> int:
        """A request goes there. The ticket is for ended() and proved()."""
        if self.out:
            self._tried = now
            self._trials += 1
            self._enter(State.TRIAL, now, self.reason)
        return self.epoch

    def proved(self, now: float, ticket: int) -> None:
        """A trial has shown before its end that the replica works: its answer began."""
        if self.out and ticket == self.epoch:
            self._serve(now)

    def ended(self, now: float, ticket: int, end: End, reason: str = "", retry_after: float | None = None) -> None:
        """The request is over. retry_after: seconds, where a busy engine told them."""
        if ticket != self.epoch:
            self._late(now, end)
            return
        self._trials -= self.out
        if end is End.OK:
            self._failures = self._rests = 0
            self.proved(now, ticket)
        elif end is End.NEUTRAL:
            self._try_again(now, 0.0)
        elif end is End.BUSY:
            self._rest(now, reason, retry_after)
        else:
            self._failures += 1
            if self.out or end in AT_ONCE or self._failures >= self.rules.failures:
                self.eject(now, end, reason)

    def eject(self, now: float, kind: End, reason: str) -> None:
        """Take it out, for longer each time unless it had served for long."""
        if not self.out and now - self._again >= self.rules.longest_pause:
            self._pauses = 0
        pause = self.rules.first_pause * 2.0 ** min(self._pauses, 64) * (1 + JITTER * self._draw())
        self._pauses += 1
        self._until = now + min(pause, self.rules.longest_pause)
        self._tried = now
        self.kind = kind
        self.ejections[kind] += 1
        self.epoch += 1
        self._trials = 0
        self._enter(State.EJECTED, now, reason)
        self.changed(self)

    def hint(self, now: float) -> None:
        """It accepts connections again, where it had not: a request may find out at once."""
        if self.state is State.EJECTED and self.kind is End.GONE:
            self._until = min(self._until, now)

    def renewed(self, now: float) -> None:
        """Another engine has been started in its place, and was seen to serve: nothing is held against that."""
        self.epoch += 1
        self._pauses = self._rests = self._failures = self._trials = 0
        if self._enter(State.SERVING, now, ""):
            self.changed(self)

    # ------------------------------------------------------------------- changes of state

    def _late(self, now: float, end: End) -> None:
        """What began before it was ejected: a whole answer is worth a trial, and nothing more can be held against it."""
        if end is End.OK and self.state is State.EJECTED and self.kind not in AT_ONCE:
            self._until = min(self._until, now)

    def _rest(self, now: float, reason: str, retry_after: float | None) -> None:
        """Nothing is wrong with it: other replicas are preferred for a moment, and it still serves where there is none."""
        seconds = 2.0 ** min(self._rests, 3) if retry_after is None else retry_after
        seconds = min(max(seconds, 0.0), LONGEST_REST)
        self._rests += 1
        if self.out:
            self._try_again(now, seconds)
        elif seconds:
            self._until = now + seconds
            if self._enter(State.RESTING, now, reason):
                self.changed(self)

    def _try_again(self, now: float, seconds: float) -> None:
        """A trial that showed nothing is another's turn."""
        if self.state is State.TRIAL and not self._trials:
            self._until = now + seconds
            self._enter(State.EJECTED, now, self.reason)

    def _serve(self, now: float) -> None:
        if self.out:
            self.epoch += 1
            self._trials = 0
            self._again = now
        self._failures = 0
        self._enter(State.SERVING, now, "")
        self.changed(self)

    def _enter(self, state: State, now: float, reason: str) -> bool:
        """Whether that is a change."""
        before, self.state, self.reason = self.state, state, reason
        self.serving = state is State.SERVING
        if state is before:
            return False
        if {state, before} != {State.EJECTED, State.TRIAL}:  # a trial is a part of being out
            self._since = now
        return True


def ready(replicas: Sequence[ReplicaHealth], now: float, *, trials: bool = True) -> Sequence[int]:
    """The indexes of those that may get the next request as a matter of course. trials: it may be the one that finds out.

    A trial that is due takes the request, or a policy that knows better would leave the replica out for good.
    """
    able = [index for index, replica in enumerate(replicas) if replica.may_serve(now)]
    serving = [index for index in able if replicas[index].serving]
    due = [index for index in able if not replicas[index].serving]
    return due[:1] if due and (trials or not serving) else serving


def last_resort(replicas: Sequence[ReplicaHealth], now: float) -> Sequence[int]:
    """The indexes of those that may get it where none is ready.

    The resting ones do; and where all are out, the one whose last trial is longest ago, each ALONE_EVERY seconds.
    """
    resting = [index for index, replica in enumerate(replicas) if replica.state is State.RESTING]
    if resting:
        return resting
    alone = [index for index, replica in enumerate(replicas) if not replica.alone_in(now)]
    return [min(alone, key=lambda index: replicas[index].tried)] if alone else []


def _nobody(_: ReplicaHealth) -> None:
    """Nobody wants to know."""
