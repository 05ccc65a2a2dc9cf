"""What is remembered of events, held against a list that forgets nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.events.replay import Past, Record
from proxy.events.values import CaptionPartial, Event, LoadProgress, SessionClosed

SIDS = (None, "a", "b", "c")


def progress(model: str) -> Event:
    return LoadProgress(model_id=model, progress=1, stage="downloading")


def partial(segment: str) -> Event:
    return CaptionPartial(stream_id="s", segment_id=segment, text="", stable="", start=0, end=1)


EVENTS = st.sampled_from([SessionClosed(reason="deleted"), progress("m"), progress("n"), partial("1"), partial("2")])
HISTORY = st.lists(st.tuples(st.sampled_from(SIDS), EVENTS), max_size=40)


@given(
    history=HISTORY,
    first=st.integers(1, 10),
    ring=st.integers(1, 6),
    most=st.integers(1, 12),
    after=st.integers(-2, 60),
    sid=st.sampled_from(SIDS),
)
def test_what_is_missed_is_told_or_said_to_be_forgotten(
    history: list[tuple[str | None, Event]], first: int, ring: int, most: int, after: int, sid: str | None
) -> None:
    past = Past(first, ring=ring, most=most)
    everything = [Record(first + n, to, event, 0.0, 0) for n, (to, event) in enumerate(history)]
    for record in everything:
        past.add(record)
    missed = past.after(after, sid)
    meant = [record for record in everything if record.sid in (None, sid) and record.seq > after]
    seqs = [record.seq for record in missed.records]
    assert seqs == sorted(set(seqs))
    assert set(missed.records) <= set(meant)
    assert len(seqs) <= ring + min(ring, most)
    if after < first - 1 or after > past.last:
        assert missed.gap
    if not missed.gap:
        lost = set(meant) - set(missed.records)
        assert all(any(_supersedes(newer, old) for newer in meant) for old in lost)


def _supersedes(newer: Record, old: Record) -> bool:
    same = (newer.sid, newer.event.kind, newer.event.subject) == (old.sid, old.event.kind, old.event.subject)
    return same and old.event.subject is not None and newer.seq > old.seq


@given(HISTORY)
def test_nothing_is_forgotten_while_there_is_room(history: list[tuple[str | None, Event]]) -> None:
    past = Past(1)
    for n, (to, event) in enumerate(history):
        past.add(Record(1 + n, to, event, 0.0, 0))
    for sid in SIDS:
        assert not past.after(0, sid).gap


@given(st.integers(1, 40), st.integers(0, 400))
def test_a_place_that_another_server_gave_is_told_from_ones_own(count: int, after: int) -> None:
    first, step = 101, 8
    past = Past(first, step)
    own = [first + number * step for number in range(count)]
    for seq in own:
        past.add(Record(seq, None, SessionClosed(reason="deleted"), 0.0, 0))
    missed = past.after(after, None)
    if after == 0 or after in [*own, first - step]:
        assert [record.seq for record in missed.records] == [seq for seq in own if seq > after]
        assert missed.gap == (after == 0)
    else:
        assert missed.gap and (not missed.records or after < first)


def test_partials_do_not_push_out_what_stays() -> None:
    past = Past(1, ring=3)
    past.add(Record(1, "a", SessionClosed(reason="deleted"), 0.0, 0))
    for n in range(100):
        past.add(Record(2 + n, "a", partial("1"), 0.0, 0))
    missed = past.after(0, "a")
    assert [record.seq for record in missed.records] == [1, 101] and not missed.gap


def test_one_session_pushes_nothing_out_of_another_and_a_closed_one_is_no_loss() -> None:
    past = Past(1, ring=2)
    past.add(Record(1, "a", SessionClosed(reason="deleted"), 0.0, 0))
    for n in range(10):
        past.add(Record(2 + n, "b", SessionClosed(reason="deleted"), 0.0, 0))
    past.forget("b")
    assert [record.seq for record in past.after(0, "a").records] == [1] and not past.after(0, "a").gap
    assert not past.after(1, "c").gap


def test_sessions_that_were_quiet_longest_are_forgotten_first() -> None:
    past = Past(1, most=3)
    for n, sid in enumerate(["a", "b", "a", "c"]):
        past.add(Record(1 + n, sid, SessionClosed(reason="deleted"), 0.0, 0))
    assert past.after(0, "b").gap and not past.after(2, "b").gap
    assert [record.seq for record in past.after(0, "a").records] == [1, 3]
