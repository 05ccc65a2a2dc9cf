"""The ledger itself: whatever is lost, doubled, out of order, or ended in silence is seen."""

from __future__ import annotations

import random

import pytest

from tests.backends.remote.rig import Answer, chunked, head, json_answer, sse_answer
from tests.faults.ledger import CUT, TOLD, UNKNOWN, WHOLE, Entry, Ledger, judged
from tests.faults.scripted_engine import STREAM_HEAD, Said, ScriptedEngine
from tests.faults.toxic import Bandwidth, BlackHole, Cut, Latency, Limit, Slicer

SAID = Said(1, "ask", "m", 3)
FRAMES = SAID.frames
TOLD_FRAME = b'data: {"error":{"message":"it broke"}}\n\n'
ERROR = b'{"error":{"message":"no"}}'

STREAMS = {
    "whole": (sse_answer(*FRAMES), WHOLE),
    "an event lost": (sse_answer(*FRAMES[:2], *FRAMES[3:]), UNKNOWN),
    "an event twice": (sse_answer(*FRAMES[:3], FRAMES[2], *FRAMES[3:]), UNKNOWN),
    "out of order": (sse_answer(FRAMES[1], FRAMES[0], *FRAMES[2:]), UNKNOWN),
    "bytes after the end": (sse_answer(*FRAMES) + b"x", UNKNOWN),
    "a silent end": (sse_answer(*FRAMES[:3]), UNKNOWN),
    "told": (sse_answer(*FRAMES[:3], TOLD_FRAME), TOLD),
    "told after half an event": (sse_answer(*FRAMES[:3], FRAMES[3][:9], TOLD_FRAME), UNKNOWN),
    "told nothing": (sse_answer(*FRAMES[:3], b'data: {"error":{}}\n\n'), UNKNOWN),
    "cut off": (STREAM_HEAD + chunked(*FRAMES[:3]), CUT),
    "cut off, garbled": (STREAM_HEAD + chunked(b"?"), UNKNOWN),
    "an error": (json_answer(ERROR, b"502 Bad Gateway"), "status 502"),
    "an error cut off": (json_answer(ERROR, b"502 Bad Gateway")[:-3], UNKNOWN),
    "an error without a word": (json_answer(b"{}", b"502 Bad Gateway"), UNKNOWN),
    "a redirect": (head(b"Content-Length: 0\r\n", b"307 Elsewhere"), UNKNOWN),
    "nothing": (b"", UNKNOWN),
}


@pytest.mark.parametrize("name", STREAMS)
def test_how_a_stream_ended(name: str) -> None:
    raw, ending = STREAMS[name]
    assert judged(Answer(raw), FRAMES, None) == ending


@pytest.mark.parametrize(
    ("raw", "ending"),
    [
        (json_answer(SAID.whole), WHOLE),
        (json_answer(SAID.whole)[:-1], CUT),
        (json_answer(SAID.whole.replace(b"stop", b"step")), UNKNOWN),
        (json_answer(ERROR), UNKNOWN),
    ],
)
def test_how_a_whole_answer_ended(raw: bytes, ending: str) -> None:
    assert judged(Answer(raw), (), SAID.whole) == ending


def test_books_that_do_not_balance() -> None:
    engine, ledger = ScriptedEngine(1), Ledger()
    entry = ledger.enter(Entry("ask", FRAMES))
    with pytest.raises(AssertionError, match="unknown = 1"):
        ledger.settle(engine)
    entry.close(sse_answer(*FRAMES), 0.1)
    with pytest.raises(AssertionError, match="no engine was asked"):
        ledger.settle(engine)
    engine.executions["ask"] = 2
    with pytest.raises(AssertionError, match="more than 1 times"):
        ledger.settle(engine)
    ledger.settle(engine, at_most=2)
    assert ledger.seen == "1 sent: 1 whole"


def test_an_engine_says_the_same_to_the_same_and_else_something_else() -> None:
    assert SAID.frames == Said(1, "ask", "m", 3).frames
    assert len({SAID.text, Said(2, "ask", "m", 3).text, Said(1, "other", "m", 3).text}) == 3


def test_toxics_do_the_same_with_the_same_seed_and_lose_nothing_they_should_not() -> None:
    data = random.Random(0).randbytes(1000)
    for toxic in (Latency(1, jitter=0.5), Slicer(7, jitter=5), Bandwidth(1000)):
        one, other = ([*toxic.flow(random.Random(5))(data)] for _ in range(2))
        assert one == other
        assert b"".join(piece for _, piece in one) == data
    assert [*BlackHole().flow(random.Random(5))(data)] == []
    limited = Limit(10).flow(random.Random(5))
    came = b""
    with pytest.raises(Cut):
        for _, piece in limited(data):
            came += piece
    assert came == data[:10]
