"""At which line of a TOML text does a field stand that is refused? tomllib does not say."""

from __future__ import annotations

import re
from typing import TypeAlias

Location: TypeAlias = "tuple[str | int, ...]"


class Refused(Exception):
    """What stands at a place of the file cannot be."""

    def __init__(self, where: Location, message: str) -> None:
        super().__init__(message)
        self.where = where
        self.message = message


_HEADER = re.compile(r"^\s*(\[\[|\[)\s*([\w.\-\"' ]+?)\s*\]")
_KEY = re.compile(r"^\s*[\"']?([\w\-]+)[\"']?\s*(?:\.[^=]*)?=")


def line_of(text: str, where: Location) -> int:
    """The line (from 1) of the deepest part of `where` that is written down; 1 if none is.

    >>> line_of('[[engines]]\\nname = "a"\\n[[engines]]\\nurl = 3', ("engines", 1, "url"))
    4
    """
    best, depth = 1, 0
    for number, path in _paths(text):
        shared = _shared(path, where)
        if shared > depth:
            best, depth = number, shared
    return best


def _paths(text: str) -> list[tuple[int, Location]]:
    """Each header and key of the text with its full path; arrays of tables are numbered as they come."""
    counts: dict[str, int] = {}
    prefix: Location = ()
    paths: list[tuple[int, Location]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            prefix = _table(header[2], header[1] == "[[", counts)
            paths.append((number, prefix))
        elif key := _KEY.match(line):
            paths.append((number, (*prefix, key[1])))
    return paths


def _table(name: str, is_array: bool, counts: dict[str, int]) -> Location:
    head, *rest = (part.strip(" \"'") for part in name.split("."))
    if is_array and not rest:
        counts[head] = counts.get(head, -1) + 1
    return (head, counts[head], *rest) if head in counts else (head, *rest)


def _shared(path: Location, where: Location) -> int:
    """How many parts of `where` a line's path covers; 0 when it leads elsewhere."""
    return len(path) if path == where[: len(path)] else 0
