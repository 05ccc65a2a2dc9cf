"""Values between processes: what goes in comes out, and nothing but our own goes in."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import EngineSpec, Health, ModelSpec, Progress
from backends.errors import BackendError, Invalid, MediaRefused, Rejected, Unavailable
from backends.inprocess.wire import pack, unpack
from backends.types import (
    Chat,
    Delta,
    Diarize,
    Sampling,
    Segment,
    TokenLogprob,
    ToolCallDelta,
    Transcribe,
    Translate,
    Vad,
    Word,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_plain_values_come_back_as_they_were(value: object) -> None:
    back = unpack(pack(value))
    assert back == value
    assert type(back) is type(value)


def test_figures_that_are_none_come_back_too() -> None:
    back = unpack(pack((math.inf, math.nan)))
    assert isinstance(back, tuple)
    assert back[0] == math.inf
    assert math.isnan(back[1])


@pytest.mark.parametrize(
    "value",
    [
        EngineSpec(name="e", kind="whisper", data=Path("/data"), align_models={"en": "x"}),
        ModelSpec(source="a/b", revision="main", name="mine"),
        Progress("load", 1, None),
        Health(False, "why"),
        Chat(messages=({"role": "user", "content": "hi", "tuple": [1]},), sampling=Sampling(logit_bias={"7": -1.0})),
        Transcribe(audio=b"\x00\xff" * 1000, vad=Vad(threshold=0.5), diarize=Diarize(known=(("Ann", b"voice"),))),
        Translate(texts=("a", "b\ud800")),
        Delta(0, "x", tool_calls=(ToolCallDelta(0, "id"),), logprobs=(TokenLogprob("t", None, (("u", -1.0),)),)),
        Segment(
            id=0,
            seek=0,
            start=0.0,
            end=1.0,
            text="x",
            tokens=(1, 2),
            temperature=0.0,
            avg_logprob=-0.5,
            compression_ratio=1.0,
            no_speech_prob=0.1,
            words=(Word("x", 0.0, 1.0, 0.9),),
        ),
    ],
)
def test_requests_and_events_come_back_as_they_were(value: object) -> None:
    assert unpack(pack((1, "item", value))) == (1, "item", value)


class OwnWord(Unavailable):
    """A kind of error that the other side does not know."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Unavailable("gone", retry_after=1.5), Unavailable),
        (OwnWord("gone", retry_after=1.5), Unavailable),
        (Invalid("wrong", param="x"), Invalid),
        (MediaRefused("long", too_large=True), MediaRefused),
        (Rejected("no", status=422, body=b"{}", content_type="application/json"), Rejected),
    ],
)
def test_errors_keep_their_word_and_all_that_they_say(error: BackendError, kind: type[BackendError]) -> None:
    back = unpack(pack(error))
    assert type(back) is kind
    assert isinstance(back, BackendError)
    assert vars(back) == vars(error)
    assert str(back) == error.message


@pytest.mark.parametrize("value", [object(), {1, 2}, print, ValueError("x")])
def test_nothing_else_goes(value: object) -> None:
    with pytest.raises(TypeError, match="does not go between processes"):
        pack([value])
