"""The next replica for a request: what is known of both, put before the model's policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from backends.errors import Unavailable
from backends.types import Chat, Complete, JsonObject, Request
from proxy.registry.models import ModelEntry, PolicyName, Target
from proxy.routing.policy import POLICIES, Ask, Candidate, choose, number_of
from proxy.routing.prefixes import Blocks, blocks_of
from proxy.routing.standing import Reading, Sent, Standing

if TYPE_CHECKING:
    from proxy.routing.fleet import Choice
    from proxy.routing.replica import Replica

READING: Final[frozenset[PolicyName]] = frozenset({"balanced", "prefix_aware"})
"""The policies that look at prompts."""


class Wanted:
    """What choosing looks at of one request, as far as it has to. session: the key of its session, if it has one.

    chosen: the replica that it was sent to last.
    """

    __slots__ = ("_blocks", "_prompt", "_sent", "chosen", "session")

    def __init__(self, prompt: JsonObject | Request | None = None, session: str | None = None) -> None:
        self.session = session
        self.chosen: Replica | None = None
        self._prompt = prompt
        self._blocks: Blocks | None = None
        self._sent: Sent | None = None

    def blocks(self, model: str) -> Blocks:
        """The prompt's blocks, told from those of other models, read when they are first asked for."""
        if self._blocks is None:
            prompt = self._prompt
            self._blocks = blocks_of(prompt, model) if isinstance(prompt, (dict, Chat, Complete)) else ()
        return self._blocks

    def sent_to(self, standing: Standing, now: float) -> None:
        """A replica has been chosen for it."""
        self.begun()
        self._sent = standing.send(self._blocks, now) if self._blocks else None

    def begun(self) -> None:
        """Its first token is there, or it has ended without: what its prompt took is done. Once or more often."""
        if self._sent is not None:
            self._sent.begun()


class Selector:
    """Owner of the turns: how many requests each model has had."""

    def __init__(self) -> None:
        self._turns: dict[str, int] = {}

    def choose(self, entry: ModelEntry, choices: Sequence[Choice], wanted: Wanted, now: float) -> Choice:
        """One of these, all of which can take the request, by the model's policy; at least one. now: on the loop's clock.

        Raises Unavailable where all have begun to drain meanwhile.
        """
        if len(choices) == 1:
            wanted.chosen = choices[0].replica
            return choices[0]
        turn = self._turns.get(entry.name, 0)
        self._turns[entry.name] = turn + 1
        blocks = wanted.blocks(entry.name) if entry.policy in READING else ()
        session = None if wanted.session is None else number_of(wanted.session)
        candidates = [_candidate(choice, blocks, now) for choice in choices]
        index = choose(POLICIES[entry.policy], candidates, Ask(turn, session, len(blocks)))
        if index is None:
            raise Unavailable(f"No replica of `{entry.name}` takes new requests any more; retry.", retry_after=1)
        choice = choices[index]
        wanted.chosen = choice.replica
        wanted.sent_to(choice.replica.standing, now)
        return choice


def _candidate(choice: Choice, blocks: Blocks, now: float) -> Candidate:
    target, replica = choice
    return replica.standing.candidate(
        replica.in_flight,
        blocks,
        now,
        group=target.engine,
        usable=not replica.draining,
        room=target.spec.adapter is None or _room(replica.standing.reading, target),
        priority=target.priority,
        weight=target.weight,
    )


def _room(reading: Reading | None, target: Target) -> bool:
    """Whether a replica has the adapter in use, or a place for it; as long as nobody knows better it has."""
    if reading is None or not reading.gauges.max_adapters:
        return True
    used = reading.gauges.adapters
    return target.spec.source in used or len(used) < reading.gauges.max_adapters
