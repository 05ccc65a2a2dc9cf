from __future__ import annotations

import asyncio

import pytest

from backends.base import Timeouts
from backends.errors import BackendError, Broken, TimedOut, Unavailable
from tests.backends.remote.rig import (
    CLOSE,
    DONE,
    ERROR_EVENT,
    Peer,
    Script,
    black_hole,
    chunked,
    dead_port,
    head,
    json_answer,
    proxy_running,
    relaying,
    replay,
    sse_answer,
)

HELLO = "data: héllo\n\n".encode()
STREAM_HEAD = head(b"Transfer-Encoding: chunked\r\n")
SOON = Timeouts(connect=0.2, first_byte=0.2, idle=0.2)
PATIENT = Timeouts(connect=30, first_byte=30, idle=30)
SOON_AFTER_THE_HEAD = Timeouts(connect=30, first_byte=30, idle=0.2)


async def only_error(script: Script, timeouts: Timeouts | None = None) -> Exception:
    """What a client without a single byte of an answer was refused with."""
    async with relaying(script, timeouts=timeouts, keep=False) as (_, proxy):
        assert (await proxy.ask()).raw == b""
        (error,) = proxy.errors
        assert isinstance(error, BackendError)
        assert error.message.endswith(".")
        return error


async def test_a_refused_connection_is_unavailable() -> None:
    with dead_port() as url:
        async with proxy_running(url) as proxy:
            assert (await proxy.ask()).raw == b""
            (error,) = proxy.errors
            assert isinstance(error, Unavailable)
            assert error.retry_after == 1


async def test_an_unknown_host_is_unavailable() -> None:
    async with proxy_running("http://nothing.invalid:80") as proxy:
        await proxy.ask()
        assert isinstance(proxy.errors[0], Unavailable)


async def test_a_black_hole_is_unavailable_after_the_connect_timeout() -> None:
    with black_hole() as url:
        async with proxy_running(url, timeouts=SOON) as proxy:
            await asyncio.wait_for(proxy.ask(), 2)
            assert isinstance(proxy.errors[0], Unavailable)


GARBAGE = {
    "closed": (replay(then="close"), Broken),
    "reset": (replay(then="reset"), Broken),
    "no HTTP": (replay(b"SSH-2.0-OpenSSH_9.2\r\n", then="hang"), Broken),
    "half a status line": (replay(b"HTTP/1.1 20", then="close"), Broken),
    "endless head": (replay(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, then="hang"), Broken),
    "endless header": (replay(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, then="hang"), Broken),
    "interim answers without end": (replay(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, then="hang"), Broken),
    "switch of protocols": (replay(b"HTTP/1.1 101 Switching\r\n\r\n", then="hang"), Broken),
    "folded header": (replay(b"HTTP/1.1 200 OK\r\nA: b\r\n c: d\r\n\r\n", then="hang"), Broken),
    "two lengths": (replay(head(b"Content-Length: 1\r\nContent-Length: 2\r\n"), then="hang"), Broken),
    "negative length": (replay(head(b"Content-Length: -1\r\n"), then="hang"), Broken),
    "length and chunks": (replay(head(b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), then="hang"), Broken),
    "gzip, chunked": (replay(head(b"Transfer-Encoding: gzip, chunked\r\n"), then="hang"), Broken),
    "redirect": (replay(head(b"Location: http://elsewhere/\r\n", b"307 Temporary"), then="hang"), Broken),
    "chunk size": (replay(STREAM_HEAD, b"0x5\r\nhello\r\n", then="hang"), Broken),
    "endless chunk size": (replay(STREAM_HEAD, b"5;" + b"x" * 40_000, then="hang"), Broken),
    "endless trailers": (replay(STREAM_HEAD, b"0\r\n" + b"X: y\r\n" * 10_000, then="hang"), Broken),
    "chunk longer than its size": (replay(STREAM_HEAD, b"5\r\nhello!\r\n", then="hang"), Broken),
    "empty stream": (replay(sse_answer()), Broken),
    "empty stream until close": (replay(head(CLOSE), then="close"), Broken),
    "cut in the first event": (replay(STREAM_HEAD, chunked(HELLO[:4]), then="close"), Broken),
    "silence": (replay(then="hang"), TimedOut),
    "silence after the head": (replay(STREAM_HEAD, then="hang"), TimedOut),
    "silence in the first event": (replay(STREAM_HEAD, chunked(HELLO[:4]), then="hang"), TimedOut),
}


@pytest.mark.parametrize("fault", GARBAGE)
async def test_a_fault_before_the_first_event_is_an_error_without_a_byte(fault: str) -> None:
    script, kind = GARBAGE[fault]
    assert type(await only_error(script, SOON if kind is TimedOut else PATIENT)) is kind


FAULTS_LATER = {
    "close": (replay(STREAM_HEAD, chunked(HELLO), chunked(HELLO[:7]), then="close"), Broken),
    "reset": (replay(STREAM_HEAD, chunked(HELLO), chunked(HELLO)[:9], then="reset"), Broken),
    "silence": (replay(STREAM_HEAD, chunked(HELLO), chunked(HELLO)[:9], then="hang"), TimedOut),
    "garbage": (replay(STREAM_HEAD, chunked(HELLO), b"what?\r\n", then="hang"), Broken),
    "garbage in the first packet": (replay(STREAM_HEAD + chunked(HELLO) + b"what?\r\n", then="hang"), Broken),
    "garbage in the packet": (replay(STREAM_HEAD, chunked(HELLO[:4]), chunked(HELLO[4:]) + b"?", then="close"), Broken),
}


@pytest.mark.parametrize("chunked_ok", [True, False])
@pytest.mark.parametrize("fault", FAULTS_LATER)
async def test_a_fault_after_the_first_event_is_told_in_band(fault: str, chunked_ok: bool) -> None:
    script, kind = FAULTS_LATER[fault]
    timeouts = SOON_AFTER_THE_HEAD if kind is TimedOut else PATIENT
    async with relaying(script, timeouts=timeouts, keep=False, chunked_ok=chunked_ok) as (engine, proxy):
        answer = await proxy.ask()
        assert (answer.status, answer.body, answer.complete) == (200, HELLO + ERROR_EVENT, True)
        assert type(proxy.outcome.error) is kind
        assert (proxy.errors, len(engine.requests)) == ([], 1)


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_stream_cut_at_any_byte_shows_whole_events_and_then_an_error(then: str) -> None:
    events = (HELLO, "data: ünd\n\n".encode(), DONE)
    whole = sse_answer(*events)
    boundaries = {b"".join(events[:n]) for n in range(1, 4)}
    cut = 0

    async def script(peer: Peer) -> None:
        await peer.send(whole[:cut])
        if then == "reset":
            await asyncio.sleep(0.002)  # a reset overtakes bytes that were not read yet
            peer.reset()

    async with relaying(script, keep=False) as (engine, proxy):
        for cut in range(len(whole)):
            proxy.errors.clear()
            answer = await proxy.ask()
            if not answer.raw:
                assert isinstance(proxy.errors[0], Broken), cut
                continue
            assert answer.complete, cut
            if cut >= len(whole) - len(b"\r\n0\r\n\r\n"):
                # All was said: that only the framing's end is missing is no error worth telling.
                assert (answer.body, proxy.outcome.error) == (b"".join(events), None), cut
                continue
            assert answer.body.endswith(ERROR_EVENT), cut
            assert answer.body.removesuffix(ERROR_EVENT) in boundaries, cut
            assert isinstance(proxy.outcome.error, Broken), cut
        assert len(engine.requests) == len(whole)


@pytest.mark.parametrize("then", ["close", "reset", "hang"])
async def test_a_json_answer_cut_short_ends_without_looking_whole(then: str) -> None:
    cut = json_answer(b'{"a": 1234567890}')[:-4]
    timeouts = SOON_AFTER_THE_HEAD if then == "hang" else PATIENT
    async with relaying(replay(cut, then=then), timeouts=timeouts, keep=False) as (_, proxy):
        answer = await proxy.ask()
        assert not answer.complete
        assert isinstance(proxy.outcome.error, TimedOut if then == "hang" else Broken)


async def test_an_event_that_was_let_through_in_pieces_is_cut_off_rather_than_continued_by_an_error() -> None:
    huge = b"data: " + b"x" * 1_000_000
    async with relaying(replay(STREAM_HEAD, chunked(HELLO), chunked(huge), then="close"), keep=False) as (_, proxy):
        answer = await proxy.ask()
        assert not answer.complete
        assert ERROR_EVENT not in answer.raw
        assert isinstance(proxy.outcome.error, Broken)


async def test_a_post_is_not_repeated_when_its_kept_connection_closed_meanwhile() -> None:
    count = 0

    async def script(peer: Peer) -> None:
        nonlocal count
        count += 1
        if count == 2:
            peer.reset()
        else:
            await peer.send(sse_answer(HELLO, DONE))

    async with relaying(script) as (engine, proxy):
        assert (await proxy.ask()).body == HELLO + DONE
        await proxy.ask()
        assert (engine.connections, count, type(proxy.errors[0])) == (1, 2, Broken)


async def test_a_request_is_not_repeated_on_a_fresh_connection_or_after_a_byte() -> None:
    async with relaying(replay(then="close"), keep=False) as (engine, proxy):
        await proxy.ask()
        assert (len(engine.requests), type(proxy.errors[0])) == (1, Broken)
    count = 0

    async def script(peer: Peer) -> None:
        nonlocal count
        count += 1
        await peer.send(sse_answer(HELLO, DONE) if count == 1 else b"HTTP/1.1 200")
        if count > 1:
            peer.writer.close()

    async with relaying(script) as (engine, proxy):
        await proxy.ask()
        await proxy.ask()
        assert (len(engine.requests), type(proxy.errors[0])) == (2, Broken)


async def test_bytes_after_the_end_of_an_answer_never_answer_the_next_request() -> None:
    async with relaying(replay(sse_answer(HELLO, DONE) + json_answer(b"smuggled"))) as (engine, proxy):
        for _ in range(3):
            assert (await proxy.ask()).body == HELLO + DONE
        assert engine.connections == 3


async def test_an_engine_that_answers_before_it_has_read_the_request_is_heard() -> None:
    async with relaying(replay(json_answer(b"{}", b"413 Too Large", CLOSE), then="close"), keep=False) as (_, proxy):
        await proxy.ask()
        assert getattr(proxy.errors[0], "status", None) == 413
