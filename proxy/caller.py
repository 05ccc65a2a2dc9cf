"""Who asks, how urgently, and how much of the service they may have at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from hashlib import sha256


class Priority(IntEnum):
    """The lower the number, the sooner."""

    HIGH = 0
    NORMAL = 1
    LOW = 2

    def __str__(self) -> str:
        """As headers and configuration files say it."""
        return self.name.lower()


PRIORITIES = {str(priority): priority for priority in Priority}
"""By word."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One side of a queue's fairness.

    key: the name of its API key, never the key; "" on a door without keys. priority: of this request; highest: the most it
    may ask for; weight: its share of the slots next to others' of the same priority; most: its requests at once, the
    waiting ones included, None = no limit.
    """

    key: str = ""
    priority: Priority = Priority.NORMAL
    highest: Priority = Priority.HIGH
    weight: float = 1.0
    most: int | None = None

    def asking(self, priority: Priority) -> Caller:
        """The same caller with a request of this priority, or of the highest it may have."""
        return replace(self, priority=max(priority, self.highest))


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that clients send. key: its SHA-256, all that is kept of it."""

    caller: Caller
    key: bytes = field(repr=False)


def digest(key: str) -> bytes:
    """What is kept of an API key."""
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


ANYONE = Caller()
"""Whoever comes in by an open door."""
