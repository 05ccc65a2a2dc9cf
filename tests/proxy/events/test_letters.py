"""Events as texts: whatever is written is read as it was, once, and what never came is noticed."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from proxy.events.letters import KINDS, NOTHING, Letter, Mailbox, Received, written
from proxy.events.values import CaptionFinal, CaptionWord, Event, LoadFailed, LoadStarted, SessionConfigUpdated

WORDS = st.builds(
    CaptionWord, text=st.text(max_size=9), start=st.floats(0, 9), end=st.floats(0, 9), probability=st.floats(0, 1)
)
TEXT = st.text(max_size=300)
EVENTS = st.one_of(
    st.builds(LoadFailed, model_id=TEXT, error_code=TEXT, error_message=TEXT, suggestions=st.lists(TEXT, max_size=3).map(tuple)),
    st.builds(LoadStarted, model_id=TEXT, model_type=st.just("asr"), memory_required_mb=st.none() | st.floats(0, 1e6)),
    st.builds(
        SessionConfigUpdated,
        updated_at=TEXT,
        config=st.dictionaries(TEXT, st.none() | st.integers(-5, 5) | st.lists(TEXT, max_size=2), max_size=3),
        restart_required=st.booleans(),
    ),
    st.builds(
        CaptionFinal,
        stream_id=TEXT, segment_id=TEXT, text=TEXT, start=st.floats(0, 9), end=st.floats(0, 9),
        words=st.lists(WORDS, max_size=4).map(tuple), language=st.none() | TEXT,
    ),
)  # fmt: skip
STARTED = LoadStarted(model_id="m", model_type="asr")


def letter(number: int, event: Event = STARTED, sender: str = "a", wall: float = 0.5) -> Letter:
    return Letter(sender=sender, number=number, event=event, wall=wall, sid="sess_1", corr=None)


def test_every_event_can_be_sent() -> None:
    here_alone = {"events.missed"}
    assert {kind.kind for kind in Event.__subclasses__()} == {*KINDS, *here_alone}


@given(EVENTS, st.integers(60, 500), st.none() | TEXT, st.none() | TEXT)
def test_what_is_written_is_read(event: Event, longest: int, sid: str | None, corr: str | None) -> None:
    sent = Letter(sender="a", number=7, event=event, wall=1.25, sid=sid, corr=corr)
    texts = written(sent, longest)
    assert all(text.isascii() and len(text) <= longest for text in texts)
    mailbox = Mailbox("b")
    *unfinished, last = [mailbox.read(text) for text in texts]
    if len(texts) <= 256:
        assert unfinished == [NOTHING] * (len(texts) - 1)
        assert last == Received(sent)


def test_ones_own_come_back_and_are_nothing() -> None:
    assert Mailbox("a").read(*written(letter(1), 7900)) == NOTHING


def test_nothing_is_told_twice_and_what_is_missing_is_noticed() -> None:
    mailbox = Mailbox("b")
    first, second, fourth = (written(letter(number, wall=float(number)), 7900)[0] for number in (1, 2, 4))
    assert [mailbox.read(text).missed_since for text in (first, first, second, fourth)] == [None, None, None, 2.0]
    assert mailbox.read(second) == mailbox.read(fourth) == NOTHING
    # Of one that is heard for the first time nobody knows what it said before.
    other = mailbox.read(written(letter(9, sender="c"), 7900)[0])
    assert other.letter is not None and other.missed_since is None


def test_a_letter_that_lacks_a_piece_is_missing() -> None:
    mailbox = Mailbox("b")
    mailbox.read(written(letter(1, wall=3.0), 7900)[0])
    *pieces, _ = written(letter(2), 100)
    for piece in pieces:
        assert mailbox.read(piece) == NOTHING
    after = mailbox.read(written(letter(3), 7900)[0])
    assert (after.letter, after.missed_since) == (letter(3), 3.0)


def test_two_who_send_at_once_are_kept_apart() -> None:
    mailbox = Mailbox("c")
    mine, other = written(letter(1), 100), written(letter(1, sender="b"), 100)
    read = [mailbox.read(text) for pair in zip(mine, other, strict=True) for text in pair]
    assert [received.letter.sender for received in read if received.letter is not None] == ["a", "b"]


@given(st.text(max_size=60) | st.from_regex(r"x [0-9]{1,3} [0-9]{1,3} [0-9]{1,3} .*", fullmatch=True))
def test_whatever_else_comes_is_nothing(text: str) -> None:
    assert Mailbox("b").read(text).letter is None


def test_events_of_another_version_are_passed_over_and_not_missed() -> None:
    def sent(number: int, kind: str, **data: object) -> str:
        said = {"kind": kind, "wall": 1.0, "sid": None, "corr": None, "data": data}
        return f"a {number} 1 1 {json.dumps(said)}"

    mailbox = Mailbox("b")
    known = mailbox.read(sent(1, "session.closed", reason="deleted", by="somebody")).letter
    assert known is not None and known.event.kind == "session.closed"
    for number, text in enumerate((sent(2, "session.paused"), sent(3, "session.closed"), "a 4 1 1 {"), start=2):
        assert mailbox.read(text) == NOTHING, number
    assert mailbox.read(sent(5, "session.closed", reason="deleted")).missed_since is None
