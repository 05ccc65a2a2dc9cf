"""The envelope: whatever is sent is a message or refused, and whatever is told is what was published."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contracts.models.envelope import Message, Moment, Refused, event, read, written
from proxy.events.replay import Record
from proxy.events.values import CaptionFinal, CaptionWord, LoadFailed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["v", "t", "sid", "id", "seq", "corr", "t_wall", "t_mono_ns", "data", "other"])
NEARLY = st.dictionaries(FIELDS, JSON | st.sampled_from([1, "session.hello", "sess_1", {}]), max_size=9)


@given(st.text(max_size=200) | (NEARLY | JSON).map(lambda value: orjson.dumps(value).decode()))
def test_whatever_is_sent_is_a_message_or_refused(text: str) -> None:
    try:
        message = read(text, "sess_1")
    except Refused as refused:
        assert refused.error.status in (400, 413) and refused.error.message
        return
    assert message.v == 1 and message.sid in (None, "sess_1")
    assert Message.model_validate(orjson.loads(text)) == message


@given(st.floats(0, 4e9), st.integers(0, 2**62), st.integers(0, 2**62))
def test_a_message_is_written_at_its_moment(wall: float, mono: int, seq: int) -> None:
    told: dict[str, Any] = orjson.loads(written("t", {}, None, "msg_1", seq, "c", Moment(wall, mono)))
    assert (told["t_mono_ns"], told["seq"], told["corr"], told["sid"]) == (mono, seq, "c", None)
    assert len(told["t_wall"]) == 24 and told["t_wall"].endswith("Z")


def test_what_is_not_known_is_not_told() -> None:
    failed = LoadFailed(model_id="m", error_code="LOADING_TIMEOUT", error_message="Too long.")
    told = orjson.loads(event(Record(7, None, failed, 0.0, 1), "sess_1"))
    assert told["data"] == {
        "model_id": "m",
        "error_code": "LOADING_TIMEOUT",
        "error_message": "Too long.",
        "suggestions": [],
    }
    assert (told["id"], told["seq"], told["sid"], told["t_wall"]) == ("evt_7", 7, "sess_1", "1970-01-01T00:00:00.000Z")


def test_words_are_objects() -> None:
    word = CaptionWord(text="so", start=0.0, end=0.2, probability=1.0)
    final = CaptionFinal(stream_id="s", segment_id="1", text="so", start=0.0, end=0.2, words=(word,))
    told = orjson.loads(event(Record(1, "a", final, 0.0, 1), "a"))
    assert told["data"]["words"] == [{"text": "so", "start": 0.0, "end": 0.2, "probability": 1.0}]


@pytest.mark.parametrize(("name", "corr"), [('"a"', "a"), ("1", None), ('""', None), ('"' + "x" * 101 + '"', None)])
def test_a_refusal_names_the_message_by_its_id(name: str, corr: str | None) -> None:
    with pytest.raises(Refused) as refused:
        read('{"v": 3, "t": "x", "id": ' + name + "}", None)
    assert refused.value.corr == corr
