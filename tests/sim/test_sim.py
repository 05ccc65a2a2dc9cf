"""The default policy against the others, on every trace; and the engine that they are tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.routing.policy import POLICIES
from tests.sim.engine import BLOCK, TOKEN, Asked, Cache, Engine, Hardware, Served
from tests.sim.simulate import Simulation
from tests.sim.tables import FIGURES, results, row
from tests.sim.traces import TRACES, traces

PAGE = Path(__file__).parents[2] / "docs" / "routing.md"
EVEN = 1.5
"""The most that the busiest engine may have in flight, over time, by the mean of all."""


@pytest.mark.parametrize("name", TRACES)
def test_balanced_waits_least_and_makes_no_hot_spot_and_the_page_says_so(name: str) -> None:
    trace = next(each for each in traces() if each.name == name)

    found = results(trace)

    assert found["balanced"].mean < found["round_robin"].mean
    assert found["balanced"].mean < found["prefix_aware"].mean
    assert found["balanced"].spread <= EVEN
    for figure in FIGURES.values():
        assert row(name, found, figure) in PAGE.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ["chats", "one hot prompt", "mixed", "unlike engines", "one slow engine"])
def test_whole_answers_tell_late_that_a_prompt_was_computed_and_balanced_is_ahead_all_the_same(
    name: str, seed: int
) -> None:
    trace = next(each for each in traces(seed) if each.name == name)

    balanced, in_turn = (
        Simulation(trace, POLICIES[policy], streams=False).run() for policy in ("balanced", "round_robin")
    )

    assert balanced.mean < in_turn.mean
    assert balanced.spread < 2.0


def test_a_run_can_be_repeated() -> None:
    once, again = (
        Simulation(trace, POLICIES["balanced"]).run() for trace in traces(3) if trace.name == "chats" for _ in "ab"
    )

    assert once == again


# --------------------------------------------------------------------------- the engine


def asked(prompt: str, reply_tokens: int = 4) -> Asked:
    """A question whose answer has so many tokens."""
    return Asked(messages=[{"role": "user", "content": prompt}], reply="r" * (reply_tokens * TOKEN))


def played(engine: Engine) -> tuple[float, list[tuple[Served, float]], int]:
    """Until it has nothing to do: the time that takes, when each first token came, and the most that ran at once."""
    now, most = 0.0, 0
    firsts: list[tuple[Served, float]] = []
    while True:
        seconds, first, _ = engine.step()
        if not seconds:
            return now, firsts, most
        now += seconds
        most = max(most, len(engine.running))
        firsts += [(each, now) for each in first]


def test_a_prompt_that_is_cached_is_not_computed_again() -> None:
    engine = Engine(Hardware())
    first, second, other = (Served(asked(text * 8000), 0.0) for text in "aab")
    engine.submit(first)
    fresh, *_ = played(engine)
    engine.submit(second)
    again, *_ = played(engine)
    engine.submit(other)
    played(engine)

    assert (first.cached, other.cached) == (0, 0)
    assert second.asked.prompt_tokens - second.cached < 2 * BLOCK
    assert again < fresh / 4


def test_answers_are_made_together_up_to_so_many() -> None:
    hardware = Hardware(sequences=8)
    engine = Engine(hardware)
    for number in range(20):
        engine.submit(Served(asked(str(number), reply_tokens=50), 0.0))

    together, firsts, most = played(engine)

    assert len(firsts) == 20
    assert most <= 8
    assert together < 20 * 50 * hardware.step / 4


def test_a_cache_holds_what_it_has_room_for_and_what_is_in_use() -> None:
    cache = Cache(10)
    assert cache.take((1, 2, 3, 4), 1)
    assert not cache.take((5, 6, 7, 8, 9, 10), 0)
    cache.give_back((1, 2, 3, 4), 1)
    assert cache.usage == 0
    assert cache.matched((1, 2, 3, 9)) == 3

    assert cache.take((5, 6, 7, 8, 9, 10, 11, 12), 0)
    assert cache.matched((1, 2, 3, 4)) == 2
