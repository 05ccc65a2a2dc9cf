"""Whatever is asked of sessions in whatever order, by two owners at two proxies: they answer as a plain dict would."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from backends.types import JsonObject
from proxy.errors import ApiError, ErrorCode
from proxy.sessions.merge import merged
from proxy.sessions.sessions import Sessions
from proxy.storage.database import Database
from proxy.storage.location import Location
from tests.proxy.sessions.world import IDLE, Clock, sessions

T = TypeVar("T")

OWNERS = ("a", "b")
MOST = 4

changes = st.sampled_from(
    [
        {},
        {"asr": {"language": "de"}},
        {"asr": {"language": None}},
        {"asr": {"model_id": "ears-2", "parameters": {"beam_size": 2}}},
        {"asr": {"parameters": None}},
        {"asr": {"parameters": {"beam_size": 3, "initial_prompt": "ü\x01"}}},
        {"mt": {"target_language": "fr", "compute_config": {"batch_size": 2}}},
        {"mt": None},
    ]
)
wrong = st.sampled_from(
    [{"asr": {"model_id": "nothing"}}, {"mt": {"parameters": {"beam_size": 0}}}, {"x": 1}, {"asr": {"x": None}}]
)


@dataclass
class Row:
    """A session as the model has it. left: seconds until it expires, were it not named again."""

    owner: str
    said: JsonObject
    staged: JsonObject | None = None
    left: float = IDLE

    def named(self) -> None:
        """Somebody has named it."""
        if self.left < IDLE * 0.95:
            self.left = IDLE


@dataclass
class World:
    """What outlives one run: the loop and the databases, which are opened once."""

    runner: asyncio.Runner
    locations: Location
    databases: list[Database] = field(default_factory=list)

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        return self.runner.run(coroutine)


def machine(world: World) -> type[RuleBasedStateMachine]:
    class Machine(RuleBasedStateMachine):
        ids = Bundle("ids")

        @initialize()
        def begin(self) -> None:
            self.clock = Clock()
            self.rows: dict[str, Row] = {}
            self.proxies: list[Sessions] = [sessions(database, self.clock, most=MOST) for database in world.databases]
            for owner in OWNERS:
                world.run(self.proxies[0].end_all(owner))

        def alive(self, sid: str, owner: str) -> Row | None:
            row = self.rows.get(sid)
            return row if row is not None and row.owner == owner else None

        def outcome(self, coroutine: Coroutine[object, object, T]) -> T | ErrorCode:
            try:
                return world.run(coroutine)
            except ApiError as error:
                return error.code

        @rule(target=ids, owner=st.sampled_from(OWNERS), change=changes, at=st.integers(0, 1))
        def create(self, owner: str, change: JsonObject, at: int) -> str:
            made = self.outcome(self.proxies[at].create(owner, change))
            if sum(row.owner == owner for row in self.rows.values()) >= MOST:
                assert made == ErrorCode.OVERLOADED
                return "sess_" + "0" * 32
            assert not isinstance(made, ErrorCode)
            self.rows[made.id] = Row(owner, merged({}, change))
            return made.id

        @rule(sid=ids, owner=st.sampled_from(OWNERS), change=changes, immediately=st.booleans(), at=st.integers(0, 1))
        def configure(self, sid: str, owner: str, change: JsonObject, immediately: bool, at: int) -> None:
            done = self.outcome(self.proxies[at].configure(owner, sid, change, immediately=immediately))
            row = self.alive(sid, owner)
            if row is None:
                assert done == ErrorCode.NOT_FOUND
                return
            assert not isinstance(done, ErrorCode)
            latest = merged(row.said if row.staged is None else row.staged, change)
            assert done.applied == (immediately and latest != row.said)
            row.said, row.staged = (latest, None) if immediately or latest == row.said else (row.said, latest)
            row.left = IDLE
            assert (done.session.said, done.session.staged) == (row.said, row.staged)

        @rule(sid=ids, owner=st.sampled_from(OWNERS), change=wrong, at=st.integers(0, 1))
        def refuse(self, sid: str, owner: str, change: JsonObject, at: int) -> None:
            done = self.outcome(self.proxies[at].configure(owner, sid, change, immediately=True))
            if self.alive(sid, owner) is None:
                assert done == ErrorCode.NOT_FOUND
            else:
                assert done in (ErrorCode.INVALID, ErrorCode.MODEL_NOT_FOUND)

        @rule(sid=ids, owner=st.sampled_from(OWNERS), at=st.integers(0, 1))
        def connect(self, sid: str, owner: str, at: int) -> None:
            done = self.outcome(self.proxies[at].connect(owner, sid))
            row = self.alive(sid, owner)
            if row is None:
                assert done == ErrorCode.NOT_FOUND
                return
            assert not isinstance(done, ErrorCode)
            assert (done is None) == (row.staged is None)
            row.said, row.staged = row.said if row.staged is None else row.staged, None
            row.named()
            if done is not None:
                assert (done.session.said, done.session.staged, done.applied) == (row.said, None, True)

        @rule(sid=ids, owner=st.sampled_from(OWNERS), at=st.integers(0, 1))
        def get(self, sid: str, owner: str, at: int) -> None:
            done = self.outcome(self.proxies[at].get(owner, sid))
            row = self.alive(sid, owner)
            if row is None:
                assert done == ErrorCode.NOT_FOUND
                return
            assert not isinstance(done, ErrorCode)
            row.named()
            assert (done.said, done.staged) == (row.said, row.staged)
            assert abs((done.expires - self.clock.now).total_seconds() - row.left) < 1e-3

        @rule(sid=ids, owner=st.sampled_from(OWNERS), at=st.integers(0, 1))
        def end(self, sid: str, owner: str, at: int) -> None:
            done = self.outcome(self.proxies[at].end(owner, sid))
            if self.alive(sid, owner) is None:
                assert done == ErrorCode.NOT_FOUND
            else:
                assert done is None
                del self.rows[sid]

        @rule(owner=st.sampled_from(OWNERS), at=st.integers(0, 1))
        def end_all(self, owner: str, at: int) -> None:
            mine = {sid for sid, row in self.rows.items() if row.owner == owner}
            assert set(world.run(self.proxies[at].end_all(owner))) == mine
            for sid in mine:
                del self.rows[sid]

        @rule(share=st.sampled_from([0.01, 0.04, 0.3, 0.6, 0.99]))
        def time_passes(self, share: float) -> None:
            self.clock.advance(IDLE * share)
            for row in self.rows.values():
                row.left -= IDLE * share
            self.rows = {sid: row for sid, row in self.rows.items() if row.left > 1e-6}

        @rule()
        def restart(self) -> None:
            world.run(world.databases[0].close())
            world.databases[0] = Database(world.locations)
            self.proxies[0] = sessions(world.databases[0], self.clock, most=MOST)

        @invariant()
        def lists(self) -> None:
            if not hasattr(self, "rows"):
                return
            for owner in OWNERS:
                kept = {session.id: session.said for session in world.run(self.proxies[1].all(owner))}
                assert kept == {sid: row.said for sid, row in self.rows.items() if row.owner == owner}

    return Machine


def test_sessions_are_a_dict(location: Location) -> None:
    with asyncio.Runner() as runner:
        world = World(runner, location, [Database(location), Database(location)])
        run_state_machine_as_test(
            machine(world),
            settings=settings(
                max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
        for database in world.databases:
            runner.run(database.close())
