"""What a stream of captions is asked for, and whom it talks to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from backends.types import Event as Output
from backends.types import Request, Transcribe, Translate
from proxy.errors import ApiError
from proxy.events.values import Event
from proxy.registry.models import ModelEntry

Format: TypeAlias = Literal["pcm16", "webm"]
Run: TypeAlias = Callable[[ModelEntry, Request], AsyncGenerator[Output, None]]
Tell: TypeAlias = Callable[[Event], None]
Fail: TypeAlias = Callable[[ApiError], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What serves now: models, and requests whose audio and texts are still to come. translate: None = captions only."""

    speech: tuple[ModelEntry, Transcribe]
    translate: tuple[ModelEntry, Translate] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """plan: what serves, asked for each utterance; run: a request as a model's events; tell: takes what listeners are told;
    fail: takes errors that the stream survives.
    """

    name: str
    format: Format
    plan: Callable[[], Awaitable[Plan]]
    run: Run
    tell: Tell
    fail: Fail
