from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from backends.remote.sse import EventGate, SseEvent, SseParser, last_event_end

pieces = st.lists(
    st.sampled_from(
        [
            b"data: a",
            b"data:b",
            b"data",
            b"event: e",
            b": ping",
            b"id: 1",
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            "ü\x85\u2028".encode(),
            b":",
        ]
    ),
    max_size=20,
).map(b"".join)


def cut(data: bytes, places: set[int]) -> list[bytes]:
    cuts = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(cuts)]


places = st.sets(st.integers(0, 200), max_size=30)


@given(pieces, places)
def test_every_partition_gives_the_same_events(data: bytes, where: set[int]) -> None:
    parser = SseParser()
    assert [event for read in cut(data, where) for event in parser.feed(read)] == SseParser().feed(data)


def test_events_as_the_standard_has_them() -> None:
    stream = b"\xef\xbb\xbfdata: one\ndata:two\n\n: comment\n\nevent: x\rdata\r\rdata: caf\xc3\xa9\r\n\r\nevent: y\n\ndata: open"
    assert SseParser().feed(stream) == [
        SseEvent("", b"one\ntwo"),
        SseEvent("x", b""),
        SseEvent("", "café".encode()),
    ]


def test_only_cr_and_lf_end_lines() -> None:
    text = "a\x85b\u2028c\x0bd".encode()
    assert SseParser().feed(b"data: " + text + b"\n\n") == [SseEvent("", text)]


def test_where_events_end() -> None:
    for data, end in (
        (b"", 0),
        (b"a\n", 0),
        (b"a\n\nb", 3),
        (b"a\r\n\r\nb", 5),
        (b"a\r\rb", 3),
        (b"a\n\nb\r\n\r\n", 8),
        (b"\n\nx\r\r", 5),
    ):
        assert last_event_end(data) == end, data


@given(pieces, places)
def test_a_gate_lets_only_whole_events_through_and_loses_nothing(data: bytes, where: set[int]) -> None:
    gate, passed = EventGate(10_000), b""
    for read in cut(data, where):
        through = gate.feed(read)
        assert not through or last_event_end(passed[-3:] + through) == len(passed[-3:] + through)
        passed += through
    assert gate.held == len(data) - len(passed)
    assert passed + gate.flush() == data


def test_an_event_beyond_the_limit_goes_through_as_it_comes() -> None:
    gate = EventGate(10)
    assert gate.feed(b"data: 1234") == b""
    assert (gate.feed(b"5"), gate.torn) == (b"data: 12345", True)
    assert (gate.feed(b"6"), gate.torn, gate.held) == (b"6", True, 0)
    assert (gate.feed(b"\n\nd"), gate.torn, gate.held) == (b"\n\n", False, 1)
