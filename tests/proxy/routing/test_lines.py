"""Which requests stand in one line, and for how many slots: by configuration, by replicas, and as both change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.base import EngineSpec, ModelSpec
from proxy.caller import ANYONE
from proxy.registry.models import ModelEntry, Registry, Target
from proxy.routing.lines import EACH_ELSE, Lines, Rules, queue_rules
from proxy.routing.queue import NO_LIMIT, Queue
from proxy.routing.tickets import State
from proxy.settings import Settings


def engine(name: str, kind: str = "vllm") -> EngineSpec:
    return EngineSpec(name=name, kind=kind, urls=("http://127.0.0.1:9",) if kind in ("vllm", "tgi") else ())


def model(name: str, *engines: str, max_in_flight: int | None = None, max_queued: int | None = None) -> ModelEntry:
    targets = tuple(Target(engine=each, spec=ModelSpec(source=name)) for each in engines)
    return ModelEntry(
        name=name,
        engine=engines[0],
        spec=ModelSpec(source=name),
        task="text",
        targets=targets if len(targets) > 1 else (),
        max_in_flight=max_in_flight,
        max_queued=max_queued,
    )


def registry(*models: ModelEntry, **limits: int) -> Registry:
    engines = {each: engine(each) for each in ("a", "b")} | {
        "tgi": engine("tgi", "tgi"),
        "local": engine("local", "transformers"),
    }
    return Registry(engines=engines, models=models, limits=limits)


def lines(served: Registry, rules: Rules | None = None, **usable: int) -> Lines:
    made = Lines(rules or Rules(), lambda name: usable.get(name, 1))
    made.serve_from(served)
    return made


def slots(made: Lines, entry: ModelEntry) -> int:
    line = made.of(entry)
    return NO_LIMIT if line is None else line.slots


def test_every_engine_elsewhere_has_slots_for_each_replica_and_those_here_have_none() -> None:
    entries = [model("one", "a"), model("two", "tgi"), model("three", "local")]
    made = lines(registry(*entries), a=3, tgi=2)
    assert [slots(made, entry) for entry in entries] == [3 * EACH_ELSE, 2 * 128, NO_LIMIT]


def test_settings_say_for_all_and_the_file_for_one() -> None:
    entries = [model("one", "a"), model("two", "b"), model("three", "tgi"), model("four", "local")]
    made = lines(registry(*entries, b=7, local=2), Rules(each=5))
    assert [slots(made, entry) for entry in entries] == [5, 7, 5, 2]
    unlimited = lines(registry(*entries, a=0), Rules(each=0))
    assert [slots(unlimited, entry) for entry in entries] == [NO_LIMIT] * 4


def test_models_of_one_engine_stand_in_one_line_unless_they_have_a_limit() -> None:
    plain, beside, narrow = model("plain", "a"), model("beside", "a"), model("narrow", "a", max_in_flight=3)
    made = lines(registry(plain, beside, narrow, a=10))
    assert made.of(plain) is made.of(beside) is not made.of(narrow)
    assert (slots(made, plain), slots(made, narrow)) == (10, 3)


def test_a_model_of_several_engines_has_the_slots_of_all() -> None:
    both = model("both", "a", "b")
    assert slots(lines(registry(both, a=2, b=3), b=2), both) == 8


def test_a_model_of_the_hub_that_nobody_configured_stands_in_its_engines_line() -> None:
    made = lines(registry(local=4))
    assert slots(made, model("owner/any", "local")) == 4


@pytest.mark.parametrize("usable", [0, -1, 1])
def test_an_engine_that_is_down_has_the_slots_of_one_replica(usable: int) -> None:
    entry = model("one", "a")
    assert slots(lines(registry(entry, a=4), a=usable), entry) == 4


def test_how_many_may_wait_is_said_for_all_and_for_one() -> None:
    plain, own, none = model("plain", "a"), model("own", "a", max_queued=9), model("none", "a", max_queued=0)
    made = lines(registry(plain, own, none), Rules(most=5))
    assert [line.most for entry in (plain, own, none) if (line := made.of(entry))] == [5, 9, 0]


def test_a_new_configuration_changes_limits_under_those_who_wait() -> None:
    entry = model("one", "a")
    made, queue = lines(registry(entry, a=1)), Queue(patience=30, max_bytes=100)
    line = made.of(entry)
    assert line is not None
    running, waiting = queue.arrive(line, ANYONE, 0, 0.0), queue.arrive(line, ANYONE, 0, 0.0)
    made.serve_from(registry(replace(entry, aliases=("more",)), model("two", "a"), a=2))
    assert made.of(entry) is line
    queue.fill(line.pools[0], 1.0)
    assert {running.state, waiting.state} == {State.STARTED}


def test_what_is_configured_no_more_is_forgotten_when_it_is_empty() -> None:
    entry = model("one", "a", max_in_flight=1)
    made, queue = lines(registry(entry)), Queue(patience=30, max_bytes=100)
    line = made.of(entry)
    assert line is not None
    running = queue.arrive(line, ANYONE, 0, 0.0)
    without = Registry(engines={"b": engine("b")})
    made.serve_from(without)
    assert {pool.name for pool in made.pools} == {"a", "b"}
    queue.end(running, 1.0)
    made.serve_from(without)
    assert {pool.name for pool in made.pools} == {"b"}
    assert made.of(entry) is None


def test_the_settings_are_the_rules() -> None:
    assert queue_rules(Settings()) == Rules()
    said = Settings(max_in_flight=7, max_queued=3, queue_seconds=2, max_queued_mb=1.5)
    assert queue_rules(said) == Rules(each=7, most=3, patience=2, max_bytes=1_500_000)
