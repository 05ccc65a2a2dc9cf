"""What an engine lists, compared with what it is to be asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from backends.base import Pulse
from backends.errors import BackendError, Broken, Unavailable
from proxy.routing.identity import Identity, mismatch

A, B, NOTHING = frozenset({"a"}), frozenset({"b"}), frozenset[str]()


@pytest.mark.parametrize(
    ("listed", "known", "lists_all", "fits"),
    [
        (A, NOTHING, True, True),
        (B, NOTHING, True, False),
        (NOTHING, NOTHING, True, False),
        (A | B, B, True, True),
        # Engines that answer to any name are held to what they were.
        (B, NOTHING, False, True),
        (B, B, False, True),
        (A, B, False, True),
        (B, A, False, False),
        (frozenset({"c"}), B, False, False),
        (frozenset({"b", "c"}), B, False, True),
        (NOTHING, B, False, False),
    ],
)
def test_what_fits(listed: frozenset[str], known: frozenset[str], lists_all: bool, fits: bool) -> None:
    assert (mismatch("a", listed, known, lists_all=lists_all) is None) is fits


def test_the_reason_names_what_is_there_but_not_all_of_a_crowd() -> None:
    many = frozenset(f"model-{number}" for number in range(100))
    assert mismatch("a", B, NOTHING, lists_all=True) == "it serves `b`, not `a`"
    assert mismatch("a", NOTHING, NOTHING, lists_all=True) == "it serves no model, not `a`"
    assert mismatch("a", many, NOTHING, lists_all=True) == ("it serves `model-0`, `model-1`, `model-10`, ..., not `a`")


class Engine:
    """Lists what a test says, as often as it is asked."""

    lists_all = True

    def __init__(self, listed: frozenset[str] | BackendError) -> None:
        self.listed = listed
        self.asked = 0
        self.answer = asyncio.Event()
        self.answer.set()

    def on_drop(self, tell: Callable[[], None]) -> None:
        """Not here."""

    def pulse(self, now: float) -> Pulse:
        """Nothing."""
        return Pulse(0, 0, 0.0)

    def cut(self, error: BackendError) -> None:
        """Not here."""

    async def models(self) -> frozenset[str]:
        self.asked += 1
        await self.answer.wait()
        if isinstance(self.listed, BackendError):
            raise self.listed
        return self.listed


async def test_all_who_want_to_know_at_a_time_ask_once() -> None:
    engine, identity = Engine(A), Identity()
    assert await asyncio.gather(*(identity.check(engine, "a") for _ in range(9))) == [True] * 9
    assert (engine.asked, identity.fit) == (1, {"a"})
    assert not await identity.check(engine, "b")
    assert identity.wrong == {"b": "it serves `a`, not `b`"}


async def test_one_who_leaves_while_asking_leaves_the_others_their_answer() -> None:
    engine, identity = Engine(A), Identity()
    engine.answer.clear()
    one, other = (asyncio.create_task(identity.check(engine, "a")) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.sleep(0)
    engine.answer.set()
    assert await other
    assert engine.asked == 1


async def test_an_engine_that_does_not_tell_is_trusted_and_one_that_is_not_there_is_not() -> None:
    identity = Identity()
    assert await identity.check(Engine(Broken("no list")), "a")
    with pytest.raises(Unavailable):
        await Identity().check(Engine(Unavailable("nobody")), "a")


async def test_what_went_away_while_it_was_asked_is_asked_again() -> None:
    engine, identity = Engine(A), Identity()
    engine.answer.clear()
    asking = asyncio.create_task(identity.check(engine, "a"))
    await asyncio.sleep(0)
    identity.forget()
    engine.answer.set()
    assert await asking
    assert identity.fit == set()


async def test_a_look_finds_the_right_one_again() -> None:
    engine, identity = Engine(B), Identity()
    assert not await identity.check(engine, "a")
    await identity.look(engine)
    assert "a" in identity.wrong
    engine.listed = A
    await identity.look(engine)
    assert not identity.wrong
