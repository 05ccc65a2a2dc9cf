from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.remote.framing import EVENT_END, LAST_CHUNK, ChunkedDecoder, LengthDecoder, chunk, whole_event_chunks
from backends.remote.heads import ProtocolError


@st.composite
def partitions(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Any way to cut `data` into reads."""
    cuts = sorted(draw(st.sets(st.integers(1, max(len(data) - 1, 1)), max_size=12)) | {0, len(data)})
    return [data[start:stop] for start, stop in itertools.pairwise(cuts)]


payloads = st.lists(st.binary(min_size=1, max_size=300), max_size=6)


@given(payloads, st.data())
def test_chunks_decode_the_same_however_they_arrive(parts: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(map(chunk, parts)) + b"0;last\r\nA: b\r\n\r\n"
    decoder = ChunkedDecoder()
    decoded = b"".join(decoder.feed(read) for read in data.draw(partitions(wire)))
    assert (decoded, decoder.done, decoder.excess) == (b"".join(parts), True, False)


@given(payloads)
def test_a_decoder_is_at_a_boundary_between_chunks_only(parts: list[bytes]) -> None:
    decoder = ChunkedDecoder()
    for part in parts:
        wire = chunk(part)
        for byte in wire[:-1]:
            decoder.feed(bytes([byte]))
            assert not decoder.boundary
        decoder.feed(wire[-1:])
        assert decoder.boundary


def test_bytes_after_the_end_are_excess() -> None:
    chunked, counted = ChunkedDecoder(), LengthDecoder(2)
    assert (chunked.feed(LAST_CHUNK + b"x"), chunked.done, chunked.excess) == (b"", True, True)
    assert (counted.feed(b"abc"), counted.done, counted.excess) == (b"ab", True, True)


@pytest.mark.parametrize(
    "wire", [b"\r\n", b"+5\r\n", b"0x5\r\n", b"5_0\r\n", b" 5\r\n", b"5\n", b"-1\r\n", b"g\r\n", b"1\r\naXX"]
)
def test_what_another_reader_could_take_differently_is_refused(wire: bytes) -> None:
    assert not whole_event_chunks(wire + b"x" * 8 + b"\n\n\r\n")
    with pytest.raises(ProtocolError):
        ChunkedDecoder().feed(wire)


def test_what_came_before_a_fault_is_told_with_it() -> None:
    with pytest.raises(ProtocolError) as fault:
        ChunkedDecoder().feed(chunk(b"sound") + b"1\r\naXX")
    assert fault.value.payload == b"sounda"


texts = st.binary(max_size=300).filter(lambda text: EVENT_END not in text + EVENT_END[:2])
events = st.lists(texts.map(lambda text: b"data: " + text + b"\n\n"), min_size=1, max_size=5)


def capital_chunk(payload: bytes) -> bytes:
    return b"%X\r\n%b\r\n" % (len(payload), payload)


@given(events, st.sampled_from([chunk, capital_chunk]))
def test_whole_chunks_of_whole_events_are_recognised(parts: list[bytes], framed: Callable[[bytes], bytes]) -> None:
    assert whole_event_chunks(b"".join(map(framed, parts)))


@given(
    st.binary(max_size=200) | events.map(lambda parts: b"".join(map(chunk, parts))),
    st.integers(0, 600),
    st.binary(max_size=3),
)
def test_what_is_recognised_is_what_the_decoder_sees(data: bytes, position: int, noise: bytes) -> None:
    mutated = data[:position] + noise + data[position + len(noise) :]
    if whole_event_chunks(mutated):
        decoder = ChunkedDecoder()
        payload = decoder.feed(mutated)
        assert (decoder.done, decoder.excess, decoder.boundary, payload.endswith(b"\n\n")) == (False, False, True, True)


@pytest.mark.parametrize(
    "data",
    [
        b"1\r\n\n\r\n",
        b"2\r\n\n\n\r\n",
        b"8\r\ndata: x\n\r\n",
        b"c\r\ndata: x\n\nda\r\n",
        chunk(b"data: 1\n\n") + LAST_CHUNK,
        b"",
    ],
)
def test_anything_else_is_not(data: bytes) -> None:
    assert not whole_event_chunks(data)
