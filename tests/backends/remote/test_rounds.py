import asyncio
from collections.abc import Callable

import pytest

from backends.base import EngineSpec, Timeouts
from backends.errors import BackendError, Broken, TimedOut
from backends.remote.client import RemoteClient
from backends.remote.rounds import CROWD, EACH, Rounds
from tests.backends.remote.rig import DONE, ERROR_EVENT, Peer, Script, chunked, head, relaying

CLIENTS = CROWD + 4
FAST = tuple(b"data: %d\n\n" % number for number in range(40))


def stream(then: Callable[[Peer], object] | None = None, *, whole: bool = True) -> Script:
    """A script that writes FAST as fast as its reader, event by event, then whatever a test wants."""

    async def script(peer: Peer) -> None:
        await peer.send(head(b"Transfer-Encoding: chunked\r\n") + chunked(b"data: first\n\n"))
        for event in FAST:
            await peer.send(chunked(event))
            await asyncio.sleep(0.001)
        if whole:
            await peer.send(chunked(DONE) + b"0\r\n\r\n")
        elif then is None:
            await peer.gone()
        else:
            then(peer)

    return script


WHOLE = b"data: first\n\n" + b"".join(FAST)


@pytest.mark.parametrize(
    ("crowd", "reads", "seconds", "wanted"),
    [
        (CROWD, 4, 0.0001, True),
        (CROWD - 1, 4, 0.0001, False),
        (CROWD, 4, 4 * CROWD * EACH, False),
        (4 * CROWD, 4, 4 * CROWD * EACH, True),
        (10_000, 4, 0.2, False),
    ],
)
def test_rounds_are_for_crowds_of_fast_streams(crowd: int, reads: int, seconds: float, wanted: bool) -> None:
    assert Rounds(0.02, lambda: crowd).worth_while(reads, seconds) is wanted


def test_there_are_none_where_none_are_allowed() -> None:
    assert not Rounds(0.0, lambda: 1000).worth_while(4, 0.0)


async def test_all_are_read_each_round_until_they_leave() -> None:
    class Source:
        def __init__(self) -> None:
            self.read = 0
            self.twice = asyncio.Event()

        def read_now(self) -> None:
            self.read += 1
            if self.read == 2:
                rounds.leave(self)
                self.twice.set()

        def leave_rounds(self) -> None:
            raise AssertionError

    rounds = Rounds(0.001, lambda: CROWD)
    sources = [Source() for _ in range(3)]
    for source in sources:
        rounds.join(source)
    await asyncio.gather(*(source.twice.wait() for source in sources))
    await asyncio.sleep(0.01)
    assert [source.read for source in sources] == [2, 2, 2]


async def test_who_is_left_of_a_crowd_is_read_when_bytes_come() -> None:
    class Source:
        def __init__(self) -> None:
            self.left = asyncio.Event()

        def read_now(self) -> None:
            raise AssertionError

        def leave_rounds(self) -> None:
            rounds.leave(self)
            self.left.set()

    rounds = Rounds(0.02, lambda: CROWD - 1)
    source = Source()
    rounds.join(source)
    await asyncio.wait_for(source.left.wait(), 5)


async def test_a_pause_is_one_however_short_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop takes a delay of less than half a millisecond for none, and would do nothing else any more."""
    pauses: list[float] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda delay, *_: pauses.append(delay))

    class Source:
        def read_now(self) -> None: ...
        def leave_rounds(self) -> None: ...

    Rounds(0.0001, lambda: CROWD).join(Source())
    assert pauses == [0.002]


async def test_a_crowd_of_fast_streams_arrives_whole_in_fewer_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    # So that these streams are fast on a machine that is slow just now.
    monkeypatch.setattr("backends.remote.rounds.EACH", 0.01)
    async with relaying(stream(), round_ms=200) as (engine, proxy):
        answers = await asyncio.gather(*(proxy.ask() for _ in range(CLIENTS)))
        assert {(answer.body, answer.complete) for answer in answers} == {(WHOLE + DONE, True)}
        assert proxy.writes < 0.8 * CLIENTS * len(FAST)
        # Connections that were read in rounds serve on.
        again = await asyncio.gather(*(proxy.ask() for _ in range(CLIENTS)))
        assert {(answer.body, answer.complete) for answer in again} == {(WHOLE + DONE, True)}
        assert engine.connections == CLIENTS


@pytest.mark.parametrize(
    ("then", "error"), [(lambda peer: peer.writer.close(), Broken), (Peer.reset, Broken), (None, TimedOut)]
)
async def test_a_fault_in_a_crowd_is_told_to_each(
    then: Callable[[Peer], object] | None, error: type[BackendError]
) -> None:
    limits = Timeouts(first_byte=10, idle=0.3)
    async with relaying(stream(then, whole=False), timeouts=limits) as (_, proxy):
        answers = await asyncio.gather(*(proxy.ask() for _ in range(CLIENTS)))
        assert all(answer.complete and answer.body.endswith(ERROR_EVENT) for answer in answers)
        if error is TimedOut:
            assert {answer.body for answer in answers} == {WHOLE + ERROR_EVENT}
        assert {type(outcome.error) for outcome in proxy.outcomes} == {error}


async def test_clients_that_leave_a_crowd_close_their_engines_connections() -> None:
    async with relaying(stream(whole=False)) as (engine, proxy):
        clients = [await proxy.connect() for _ in range(CLIENTS)]
        for reader, _ in clients:
            await reader.readuntil(FAST[-1])
        for _, writer in clients:
            writer.close()
        await asyncio.wait_for(engine.quiet.wait(), 5)


async def test_a_client_that_stops_reading_stops_its_engine_in_a_crowd_too() -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.send(head(b"Transfer-Encoding: chunked\r\n") + chunked(b"data: first\n\n"))
        event = chunked(b"data: " + b"x" * 2000 + b"\n\n")
        while True:
            await peer.send(event)
            sent += len(event)

    async with relaying(script, high_water=16 * 1024) as (_, proxy):
        clients = [await proxy.connect() for _ in range(CLIENTS)]
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert proxy.most_buffered < 400 * 1024
        for _, writer in clients:
            writer.close()


def test_the_setting_reaches_the_engine() -> None:
    spec = EngineSpec(name="e", kind="vllm", urls=("http://127.0.0.1:1",), round_ms=0)
    assert not RemoteClient(spec).rounds.worth_while(1000, 0.0)
