"""Which replica gets a request: policies as pure functions, values in, an index out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from proxy.registry.models import PolicyName

# The constants were chosen in the simulator (tests/sim); docs/routing.md has what they give.

MISSING = 2.0
"""What a block of the prompt counts that is not cached: it is computed, and takes the place of another in the cache."""
POPULAR = 5
"""After so many uses of the prompt's beginning it counts half of that, after twice as many a third: more will come."""
BUSY = 1.0
"""Blocks to compute that one more request at a replica counts as."""
FULL = 0.5
"""The same for a cache of which running requests hold half; 9 times as much where they hold nine tenths."""
SLACK = 2.0, 1.5
"""A session's own replica keeps it while it has at most so much more to do than the least busy one, or so many times as much."""
CROWDED = 4.0, 2.0
"""A replica with so many more requests than the mean, and so many times the mean, gets no more, whatever it has cached."""
WIDE = 16
"""With more replicas than this, two at random and the one with most of the prompt stand for all."""
PREFIX = 0.3
"""The part of a prompt from which on `prefix_aware` follows it."""

_GOLDEN = 0.6180339887498949
_MASK = (1 << 64) - 1


class Candidate(NamedTuple):
    """A replica that could serve a request, as policies see it.

    number: tells it from the others, the same in every proxy; group: its engine; load: requests that it has, as far as is
    known, those that wait counted more; in_flight: those of them that this proxy sent; ahead: blocks of prompts that it was
    sent and has yet to compute; matched: blocks of this prompt that its cache is thought to hold; uses: how often it was sent
    the last of those; kv: the part of its cache that is in use. usable: healthy, and neither draining nor asleep; room: it has
    the LoRA adapter that is asked for, or can take it now. weight: its engine's share of the requests, None = as the load has it.
    """

    number: int
    group: str
    load: float
    in_flight: int = 0
    ahead: int = 0
    matched: int = 0
    uses: int = 0
    kv: float = 0.0
    usable: bool = True
    room: bool = True
    priority: int = 0
    weight: float | None = None


_LIMITS = Candidate._fields.index("usable")
_UNLIMITED = Candidate(0, "", 0.0)[_LIMITS:]


class Ask(NamedTuple):
    """What a policy knows of a request: how many came before it, the number of its session's key, and its prompt's blocks."""

    turn: int
    session: int | None = None
    blocks: int = 0


Policy: TypeAlias = Callable[[Sequence[Candidate], Ask], int]


def choose(policy: Policy, candidates: Sequence[Candidate], ask: Ask) -> int | None:
    """The index of the candidate to send the request to; None when none can take it.

    Unusable ones never are chosen. Of the others those of the lowest priority number count; where engines have weights, those
    of the engine whose turn it is; where some have room for the adapter, those. Among these the policy chooses.
    """
    if len(candidates) > 1 and all(each[_LIMITS:] == _UNLIMITED for each in candidates):
        return policy(candidates, ask)
    allowed = [index for index, each in enumerate(candidates) if each.usable]
    if len(allowed) > 1:
        first = min(candidates[index].priority for index in allowed)
        allowed = [index for index in allowed if candidates[index].priority == first]
        allowed = _share(candidates, allowed, ask)
        allowed = [index for index in allowed if candidates[index].room] or allowed
    if len(allowed) < 2:
        return allowed[0] if allowed else None
    return allowed[policy([candidates[index] for index in allowed], ask)]


def _share(candidates: Sequence[Candidate], allowed: list[int], ask: Ask) -> list[int]:
    """Those of the engine whose turn it is, where engines have weights."""
    shares = {each.group: each.weight for index in allowed if (each := candidates[index]).weight is not None}
    if not shares:
        return allowed
    chosen = split(shares, ask)
    return [index for index in allowed if candidates[index].group == chosen]


def split(shares: Mapping[str, float], ask: Ask) -> str:
    """Whose turn it is: each gets its part of any run of turns, to within one or two. Shares are above zero.

    A session draws by weighted rendezvous instead, and stays with what it drew: when one of them goes, only its own move.
    """
    if ask.session is not None:
        session = ask.session
        return max(shares, key=lambda name: -shares[name] / math.log(_uniform(session ^ number_of(name))))
    # Multiples of the golden ratio fill the circle as evenly as any sequence can that does not know its length.
    point = ask.turn * _GOLDEN % 1.0 * sum(shares.values())
    *others, last = shares
    for name in others:
        point -= shares[name]
        if point < 0:
            return name
    return last


# --------------------------------------------------------------------------- policies


def round_robin(candidates: Sequence[Candidate], ask: Ask) -> int:
    """Each in turn."""
    return ask.turn % len(candidates)


def least_in_flight(candidates: Sequence[Candidate], ask: Ask) -> int:
    """The one that has fewest of this proxy's requests; equals take turns."""
    return _least(candidates, ask, lambda each: (each.in_flight,))


def power_of_two(candidates: Sequence[Candidate], ask: Ask) -> int:
    """The less busy of two at random."""
    return min(_two(len(candidates), ask.turn), key=lambda index: candidates[index].load)


def prefix_aware(candidates: Sequence[Candidate], ask: Ask) -> int:
    """The one that has most of the prompt in its cache, however busy it is; the least busy where none has much of it."""
    enough = max(1.0, PREFIX * ask.blocks)
    return _least(candidates, ask, lambda each: (-each.matched if each.matched >= enough else 0, each.load))


def session_affinity(candidates: Sequence[Candidate], ask: Ask) -> int:
    """A session's own replica, by rendezvous hashing: when one goes, only its sessions move. The least busy without one."""
    if ask.session is None:
        return _least(candidates, ask, lambda each: (each.load,))
    session = ask.session
    return max(range(len(candidates)), key=lambda index: _scatter(session ^ candidates[index].number))


def balanced(candidates: Sequence[Candidate], ask: Ask) -> int:
    """The one with least to do before this request's first token; a session's own while that has hardly more to do.

    To do are the prompt's blocks that are not cached there, the blocks of others before it, and a share of each request
    that it has. What is cached makes no hot spot: the more a prompt is used the less it counts where it is cached already, and
    a replica that is crowded next to the others gets no more.
    """
    mean = sum([each.load for each in candidates]) / len(candidates)
    most = max(mean + CROWDED[0], mean * CROWDED[1])
    free = [index for index in _turns(candidates, ask) if candidates[index].load <= most]
    if len(free) > WIDE:
        likeliest = max(free, key=lambda index: (candidates[index].matched, -candidates[index].load))
        free = [likeliest, *(free[index] for index in _two(len(free), ask.turn))]
    uses = max([(each.matched, each.uses) for each in candidates])[1]
    missing = MISSING / (1 + uses / POPULAR)
    to_do = {index: _to_do(candidates[index], ask.blocks, missing) for index in free}
    nearest = min(to_do, key=to_do.__getitem__)
    if ask.session is not None:
        session, least = ask.session, to_do[nearest]
        home = max(free, key=lambda index: (candidates[index].matched, _scatter(session ^ candidates[index].number)))
        if to_do[home] <= max(least + SLACK[0], least * SLACK[1]):
            return home
    return nearest


def _to_do(candidate: Candidate, blocks: int, missing: float) -> float:
    """In blocks of prompts. missing: what one that is not cached counts."""
    work = missing * (blocks - candidate.matched) + candidate.ahead + BUSY * candidate.load
    return work + FULL * candidate.kv / max(0.001, 1.0 - candidate.kv) if candidate.kv else work


POLICIES: Mapping[PolicyName, Policy] = {
    "balanced": balanced,
    "least_in_flight": least_in_flight,
    "power_of_two": power_of_two,
    "prefix_aware": prefix_aware,
    "round_robin": round_robin,
    "session_affinity": session_affinity,
}


# --------------------------------------------------------------------------- drawing


def number_of(name: str) -> int:
    """64 bits that stand for a session's key, a replica or an engine: the same in every proxy."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _least(candidates: Sequence[Candidate], ask: Ask, cost: Callable[[Candidate], tuple[float, ...]]) -> int:
    """The index of the one that costs least; equals take turns."""
    return min(_turns(candidates, ask), key=lambda index: cost(candidates[index]))


def _turns(candidates: Sequence[Candidate], ask: Ask) -> list[int]:
    """Every index, beginning with the one whose turn it is: of equals the first is taken."""
    count = len(candidates)
    first = ask.turn % count
    return [*range(first, count), *range(first)]


def _two(count: int, turn: int) -> tuple[int, int]:
    """Two different indices below `count`, at random as the turns go."""
    drawn = _scatter(turn)
    first = drawn % count
    return first, (first + 1 + (drawn >> 32) % (count - 1)) % count


def _uniform(number: int) -> float:
    """The number's draw from the open interval (0, 1)."""
    return ((_scatter(number) >> 11) + 0.5) / 2.0**53


def _scatter(number: int) -> int:
    """64 bits that look random and are a function of the number (the finalizer of splitmix64; Steele, Lea, Flood 2014)."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ number >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ number >> 27) * 0x94D049BB133111EB) & _MASK
    return number ^ number >> 31
