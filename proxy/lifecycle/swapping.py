"""Who makes room in memory for a load, at the least cost: plain values and no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

from proxy.lifecycle.scheduler import PATIENCE, Key, Policy, Resident, leaving_order

MOST_COMPARED = 10
"""Residents of which every choice is compared; of more, the cheapest go until there is room."""


@dataclass(frozen=True, slots=True)
class Swap:
    """What to do for a load. fits: start it; hopeless: nothing that may leave holds enough; else wait, and ask again.

    evict: leave now; drain: take no new requests, so that they can leave; again: when to ask if nothing happens before.
    """

    fits: bool = False
    hopeless: bool = False
    evict: tuple[Key, ...] = ()
    drain: tuple[Key, ...] = ()
    again: float | None = None


def swap(
    others: Sequence[Resident], need_mb: float, free_mb: float, *, policy: Policy, since: float, now: float
) -> Swap:
    """What to do for a load that needs so much where so much is free. others: on the same device, without the load itself.

    since: when it began to wait. Models that nobody uses leave at once, the set that costs least. An engine in use is drained
    for who has waited for PATIENCE, and not before it has served for as long as its own start took: then whoever waits gets its
    turn, and most of the time is spent on serving all the same.
    """
    reserved = sum((each.memory_mb or 0.0 for each in others if each.state == "loading" and each.outside), 0.0)
    if need_mb <= free_mb - reserved:
        return Swap(fits=True)
    missing = need_mb - free_mb
    if any(each.state == "unloading" or (each.state == "loading" and each.outside) for each in others):
        # What it holds in the end is measured then; nobody is to leave for what may be enough already.
        return Swap()
    there = [each for each in others if each.state == "loaded" and not each.pinned]
    spare = cheapest([each for each in there if each.spare], missing, policy)
    if spare is not None:
        return Swap(evict=spare)
    chosen = cheapest([each for each in there if each.spare or each.outside], missing, policy)
    if chosen is None:
        return Swap(hopeless=True)
    busy = [each for each in there if each.key in chosen and each.busy]
    due = max((max(since + PATIENCE, each.loaded_at + each.stay) for each in busy if not each.draining), default=now)
    return Swap(drain=tuple(each.key for each in busy)) if due <= now else Swap(again=due)


def cheapest(residents: Iterable[Resident], missing_mb: float, policy: Policy) -> tuple[Key, ...] | None:
    """Whom to let go for so many MB: those who together cost least, among equals those who leave first by the policy.

    In the order in which they leave; None when all of them hold less, as far as that was measured.
    """
    if missing_mb <= 0:
        return ()
    order = [each for each in leaving_order(residents, policy) if each.memory_mb]
    # One that is on its way out stays so: else two that are in use would be drained by turns, and neither would end.
    costs = [0.0 if each.draining else each.cost for each in order]
    held = [each.memory_mb or 0.0 for each in order]
    few = len(order) <= MOST_COMPARED
    choices = _subsets(range(len(order))) if few else _prefixes(sorted(range(len(order)), key=costs.__getitem__))
    enough = (choice for choice in choices if sum(held[rank] for rank in choice) >= missing_mb)
    best = min(
        enough, key=lambda choice: (sum(costs[rank] for rank in choice), sorted(choice, reverse=True)), default=None
    )
    return None if best is None else tuple(order[rank].key for rank in sorted(best))


def _subsets(ranks: Sequence[int]) -> Iterable[tuple[int, ...]]:
    return chain.from_iterable(combinations(ranks, size) for size in range(1, len(ranks) + 1))


def _prefixes(ranks: Sequence[int]) -> Iterable[tuple[int, ...]]:
    return (tuple(ranks[:size]) for size in range(1, len(ranks) + 1))
