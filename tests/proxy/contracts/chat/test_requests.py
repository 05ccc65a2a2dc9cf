"""Whatever is sent is read or refused: bodies, ids and places in lists."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.chats.values import Chat
from proxy.contracts.chat.chats import cursor, read_cursor
from proxy.contracts.chat.requests import check_chat_id, read_request
from proxy.errors import ApiError, ErrorCode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "messages", "x"]), inner),
    max_leaves=8,
)
CHAT_IDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=200).filter(
    lambda text: text not in (".", "..")
)
MESSAGES = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.text()})


@given(st.dictionaries(st.sampled_from(["messages", "x"]), JSON))
@example({"messages": [{"role": "user", "content": "\0"}]})
def test_a_body_is_read_or_refused(data: dict[str, object]) -> None:
    try:
        asked = read_request(data)
    except ApiError as error:
        assert error.code in (ErrorCode.INVALID, ErrorCode.TOO_LARGE)
        assert error.param is not None
    else:
        assert asked.model_dump() == data


@given(st.lists(MESSAGES, max_size=5), st.text())
def test_a_good_body_reaches_the_engine_as_it_stands(history: list[dict[str, str]], question: str) -> None:
    messages = [*history, {"role": "user", "content": question}]
    if any("\0" in message["content"] for message in messages):
        with pytest.raises(ApiError, match="NUL"):
            read_request({"messages": messages})
    else:
        asked = read_request({"messages": messages})
        assert asked.chat().messages == tuple(messages)
        assert asked.question == question


@given(st.text())
def test_an_id_is_taken_as_it_is_or_refused(text: str) -> None:
    try:
        assert check_chat_id(text) == text
    except ApiError as error:
        assert error.param == "chat_id"
    else:
        assert text.isprintable() and 0 < len(text) <= 200


@given(st.datetimes(timezones=st.just(UTC)), CHAT_IDS)
def test_a_place_in_a_list_is_found_again(updated: datetime, chat_id: str) -> None:
    chat = Chat(chat_id=chat_id, created=updated, updated=updated, messages=2)
    assert read_cursor(cursor(chat)) == (updated, chat_id)


@given(st.text() | st.binary().map(lambda data: data.hex()))
def test_any_other_place_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="not the `next` of a page"):
        read_cursor(text)
