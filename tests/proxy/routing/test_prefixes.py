"""Prompts as blocks, and what replicas hold of them."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.types import Chat, Complete, Json, JsonObject
from proxy.routing.prefixes import BLOCK, BYTES_HELD, MOST_BLOCKS, Prefixes, blocks_of

LONG = "It was the best of times, it was the worst of times. " * 100


def chat(*texts: str) -> JsonObject:
    """A conversation of these texts."""
    return {"model": "m", "messages": [{"role": "user", "content": text} for text in texts]}


def shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many blocks two prompts begin with alike."""
    return next(
        (number for number, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )


def test_prompts_share_the_blocks_that_they_begin_with_alike() -> None:
    one, other = blocks_of(chat(LONG, "a" * 900)), blocks_of(chat(LONG, "b" * 900))

    assert shared(one, other) == len(LONG) // BLOCK
    assert len(one) > shared(one, other)
    assert shared(blocks_of(chat("x" + LONG)), one) == 0


def test_the_next_turn_of_a_conversation_begins_with_the_last() -> None:
    first = blocks_of(chat(LONG, "a question"))

    assert blocks_of(chat(LONG, "a question", "an answer", "another question"))[: len(first)] == first


def test_where_the_fields_stand_plays_no_part_and_how_they_came_neither() -> None:
    messages: list[JsonObject] = [{"role": "user", "content": LONG}]
    turned: JsonObject = {"messages": list(messages), "temperature": 0.5, "model": "m"}

    assert blocks_of(turned) == blocks_of(chat(LONG)) == blocks_of(Chat(messages=tuple(messages)))
    assert blocks_of({"prompt": LONG}) == blocks_of({"prompt": [LONG, "b"]}) == blocks_of(Complete(prompts=(LONG, "b")))


def test_tools_come_before_the_conversation() -> None:
    tools: list[Json] = [{"type": "function", "function": {"name": "f", "description": LONG}}]
    one, other = blocks_of(chat("a" * 600) | {"tools": tools}), blocks_of(chat("b" * 600) | {"tools": tools})

    assert shared(one, other) >= len(LONG) // BLOCK
    assert shared(one, blocks_of(chat("a" * 600))) == 0


def test_token_ids_are_a_prompt_too() -> None:
    ids: list[Json] = [*range(2000)]

    one = blocks_of({"prompt": ids})

    assert len(one) > 10
    assert one == blocks_of({"prompt": [ids]}) == blocks_of(Complete(prompts=(tuple(range(2000)),)))


def test_models_do_not_share_what_they_hold() -> None:
    assert shared(blocks_of(chat(LONG), "one"), blocks_of(chat(LONG), "other")) == 0


def test_of_a_long_prompt_the_beginning_is_looked_at() -> None:
    parts: list[Json] = [{"type": "image_url", "image_url": {"url": "data:" + "A" * 3_000_000}}]

    assert len(blocks_of({"messages": [{"role": "user", "content": parts}]})) == MOST_BLOCKS


@pytest.mark.parametrize(
    "body", [{}, {"messages": []}, {"messages": "hi"}, {"prompt": None}, {"prompt": []}, {"input": 3}]
)
def test_what_is_no_prompt_has_no_blocks(body: JsonObject) -> None:
    assert blocks_of(body) == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
)


@given(st.dictionaries(st.sampled_from(["messages", "prompt", "tools", "input"]), json_values))
def test_no_body_is_too_strange(body: dict[str, Json]) -> None:
    assert blocks_of(body) == blocks_of(dict(reversed(body.items())))


def test_no_body_is_too_deep() -> None:
    deep: Json = "x" * 1000
    for _ in range(900):
        deep = [deep]

    assert blocks_of({"messages": [{"role": "user", "content": deep}]}) == ()


# --------------------------------------------------------------------------- what replicas hold


def test_what_was_sent_last_is_held_and_of_a_prompt_the_beginning() -> None:
    held = Prefixes()
    held.add((1, 2, 3), 4)
    held.add((4, 5, 6), 4)

    assert held.matched((4, 5, 6)) == 3
    assert held.matched((1, 2, 3)) == 1


@given(st.lists(st.tuples(st.text("ab", max_size=12), st.integers(1, 20)), max_size=60))
def test_no_more_is_held_than_allowed_and_of_each_prompt_what_it_begins_with(prompts: list[tuple[str, int]]) -> None:
    held = Prefixes()
    sent: list[tuple[int, ...]] = []
    for text, most in prompts:
        sent.append(tuple(hash(text[: end + 1]) for end in range(len(text))))
        held.add(sent[-1], most)

        assert len(held) <= most
        assert held.matched(sent[-1]) == min(len(text), most)
        for blocks in sent:
            number = held.matched(blocks)
            assert [held.uses(block) > 0 for block in blocks] == [True] * number + [False] * (len(blocks) - number)


def test_uses_are_counted_for_as_long_as_a_block_is_held() -> None:
    held = Prefixes()
    for _ in range(3):
        held.add((1, 2), 8)
    held.add((1, 3), 8)

    assert (held.uses(1), held.uses(2), held.uses(3), held.uses(9)) == (4, 3, 1, 0)
    held.clear()
    assert (held.uses(1), held.matched((1, 2)), len(held)) == (0, 0, 0)


@pytest.mark.parametrize("most", [2_000, 23_000])
def test_a_block_takes_no_more_memory_than_it_is_counted_for(most: int) -> None:
    held = Prefixes()
    tracemalloc.start()
    for start in range(0, 3 * most, 50):
        held.add(tuple(hash(str(start + number)) for number in range(50)), most)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(held) == most
    assert size <= most * BYTES_HELD
