from __future__ import annotations

import asyncio
import time

import pytest

from backends.base import Timeouts
from backends.errors import Broken, Rejected
from backends.types import Usage
from tests.backends.remote.rig import (
    CLOSE,
    DONE,
    ERROR_EVENT,
    Peer,
    chat_request,
    chunked,
    head,
    json_answer,
    relaying,
    replay,
    sse_answer,
)

HELLO = b'data: {"choices": [{"index": 0, "delta": {"content": "h\xc3\xa9llo"}, "finish_reason": null}]}\n\n'
STOP = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
USAGE = (
    b'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7,'
    b' "prompt_tokens_details": {"cached_tokens": 3}}}\n\n'
)
EVENTS = (HELLO, HELLO, STOP, USAGE, DONE)
WHOLE = b"".join(EVENTS)
BODY = (
    b'{"choices": [{"message": {}, "finish_reason": "length"}], "usage": {"prompt_tokens": 1, "completion_tokens": 9}}'
)


async def test_a_stream_arrives_byte_for_byte_and_is_accounted_for() -> None:
    async with relaying(replay(sse_answer(*EVENTS))) as (_engine, proxy):
        before = time.monotonic()
        answer = await proxy.ask()
        outcome = proxy.outcome
        assert (answer.status, answer.body, answer.complete) == (200, WHOLE, True)
        assert outcome.usage == Usage(5, 2, 3)
        assert (outcome.status, outcome.finish_reason, outcome.error) == (200, "stop", None)

        assert outcome.first_byte_at is not None
        assert before <= outcome.first_byte_at <= time.monotonic()
        assert b"x-accel-buffering: no" in answer.head
        assert b"cache-control: no-cache" in answer.head


FRAMINGS = {
    "a packet a chunk": [head(b"Transfer-Encoding: chunked\r\n"), *[chunked(e) for e in EVENTS], b"0\r\n\r\n"],
    "several chunks a packet": [
        head(b"Transfer-Encoding: chunked\r\n") + chunked(HELLO),
        chunked(HELLO, STOP),
        chunked(USAGE, DONE),
        b"0\r\n\r\n",
    ],
    "a byte a packet": [bytes([byte]) for byte in sse_answer(*EVENTS)],
    "chunks across events": [
        head(b"Transfer-Encoding: chunked\r\n"),
        *[chunked(WHOLE[i : i + 37]) for i in range(0, len(WHOLE), 37)],
        b"0\r\n\r\n",
    ],
    "a one-byte chunk for the blank line": [
        head(b"Transfer-Encoding: chunked\r\n") + chunked(HELLO, HELLO),
        chunked(STOP[:-1]),
        chunked(b"\n"),
        chunked(USAGE, DONE) + b"0\r\n\r\n",
    ],
    "extensions and trailers": [
        head(b"Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n"),
        *[b'%X;ext=1;q="a"\r\n%b\r\n' % (len(e), e) for e in EVENTS],
        b"0;last\r\nX-Sum: 1\r\n\r\n",
    ],
    "leading zeros": [
        head(b"Transfer-Encoding: chunked\r\n"),
        *[b"00%x\r\n%b\r\n" % (len(e), e) for e in EVENTS],
        b"000\r\n\r\n",
    ],
    "content-length": [head(b"Content-Length: %d\r\n" % len(WHOLE)), *EVENTS],
    "interim answers": [
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + sse_answer(*EVENTS)
    ],
}


@pytest.mark.parametrize("chunked_ok", [True, False])
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_every_framing_gives_the_same_bytes_and_leaves_the_connection_usable(
    framing: str, chunked_ok: bool
) -> None:
    async with relaying(replay(*FRAMINGS[framing]), chunked_ok=chunked_ok) as (engine, proxy):
        for _ in range(2):
            answer = await proxy.ask()
            assert (answer.body, answer.complete) == (WHOLE, True)
            assert (b"transfer-encoding: chunked" in answer.head) is chunked_ok
            assert b"content-length" not in answer.head
            assert b"trailer" not in answer.head
            assert (proxy.outcome.usage, proxy.outcome.error) == (Usage(5, 2, 3), None)

        assert engine.connections == 1


async def test_a_stream_that_ends_with_its_connection_is_framed_for_the_client() -> None:
    old = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    for prefix in (old, head(CLOSE)):
        async with relaying(replay(prefix, *EVENTS, then="close"), keep=False) as (_engine, proxy):
            answer = await proxy.ask()
            assert (answer.body, answer.complete, proxy.outcome.error) == (WHOLE, True, None)
            assert b"transfer-encoding: chunked" in answer.head


async def test_crlf_events_pass_unchanged() -> None:
    events = [event.replace(b"\n", b"\r\n") for event in EVENTS]
    async with relaying(replay(head(b"Transfer-Encoding: chunked\r\n"), *map(chunked, events), b"0\r\n\r\n")) as (
        _,
        proxy,
    ):
        answer = await proxy.ask()
        assert (answer.body, answer.complete, proxy.outcome.usage) == (b"".join(events), True, Usage(5, 2, 3))


async def test_a_json_answer_keeps_its_length_and_end_to_end_headers() -> None:
    fields = b"X-Kept: yes\r\nServer: uvicorn\r\nDate: x\r\nX-Request-Id: r\r\nSet-Cookie: a=b\r\nConnection: x-hop\r\nX-Hop: 1\r\n"
    async with relaying(replay(json_answer(BODY, fields=fields))) as (engine, proxy):
        answer = await proxy.ask()
        await proxy.ask()
        assert (answer.status, answer.body) == (200, BODY)
        assert answer.head.split(b"\r\n")[1:] == [
            b"content-type: application/json",
            b"x-kept: yes",
            b"content-length: %d" % len(BODY),
        ]
        assert (proxy.outcome.usage, proxy.outcome.finish_reason) == (Usage(1, 9), "length")

        assert engine.connections == 1


async def test_a_json_answer_in_chunks_or_of_unknown_length_is_framed_anew() -> None:
    in_chunks = head(b"Transfer-Encoding: chunked\r\n", content_type=b"application/json") + chunked(
        BODY[:20], BODY[20:]
    )
    until_close = head(CLOSE, content_type=b"application/json") + BODY
    for script in (replay(in_chunks, b"0\r\n\r\n"), replay(until_close, then="close")):
        async with relaying(script, keep=False) as (_, proxy):
            answer = await proxy.ask()
            assert (answer.body, answer.complete, proxy.outcome.finish_reason) == (BODY, True, "length")


async def test_answers_without_a_body() -> None:
    for status, fields, wanted in (
        (b"204 No Content", b"", b""),
        (b"200 OK", b"Content-Length: 0\r\n", b"content-length: 0"),
    ):
        async with relaying(replay(head(fields, status, b"application/json"))) as (engine, proxy):
            answer = await proxy.ask()
            await proxy.ask()
            assert (answer.body, answer.complete, engine.connections) == (b"", True, 1)
            assert wanted in answer.head
            assert b"transfer-encoding" not in answer.head


async def test_the_answer_to_head_has_no_body() -> None:
    request = chat_request(method="HEAD")
    async with relaying(replay(head(b"Content-Length: 42\r\n", content_type=b"text/plain")), request=request) as (
        engine,
        proxy,
    ):
        answer = await proxy.ask()
        await proxy.ask()
        assert b"content-length: 42" in answer.head
        assert (answer.raw.partition(b"\r\n\r\n")[2], engine.connections) == (b"", 1)


async def test_a_compressed_body_passes_and_a_compressed_stream_does_not() -> None:
    async with relaying(replay(json_answer(b"\x1f\x8b\x00", fields=b"Content-Encoding: gzip\r\n"))) as (_, proxy):
        answer = await proxy.ask()
        assert (answer.body, b"content-encoding: gzip" in answer.head) == (b"\x1f\x8b\x00", True)
    async with relaying(replay(head(b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"))) as (_, proxy):
        assert (await proxy.ask()).raw == b""
        assert isinstance(proxy.errors[0], Broken)


async def test_the_request_is_written_once_with_our_key_and_without_hop_by_hop_headers() -> None:
    request = chat_request()
    headers = (
        ("Content-Type", "application/json"),
        ("Authorization", "Bearer theirs"),
        ("Connection", "x"),
        ("X-A", "é"),
    )
    request = type(request)(**{f: getattr(request, f) for f in request.__slots__} | {"headers": headers})
    async with relaying(replay(sse_answer(DONE)), request=request, key="ours") as (engine, proxy):
        await proxy.ask()
        first, _, rest = engine.requests[0].partition(b"\r\n")
        fields, _, body = rest.partition(b"\r\n\r\n")
        assert first == b"POST /v1/chat/completions HTTP/1.1"
        assert sorted(fields.split(b"\r\n")) == sorted(
            [
                b"Host: " + engine.url.removeprefix("http://").encode(),
                b"Accept-Encoding: identity",
                b"Authorization: Bearer ours",
                b"Content-Type: application/json",
                "X-A: é".encode(),
                b"Content-Length: %d" % len(request.body),
            ]
        )
        assert body == request.body


async def test_an_error_status_is_raised_with_the_engines_words() -> None:
    refusal = json_answer(b'{"error": {}}', b"429 Too Many", b"Retry-After: 7\r\n")
    async with relaying(replay(refusal)) as (engine, proxy):
        assert (await proxy.ask()).raw == b""
        await proxy.ask()
        error = proxy.errors[0]
        assert isinstance(error, Rejected)
        assert (error.status, error.body, error.content_type) == (429, b'{"error": {}}', "application/json")
        assert error.retry_after == 7
        assert engine.connections == 1


async def test_a_plain_text_refusal_cut_short_or_endless_is_a_refusal() -> None:
    text = head(b"Content-Length: 99\r\n", b"422 Unprocessable", b"text/plain") + b"Failed to deserialize"
    endless = head(b"Content-Length: 999999\r\n", b"500 Oops", b"text/plain") + b"x" * 100_000
    for script, body in (
        (replay(text, then="close"), b"Failed to deserialize"),
        (replay(endless, then="hang"), b"x" * 65536),
    ):
        async with relaying(script, keep=False) as (_, proxy):
            await proxy.ask()
            error = proxy.errors[0]
            assert isinstance(error, Rejected)
            assert (error.body, error.content_type) == (body, "text/plain")


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (b'data: {"error": {"message": "busy", "code": 503}}\n\n', 503),
        (b'data:{"error":{"message":"x","code":"odd"}}\r\n\r\n', 502),
        (b': ping\ndata: {"error": "text"}\n\n', 502),
    ],
)
async def test_a_stream_that_begins_with_an_error_never_was_a_200(event: bytes, status: int) -> None:
    async with relaying(replay(sse_answer(event, DONE))) as (_, proxy):
        assert (await proxy.ask()).raw == b""
        error = proxy.errors[0]
        assert isinstance(error, Rejected)
        assert (error.status, error.content_type) == (status, "application/json")
        assert b'"error"' in error.body


async def test_an_error_later_in_the_stream_passes_and_is_noted() -> None:
    event = b'data: {"error": {"message": "boom", "code": 500}}\n\n'
    async with relaying(replay(sse_answer(HELLO, event, DONE))) as (_, proxy):
        answer = await proxy.ask()
        assert (answer.body, answer.complete) == (HELLO + event + DONE, True)
        assert isinstance(proxy.outcome.error, Broken)


async def test_a_stream_without_its_terminal_event_is_no_success() -> None:
    async with relaying(replay(sse_answer(HELLO, STOP))) as (_engine, proxy):
        answer = await proxy.ask()
        assert (answer.body, answer.complete) == (HELLO + STOP + ERROR_EVENT, True)
        assert isinstance(proxy.outcome.error, Broken)
        assert proxy.outcome.finish_reason == "stop"


async def test_where_no_terminal_event_is_expected_the_framing_is_enough() -> None:
    completed = b'event: response.completed\ndata: {"type": "response.completed", "response": {"object": "response", '
    completed += b'"status": "completed", "usage": {"input_tokens": 3, "output_tokens": 4}}}\n\n'
    async with relaying(replay(sse_answer(HELLO, completed)), request=chat_request(terminal=())) as (_, proxy):
        answer = await proxy.ask()
        assert (answer.body, answer.complete, proxy.outcome.error) == (HELLO + completed, True, None)
        assert (proxy.outcome.usage, proxy.outcome.finish_reason) == (Usage(3, 4), "completed")


async def test_an_unfinished_last_line_passes_when_the_stream_says_that_it_is_complete() -> None:
    async with relaying(replay(sse_answer(HELLO, b"data: [DONE]\n"))) as (_, proxy):
        assert (await proxy.ask()).body == HELLO + b"data: [DONE]\n"
        assert proxy.outcome.error is None


async def test_an_event_of_ten_megabytes_passes_in_bounded_memory() -> None:
    huge = b'data: {"x": "' + b"a" * 10_000_000 + b'"}\n\n'
    async with relaying(replay(sse_answer(HELLO, huge, STOP, DONE)), high_water=65536) as (_, proxy):
        answer = await proxy.ask()
        assert (answer.body == HELLO + huge + STOP + DONE, answer.complete) == (True, True)
        assert proxy.most_buffered < 2_000_000


async def test_keep_alive_comments_count_as_life() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(head(b"Transfer-Encoding: chunked\r\n"), chunked(HELLO))
        for _ in range(8):
            await asyncio.sleep(0.1)
            await peer.send(chunked(b": keep-alive\n\n"))
        await peer.send(chunked(DONE), b"0\r\n\r\n")

    async with relaying(script, timeouts=Timeouts(idle=0.3)) as (_, proxy):
        answer = await proxy.ask()
        assert (answer.body, proxy.outcome.error) == (HELLO + b": keep-alive\n\n" * 8 + DONE, None)


@pytest.mark.parametrize(
    ("last", "choices", "fault"),
    [
        ((STOP, DONE), 1, None),
        ((DONE,), 1, "without saying why"),
        ((DONE,), 0, None),
        ((STOP.replace(b"stop", b"abort"), DONE), 1, "gave up"),
    ],
    ids=["sound", "no finish", "none expected", "aborted"],
)
async def test_an_answer_that_does_not_end_well_is_passed_on_and_counts_as_failed(
    last: tuple[bytes, ...], choices: int, fault: str | None
) -> None:
    async with relaying(replay(sse_answer(HELLO, *last)), request=chat_request(choices=choices)) as (_, proxy):
        answer = await proxy.ask()
        assert (answer.body, answer.complete) == (b"".join((HELLO, *last)), True)
        error = proxy.outcome.error
        assert (error is None) if fault is None else (isinstance(error, Broken) and fault in error.message)


async def test_whoever_leaves_before_the_finish_is_not_held_against_the_engine() -> None:
    stream = replay(head(b"Transfer-Encoding: chunked\r\n"), chunked(HELLO), then="hang")
    async with relaying(stream, request=chat_request(choices=1)) as (engine, proxy):
        reader, writer = await proxy.connect()
        await reader.readuntil(HELLO)
        writer.close()
        await asyncio.wait_for(engine.quiet.wait(), 1)
        await asyncio.wait(proxy.tasks)
        assert proxy.outcome.error is None


@pytest.mark.parametrize("last", [(STOP,), (STOP, USAGE)], ids=["finish", "usage"])
async def test_a_stream_that_told_its_finish_and_then_nothing_is_whole_after_a_moment(
    monkeypatch: pytest.MonkeyPatch, last: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr("backends.remote.relay.FINISHED_FOR", 0.1)
    stream = replay(head(b"Transfer-Encoding: chunked\r\n"), chunked(HELLO, *last), then="hang")
    timeouts = Timeouts(idle=0.8)
    async with relaying(stream, request=chat_request(choices=1), timeouts=timeouts) as (_, proxy):
        begun = time.monotonic()
        answer = await proxy.ask()
        assert (answer.body, answer.complete) == (b"".join((HELLO, *last, DONE)), True)
        assert (proxy.outcome.error, proxy.outcome.finish_reason) == (None, "stop")
        assert time.monotonic() - begun < timeouts.idle


@pytest.mark.parametrize(("sent", "choices"), [((HELLO,), 1), ((HELLO, STOP), 2)], ids=["no finish", "one of two"])
async def test_a_stream_that_may_go_on_is_waited_for_as_long_as_ever(
    monkeypatch: pytest.MonkeyPatch, sent: tuple[bytes, ...], choices: int
) -> None:
    monkeypatch.setattr("backends.remote.relay.FINISHED_FOR", 0.1)
    stream = replay(head(b"Transfer-Encoding: chunked\r\n"), chunked(*sent), then="hang")
    timeouts = Timeouts(idle=0.5)
    async with relaying(stream, request=chat_request(choices=choices), timeouts=timeouts) as (_, proxy):
        begun = time.monotonic()
        assert (await proxy.ask()).body == b"".join((*sent, ERROR_EVENT))
        assert time.monotonic() - begun >= timeouts.idle
