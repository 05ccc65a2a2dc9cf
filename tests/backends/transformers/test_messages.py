from __future__ import annotations

import pytest

from backends.errors import Invalid, Unsupported
from backends.transformers.messages import conversation
from backends.types import JsonObject

HELLO: JsonObject = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "messages.0.content.0.type"),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]},
            "messages.0.content.1.type",
        ),
    ],
)
def test_other_content_than_text_is_refused_by_name(message: JsonObject, param: str) -> None:
    with pytest.raises(Unsupported) as caught:
        conversation((message,), knows_developer=False)

    assert caught.value.param == param


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"content": "a"}, "messages.1.role"),
        ({"role": "robot", "content": "a"}, "messages.1.role"),
        ({"role": "user"}, "messages.1.content"),
        ({"role": "user", "content": 3}, "messages.1.content"),
        ({"role": "user", "content": ["a"]}, "messages.1.content.0"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages.1.content.0.text"),
        ({"role": "assistant", "tool_calls": "x"}, "messages.1.tool_calls"),
        ({"role": "assistant", "tool_calls": [{}]}, "messages.1.tool_calls.0"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"arguments": "{"}}]},
            "messages.1.tool_calls.0.function.arguments",
        ),
    ],
)
def test_a_wrong_shape_is_named(message: JsonObject, param: str) -> None:
    with pytest.raises(Invalid) as caught:
        conversation((HELLO, message), knows_developer=False)

    assert not isinstance(caught.value, Unsupported)
    assert caught.value.param == param


def test_text_parts_are_joined_and_tool_arguments_are_objects() -> None:
    parts: JsonObject = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    call: JsonObject = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"x": 1}'}}]}

    assert conversation((parts, call), knows_developer=False) == [
        {"role": "user", "content": "a\nb"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}],
        },
    ]
