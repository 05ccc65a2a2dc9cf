"""Where in a text its tokens lie, read off how the vocabulary spells them: vLLM tells spellings, not places."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from backends.types import Piece

_HEX = re.compile(r"<0x([0-9A-F]{2})>")


def pieces(text: str, tokens: Iterable[tuple[int, str]]) -> tuple[Piece, ...]:
    """Each token (id, spelling) with the characters it stands for. One that is not in the text, as a special token
    that the tokenizer puts before it, stands for none; a part of a character, for the whole of it.
    """
    data = text.encode("utf-8", "replace")
    characters = _characters(data)
    found, at = [], 0
    for token, spelling in tokens:
        size = next((len(way) for way in _readings(spelling) if way and data.startswith(way, at)), 0)
        start, stop = characters[at], characters[at + size - 1] + 1 if size else characters[at]
        found.append(Piece(token, text[start:stop], start, stop))
        at += size
    return tuple(found)


def _characters(data: bytes) -> list[int]:
    """For each byte, and the end, the number of its character."""
    numbers, number = [], -1
    for byte in data:
        number += (byte & 0xC0) != 0x80
        numbers.append(number)
    return [*numbers, number + 1]


def _readings(spelling: str) -> Iterable[bytes]:
    """The bytes that a spelling may stand for: as it is, byte by byte (GPT-2's alphabet), or SentencePiece's."""
    if byte := _HEX.fullmatch(spelling):
        yield bytes([int(byte[1], 16)])
    letters = _alphabet()
    if all(character in letters for character in spelling):
        yield bytes(letters[character] for character in spelling)
    plain = spelling.replace("\u2581", " ")
    yield plain.encode("utf-8", "replace")
    yield plain.removeprefix(" ").encode("utf-8", "replace")


@lru_cache(maxsize=1)
def _alphabet() -> dict[str, int]:
    """GPT-2's letter for each byte: itself where that can be printed, else the next letter from U+0100 on."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + place): byte for place, byte in enumerate(others)}
