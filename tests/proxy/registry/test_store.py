"""The registry against a dictionary, step by step, on SQLite and on PostgreSQL; and while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from backends.base import EngineSpec, ModelSpec
from proxy.registry import live as live_module
from proxy.registry.live import LiveRegistry
from proxy.registry.models import ModelEntry, Registry
from proxy.registry.rows import TYPES, Model, merged
from proxy.storage.database import Database
from proxy.storage.errors import StorageUnavailable
from proxy.storage.location import Location, Postgres, SqliteFile
from tests.gate import Gate
from tests.postgres import Cluster

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
ENGINES = {kind: EngineSpec(name=kind, kind=kind) for kind in ("transformers", "translation", "pipelines")}
HOUSE = ModelEntry(name="house", engine="transformers", spec=ModelSpec(source="s"), task="text")
CONFIGURED = Registry(engines=ENGINES, models=(HOUSE,))
IDS = st.sampled_from(["house", "a", "b", "owner/c", "owner/d.e-f"])
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES,
        "description": NAMES,
        "parameters": st.dictionaries(NAMES, JSON, max_size=3),
        "status": st.sampled_from(["available", "retired"]),
    },
).filter(bool)


class Clock:
    """Each look is a microsecond later."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now


class RegistryMachine(RuleBasedStateMachine):
    """Every step is done to a registry, which may be restarted at any time, and to a dictionary."""

    location: Location

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.published: list[Registry] = []
        self.live = self.open()
        house = self.do(self.live.get("house"))
        assert house is not None
        self.models: dict[str, Model] = {"house": house}

    def do(self, work: Coroutine[object, object, T]) -> T:
        return self.runner.run(work)

    def open(self) -> LiveRegistry:
        self.database = Database(self.location)
        live = LiveRegistry(CONFIGURED, self.database, self.published.append, self.clock)
        self.do(live.start())
        return live

    def close(self) -> None:
        self.do(self.live.close())
        self.do(self.database.close())

    @rule(model_id=IDS, model_type=st.sampled_from(list(TYPES)), name=NAMES, parameters=st.dictionaries(NAMES, JSON))
    def add(self, model_id: str, model_type: str, name: str, parameters: dict[str, object]) -> None:
        model = Model(
            model_id=model_id,
            name=name,
            model_type=model_type,
            added=self.clock(),
            parameters=parameters,  # type: ignore[arg-type]
        )
        assert self.do(self.live.add(model)) == (model_id not in self.models)
        self.models.setdefault(model_id, model)

    @rule(model_id=IDS, changes=CHANGES)
    def update(self, model_id: str, changes: dict[str, object]) -> None:
        before = self.models.get(model_id)
        after = self.do(self.live.update(model_id, changes))
        assert after == (None if before is None else replace(before, **changes))  # type: ignore[arg-type]
        if after is not None:
            self.models[model_id] = after

    @rule(model_id=IDS)
    def remove(self, model_id: str) -> None:
        left = self.do(self.live.remove(model_id))
        if model_id == "house" or model_id not in self.models:
            assert left is None
        else:
            del self.models[model_id]
            assert left is not None
            assert [*left.models] == self.expected()

    @rule(model_id=IDS, times=st.integers(1, 3))
    def use(self, model_id: str, times: int) -> None:
        async def used() -> None:
            await asyncio.gather(*(self.live.used(model_id) for _ in range(times)))

        self.do(used())
        if model_id in self.models:
            old = self.models[model_id]
            self.models[model_id] = replace(old, usage_count=old.usage_count + times, last_used=self.clock.now)

    @rule()
    def restart(self) -> None:
        self.close()
        self.live = self.open()
        started = self.do(self.live.get("house"))
        assert started is not None
        if self.models["house"].added != started.added:
            # Nothing was ever noted of it: it counts from the start of the process.
            assert started == replace(self.models["house"], added=started.added)
            self.models["house"] = started

    @invariant()
    def they_agree(self) -> None:
        listing = self.do(self.live.all())
        assert [*listing.models] == self.expected()
        for model_id in ("house", "a", "owner/c"):
            assert self.do(self.live.get(model_id)) == self.models.get(model_id)
        if self.published:
            assert self.published[-1] == merged(CONFIGURED, self.expected())

    def expected(self) -> list[Model]:
        house, *others = self.models.values()
        assert house.model_id == "house"
        return [house, *sorted(others, key=lambda model: (model.added, model.model_id))]

    def teardown(self) -> None:
        self.close()
        self.runner.close()


def test_the_registry_is_a_dictionary(location: Location, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    cluster: Cluster | None = request.getfixturevalue("postgres") if isinstance(location, Postgres) else None
    urls: list[str] = []

    class Machine(RegistryMachine):
        def __init__(self) -> None:
            if cluster is None:
                self.location = SqliteFile(tmp_path / f"{len(urls)}.sqlite3")
                urls.append("")
            else:
                urls.append(cluster.create())
                self.location = Postgres(urls[-1])
            super().__init__()

        def teardown(self) -> None:
            super().teardown()
            if cluster is not None:
                cluster.give_back(urls[-1])

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=checks)
    )


@pytest.fixture
async def gate(postgres: Cluster) -> AsyncIterator[Gate]:
    async with Gate(postgres.port) as gate:
        yield gate


async def test_what_is_known_is_served_and_counted_while_the_database_is_away(
    postgres: Cluster, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(live_module, "AWAY_SECONDS", 0.1)
    url = postgres.create().replace(f":{postgres.port}/", f":{gate.port}/")
    database = Database(Postgres(url))
    live = LiveRegistry(CONFIGURED, database, lambda _: None)
    await live.start()
    await live.add(Model(model_id="a", name="A", model_type="translation", added=START))
    await gate.shut()
    assert await live.known("a") is not None
    await asyncio.gather(live.used("a"), live.used("a"), live.used("house"))
    for away in (live.all(), live.get("a"), live.known("b"), live.remove("a"), live.update("a", {"name": "n"})):
        with pytest.raises(StorageUnavailable):
            await away
    gate.open()
    counts: dict[str, int] = {}
    for _ in range(200):
        with suppress(StorageUnavailable):
            counts = {model.model_id: model.usage_count for model in (await live.all()).models}
        if any(counts.values()):
            break
        await asyncio.sleep(0.05)
    assert counts == {"a": 2, "house": 1}
    await live.close()
    await database.close()


async def test_a_proxy_starts_without_its_database_and_finds_its_rows_later(
    postgres: Cluster, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(live_module, "AWAY_SECONDS", 0.05)
    url = postgres.create()
    first = Database(Postgres(url))
    await LiveRegistry(CONFIGURED, first, lambda _: None).add(
        Model(model_id="a", name="A", model_type="translation", added=START)
    )
    await first.close()
    await gate.shut()
    found = asyncio.Event()
    database = Database(Postgres(url.replace(f":{postgres.port}/", f":{gate.port}/")))

    def published(registry: Registry) -> None:
        if "a" in registry.names():
            found.set()

    live = LiveRegistry(CONFIGURED, database, published)
    await live.start()
    assert not found.is_set()
    gate.open()
    async with asyncio.timeout(20):
        await found.wait()
    await live.close()
    await database.close()


async def test_counting_hands_over_what_is_left_at_the_end(database: Database) -> None:
    async with database.read():
        """Opened: what is left to do is quick."""
    live = LiveRegistry(CONFIGURED, database, lambda _: None)
    waiting = asyncio.create_task(live.used("house"))
    await asyncio.sleep(0)
    await live.close()
    await waiting
    model = await live.get("house")
    assert model is not None
    assert model.usage_count == 1


async def test_another_configuration_is_served_beside_the_same_rows(database: Database) -> None:
    served: list[Registry] = []
    clock = Clock()
    live = LiveRegistry(CONFIGURED, database, served.append, clock)
    await live.start()
    await live.add(Model(model_id="a", name="A", model_type="translation", added=START))
    barn = ModelEntry(name="barn", engine="transformers", spec=ModelSpec(source="t"), task="text", aliases=("shed",))
    live.configure(replace(CONFIGURED, models=(HOUSE, barn)), frozenset())
    assert [entry.name for entry in served[-1].models] == ["house", "barn", "a"]
    house, shed = await live.get("house"), await live.known("shed")
    assert house is not None and shed is not None
    assert shed.model_id == "barn" and house.added < shed.added
    assert await live.add(replace(shed, source="registry")) is False
    live.configure(replace(CONFIGURED, models=(barn,)), frozenset())
    assert [entry.name for entry in served[-1].models] == ["barn", "a"]
    assert not live.is_configured("house") and await live.get("house") is None
    await live.close()


async def test_rows_stay_served_when_the_configuration_changes_while_the_database_is_away(
    postgres: Cluster, gate: Gate
) -> None:
    served: list[Registry] = []
    database = Database(Postgres(postgres.create().replace(f":{postgres.port}/", f":{gate.port}/")))
    live = LiveRegistry(CONFIGURED, database, served.append)
    await live.start()
    await live.add(Model(model_id="a", name="A", model_type="translation", added=START))
    await gate.shut()
    live.configure(replace(CONFIGURED, models=()), frozenset())
    assert [entry.name for entry in served[-1].models] == ["a"]
    gate.open()
    await live.close()
    await database.close()
