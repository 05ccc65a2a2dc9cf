from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from backends.remote.accounting import Seen, StreamError, leading_error, of_json, of_stream
from backends.types import Usage


def event(**members: object) -> bytes:
    return b"data: " + orjson.dumps(members) + b"\n\n"


DELTA = event(choices=[{"index": 0, "delta": {"content": "data: [DONE]\ndata: x"}, "finish_reason": None}])
STOP = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
USAGE = event(choices=[], usage={"prompt_tokens": 4, "completion_tokens": 2})
DONE = b"data: [DONE]\n\n"


def test_a_streams_last_events() -> None:
    assert of_stream(DELTA + STOP + USAGE + DONE) == Seen(Usage(4, 2), "stop")
    assert of_stream(DELTA + STOP + DONE) == Seen(None, "stop")
    assert of_stream(DELTA + DELTA) == Seen()
    assert of_stream(DELTA + event(error={"message": "x"}) + DONE) == Seen(failed=True)
    assert of_stream((STOP + USAGE).replace(b"\n", b"\r\n")) == Seen(Usage(4, 2), "stop")
    assert of_stream(b"1f\r\n" + STOP + b"\r\n2a\r\n" + USAGE + b"\r\n") == Seen(Usage(4, 2), "stop")


def test_the_latest_of_running_usage_counts() -> None:
    running = event(choices=[{"finish_reason": None}], usage={"prompt_tokens": 4, "completion_tokens": 1})
    assert of_stream(running + STOP.replace(b"data: ", b"data:") + USAGE) == Seen(Usage(4, 2), "stop")


def test_json_answers() -> None:
    assert of_json(b'{"usage": {"prompt_tokens": 3, "total_tokens": 3}}') == Seen(Usage(3, 0))
    assert of_json(b'{"text": "hi", "usage": {"type": "duration", "seconds": 2}}') == Seen()
    assert of_json(
        b'{"object": "response", "status": "incomplete", "usage": {"input_tokens": 1, "output_tokens": 2}}'
    ) == Seen(Usage(1, 2), "incomplete")


@given(
    st.binary(max_size=200)
    | st.sampled_from([b"[]", b"null", b'{"usage": 1, "choices": [1, {}]}', b"data: {}\n", b'data: {"usage": []}'])
)
def test_nothing_is_found_in_anything_else(noise: bytes) -> None:
    assert of_json(noise) == Seen()
    assert of_stream(noise) == Seen()


def test_a_leading_error() -> None:
    error = b'{"error":{"message":"m","code":429}}'
    assert leading_error(b"data: " + error + b"\n\n") == StreamError(429, error)
    assert leading_error(DELTA.replace(b"x", b'\\"error\\"')) is None
    assert leading_error(event(error=None, choices=[])) is None
