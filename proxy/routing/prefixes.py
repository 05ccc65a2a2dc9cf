"""Where has the beginning of this prompt been before? Prompts as chains of hashed blocks, replicas as what they hold of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from backends.types import Chat, Complete, Json, JsonObject

Blocks: TypeAlias = "tuple[int, ...]"

BLOCK = 256
"""Bytes of a block; about 64 tokens of English."""
MOST_BLOCKS = 256
"""Blocks of a prompt that are looked at."""
BYTES_HELD = 256
"""What a block that is remembered costs in memory at most: its hash, and its place in an ordered dictionary."""

_DEPTH = 8  # of content in lists and objects that is looked at


def blocks_of(prompt: JsonObject | Chat | Complete, seed: str = "") -> Blocks:
    """The hashes of a prompt's whole blocks, each with all that comes before it; none for what is no prompt.

    prompt: as parsed, with `messages` (and `tools`) or `prompt` (the first of several); where its fields stand plays no part.
    seed: what else must be the same for a cache to be of use: the model, an adapter, a salt.
    The hashes are this process's own: they cannot be forged, and mean nothing elsewhere.
    """
    room = BLOCK * MOST_BLOCKS
    text = b"".join(_pieces(prompt, room))[:room]
    chain, hashes = hash(seed), []
    for start in range(0, len(text) - BLOCK + 1, BLOCK):
        chain = hash((chain, text[start : start + BLOCK]))
        hashes.append(chain)
    return tuple(hashes)


class Prefixes:
    """The blocks that a replica was sent lately, as far as its cache may still hold them."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def matched(self, blocks: Blocks) -> int:
        """How many of the blocks, from the first on, are held."""
        # A block is never held without those before it: whatever is sent with it, they are, and they go after it.
        held, low, high = self._held, 0, len(blocks)
        while low < high:
            middle = (low + high) // 2
            if blocks[middle] in held:
                low = middle + 1
            else:
                high = middle
        return low

    def uses(self, block: int) -> int:
        """How often the replica was sent the block since it is held."""
        return self._held.get(block, 0)

    def add(self, blocks: Blocks, most: int) -> None:
        """The replica is sent these, and holds `most` blocks, at least one.

        What was sent longest ago makes room; of a prompt its end goes before its beginning.
        """
        held = self._held
        for block in reversed(blocks):
            held[block] = held.get(block, 0) + 1
            held.move_to_end(block)
        while len(held) > most:
            held.popitem(last=False)

    def clear(self) -> None:
        """Its cache is empty: it was started anew, or slept."""
        self._held.clear()


def _pieces(prompt: JsonObject | Chat | Complete, room: int) -> Iterator[bytes]:
    """The prompt's text in pieces, in the order that chat templates write it: tools, then messages."""
    if isinstance(prompt, Complete):
        yield _flat(prompt.prompts[0], room)
    elif isinstance(prompt, Chat):
        yield from _conversation(prompt.tools, prompt.messages, room)
    elif isinstance(messages := prompt.get("messages"), list):
        tools = prompt.get("tools")
        yield from _conversation(tools if isinstance(tools, list) else (), messages, room)
    else:
        text = prompt.get("prompt", prompt.get("input"))
        several = isinstance(text, list) and text and isinstance(text[0], str | list)
        yield _flat(text[0] if several and isinstance(text, list) else text, room)


def _conversation(tools: Iterable[Json], messages: Iterable[Json], room: int) -> Iterator[bytes]:
    for part in (*tools, *messages):
        if room <= 0:
            return
        piece = _flat(part, room)
        room -= len(piece)
        yield piece


def _flat(value: Json | Sequence[int], room: int) -> bytes:
    """The texts in a value, in order, `room` characters at most; token ids as they are written."""
    if isinstance(value, str):
        return value[:room].encode("utf-8", "replace")
    if isinstance(value, list | tuple) and value and isinstance(value[0], int):
        return repr([*value[: room // 4]]).encode()[:room]
    return b"\0".join(text[:room].encode("utf-8", "replace") for text in _texts(value, _DEPTH))[:room]


def _texts(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple) and depth:
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each, depth - 1)
