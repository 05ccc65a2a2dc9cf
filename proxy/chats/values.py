"""A chat and its messages, as they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

Role: TypeAlias = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """One chat of a user. messages: how many it has; updated: when the last of them was written."""

    chat_id: str
    created: datetime
    updated: datetime
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. position: from 1; complete: False for an answer that was cut short, or is being written; model: who answers."""

    position: int
    role: Role
    content: str
    complete: bool
    model: str | None
    created: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer belongs: after its question. asked: tells this chat from a later one of the same id."""

    owner: str
    chat_id: str
    position: int
    asked: datetime

    @property
    def first(self) -> bool:
        """Whether the chat begins with that question."""
        return self.position == 2
