"""Spellings of a vocabulary to places in a text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.types import Piece
from backends.vllm.pieces import pieces


def test_byte_level_tokens_and_a_special_one_before_them() -> None:
    found = pieces("Hi a b", [(1, "<s>"), (2, "Hi"), (3, "Ġa"), (4, "Ġb")])
    assert found == (Piece(1, "", 0, 0), Piece(2, "Hi", 0, 2), Piece(3, " a", 2, 4), Piece(4, " b", 4, 6))


def test_parts_of_a_character_stand_for_the_whole_of_it() -> None:
    found = pieces("aé!", [(1, "a"), (2, "Ã"), (3, "©"), (4, "!")])
    assert [(piece.start, piece.stop) for piece in found] == [(0, 1), (1, 2), (1, 2), (2, 3)]


def test_sentencepiece_spells_spaces_and_bytes_its_own_way() -> None:
    found = pieces("a bé", [(1, "▁a"), (2, "▁b"), (3, "<0xC3>"), (4, "<0xA9>")])
    assert [piece.text for piece in found] == ["a", " b", "é", "é"]


@given(st.text(max_size=20), st.lists(st.tuples(st.integers(0, 9), st.text(max_size=4)), max_size=8))
def test_whatever_the_spellings_places_are_in_the_text_and_in_order(text: str, tokens: list[tuple[int, str]]) -> None:
    found = pieces(text, tokens)
    assert [piece.id for piece in found] == [number for number, _ in tokens]
    assert all(0 <= piece.start <= piece.stop <= len(text) for piece in found)
    assert all(piece.text == text[piece.start : piece.stop] for piece in found)
    assert [piece.start for piece in found] == sorted(piece.start for piece in found)
