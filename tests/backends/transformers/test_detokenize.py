from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.transformers.detokenize import UNDECODABLE, Detokenizer
from backends.transformers.model import Model

PROMPTS = st.text(st.characters(exclude_characters=UNDECODABLE, exclude_categories=["Cs"]), max_size=8)


@given(prompt=PROMPTS, tokens=st.lists(st.integers(0, 1023), max_size=30))
def test_pieces_of_any_tokens_make_their_whole_text(nano_model: Model, prompt: str, tokens: list[int]) -> None:
    context = nano_model.tokenizer.encode(prompt, add_special_tokens=False)
    tail = context[-6:]
    detokenizer = Detokenizer(nano_model.decode, context)

    text = "".join(detokenizer.push(token) for token in tokens) + detokenizer.flush()

    assert text == nano_model.decode([*tail, *tokens]).removeprefix(nano_model.decode(tail))


@given(text=PROMPTS)
def test_characters_come_whole(nano_model: Model, text: str) -> None:
    tokens = nano_model.tokenizer.encode(text, add_special_tokens=False)
    detokenizer = Detokenizer(nano_model.decode, [1, 4])

    pieces = [detokenizer.push(token) for token in tokens]

    assert "".join(pieces) == nano_model.decode(tokens)
    assert UNDECODABLE not in "".join(pieces)
    assert detokenizer.flush() == ""


def test_bytes_that_become_no_character_come_at_the_end(nano_model: Model) -> None:
    first, *_ = nano_model.tokenizer.encode("€", add_special_tokens=False)
    detokenizer = Detokenizer(nano_model.decode, [])

    assert detokenizer.push(first) == ""
    assert detokenizer.flush() == UNDECODABLE
    assert detokenizer.flush() == ""


def test_a_space_that_depends_on_what_stands_before_is_kept() -> None:
    def decode(tokens: object) -> str:
        return "".join(f" w{token}" for token in tokens)[1:]  # type: ignore[attr-defined]

    detokenizer = Detokenizer(decode, [1, 2])

    assert [detokenizer.push(token) for token in (3, 4, 5)] == [" w3", " w4", " w5"]
