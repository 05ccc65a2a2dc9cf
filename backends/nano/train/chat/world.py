"""The tables of world.toml as one typed value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backends.nano.train.common import read_tables

Lists = Mapping[str, Sequence[str]]
Pairs = Mapping[str, str]


@dataclass(frozen=True)
class World:
    """Everything that the chat model is taught.

    `words`: word lists by name; `answers`: fixed replies; `capitals`: country -> city; `colour_of`: thing -> colour;
    `lists`: kind -> five examples; `system`: system prompts; `prompts`: templates for what users type.
    """

    words: Lists
    answers: Pairs
    capitals: Pairs
    colour_of: Pairs
    lists: Lists
    system: Lists
    prompts: Lists


@cache
def world() -> World:
    """The world of world.toml, read once."""
    return read_tables(Path(__file__).with_name("world.toml"), World)
