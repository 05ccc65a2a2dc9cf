"""Two replicas, one client: one of them is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import pytest

from proxy.routing.hedging import Lane, hedged


class Client:
    """What the client got."""

    chunked_ok = True
    gone = False
    full = False

    def __init__(self) -> None:
        self.got: list[object] = []

    def start(self, status: int, headers: Sequence[tuple[str, str]], *, stream: bool) -> None:
        self.got.append(status)

    def write(self, data: bytes) -> None:
        self.got.append(data)

    async def drained(self) -> None:
        """At once."""

    def abort(self) -> None:
        self.got.append("aborted")


def runner(
    name: str, ended: list[str], begins: float, fails: Exception | None = None
) -> Callable[[Lane], Coroutine[None, None, None]]:
    """Answers after so many seconds, and says how it ended."""

    async def run(lane: Lane) -> None:
        try:
            await asyncio.sleep(begins)
            if fails is not None:
                raise fails
            lane.start(200, (), stream=True)
            lane.write(name.encode())
            await asyncio.sleep(0.05)
            lane.write(b"end")
            ended.append(f"{name} ended")
        except asyncio.CancelledError:
            lane.write(b"never")
            lane.abort()
            ended.append(f"{name} let go")
            raise

    return run


async def test_a_quick_answer_needs_no_second() -> None:
    client, ended = Client(), list[str]()
    assert not await hedged(client, 1, runner("a", ended, 0), lambda _: pytest.fail("there was no need"))
    assert client.got == [200, b"a", b"end"]


@pytest.mark.parametrize(("first", "second", "winner", "loser"), [(9, 0, b"b", "a"), (0.1, 9, b"a", "b")])
async def test_who_begins_first_is_heard_and_the_other_let_go_at_once(
    first: float, second: float, winner: bytes, loser: str
) -> None:
    client, ended = Client(), list[str]()
    assert await hedged(client, 0.02, runner("a", ended, first), runner("b", ended, second)) == (loser == "a")
    assert client.got == [200, winner, b"end"]
    assert ended == [f"{loser} let go", f"{winner.decode()} ended"]


async def test_one_that_fails_leaves_the_field_to_the_other() -> None:
    client, ended = Client(), list[str]()
    await hedged(client, 0.01, runner("a", ended, 0.05, ValueError()), runner("b", ended, 0.1))
    assert client.got == [200, b"b", b"end"]
    client = Client()
    await hedged(client, 0.01, runner("a", ended, 0.1), runner("b", ended, 0.02, ValueError()))
    assert client.got == [200, b"a", b"end"]


async def test_where_both_fail_the_first_failure_is_told() -> None:
    client, ended = Client(), list[str]()
    with pytest.raises(ValueError, match="a"):
        await hedged(client, 0.01, runner("a", ended, 0.1, ValueError("a")), runner("b", ended, 0.02, ValueError("b")))
    with pytest.raises(ValueError, match="a"):
        await hedged(client, 0.01, runner("a", ended, 0.02, ValueError("a")), lambda _: None)
    assert client.got == []


async def test_a_client_who_leaves_ends_both() -> None:
    ended = list[str]()
    task = asyncio.create_task(hedged(Client(), 0.01, runner("a", ended, 9), runner("b", ended, 9)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == ["a let go", "b let go"]
