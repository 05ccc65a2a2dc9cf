"""What listeners are told: frozen values, one for each kind of event of the models API; None = not known, and not sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from backends.types import Json

ModelType: TypeAlias = Literal["asr", "mt", "text", "pipeline"]
Stage: TypeAlias = Literal["downloading", "converting", "loading_weights", "warming_up"]
UnloadReason: TypeAlias = Literal["requested", "idle", "evicted", "memory_pressure", "reloading", "shutdown"]
CloseReason: TypeAlias = Literal["deleted", "expired"]
StopReason: TypeAlias = Literal["stopped", "limit", "failed", "closed"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. kind: its name on the wire; pace: seconds at least between two that say the same of one subject.

    Fields are the members of `data` on the wire, by their own names.
    """

    kind: ClassVar[str]
    pace: ClassVar[float] = 0.0

    @property
    def subject(self) -> str | None:
        """What it is the latest news of: an older event of this kind and subject is of no use any more. None = it stays."""
        return None


# --------------------------------------------------------------------------- models


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStarted(Event):
    """A model begins to load. The estimate is learned from past loads."""

    kind: ClassVar[str] = "model.load.started"

    model_id: str
    model_type: ModelType
    estimated_load_time_ms: int | None = None
    memory_required_mb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress(Event):
    """How far a load is. progress: percent, of the whole load; told twice a second at most, whoever publishes how often."""

    kind: ClassVar[str] = "model.load.progress"
    pace: ClassVar[float] = 0.5

    model_id: str
    progress: int
    stage: Stage
    memory_used_mb: float | None = None

    @property
    def subject(self) -> str:
        """The model."""
        return self.model_id


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCompleted(Event):
    """A model can run. memory_usage_mb: measured."""

    kind: ClassVar[str] = "model.load.completed"

    model_id: str
    model_type: ModelType
    load_time_ms: int
    memory_usage_mb: float | None = None
    ready_for_inference: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailed(Event):
    """A model did not load. error_code: one of the contract's model error codes; the figures come with INSUFFICIENT_MEMORY."""

    kind: ClassVar[str] = "model.load.failed"

    model_id: str
    error_code: str
    error_message: str
    required_mb: float | None = None
    available_mb: float | None = None
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadStarted(Event):
    """A model takes no more requests and is freed when those that run have ended."""

    kind: ClassVar[str] = "model.unload.started"

    model_id: str
    model_type: ModelType
    reason: UnloadReason


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadCompleted(Event):
    """A model is freed. memory_freed_mb: measured."""

    kind: ClassVar[str] = "model.unload.completed"

    model_id: str
    model_type: ModelType
    reason: UnloadReason
    memory_freed_mb: float | None = None


# --------------------------------------------------------------------------- sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfigUpdated(Event):
    """A session's model configuration changed. config: the whole new one; updated_at: ISO 8601."""

    kind: ClassVar[str] = "session.config.updated"

    updated_at: str
    config: Mapping[str, Json]
    restart_required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed(Event):
    """A session is no more: the last event of its listeners."""

    kind: ClassVar[str] = "session.closed"

    reason: CloseReason


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsMissed(Event):
    """Events of other proxies may never have come here. since: the time from when on, ISO 8601."""

    kind: ClassVar[str] = "events.missed"

    since: str


# --------------------------------------------------------------------------- captions


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionWord:
    """A word of a caption; times in seconds from the start of the stream."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionsStarted(Event):
    """A stream of audio is listened to. sample_rate: of PCM, which is the only one that names it."""

    kind: ClassVar[str] = "asr.started"

    stream_id: str
    format: Literal["pcm16", "webm"]
    model_id: str
    language: str | None = None
    target_language: str | None = None
    sample_rate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionPartial(Event):
    """What a segment seems to say so far; it may change. stable: the beginning that two looks agreed on. Times in seconds."""

    kind: ClassVar[str] = "asr.partial"

    stream_id: str
    segment_id: str
    text: str
    stable: str
    start: float
    end: float

    @property
    def subject(self) -> str:
        """The segment."""
        return f"{self.stream_id}/{self.segment_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionFinal(Event):
    """What a segment says, for good; no text = the partials of this segment were noise. Times in seconds."""

    kind: ClassVar[str] = "asr.final"

    stream_id: str
    segment_id: str
    text: str
    start: float
    end: float
    words: tuple[CaptionWord, ...] = ()
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionTranslated(Event):
    """A final segment in the session's target language. Codes as the configuration has them."""

    kind: ClassVar[str] = "mt.final"

    stream_id: str
    segment_id: str
    text: str
    target_language: str | None = None
    source_language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble(Event):
    """Something went wrong that no message asked for. code, message, details: as in the answers of the API."""

    kind: ClassVar[str] = "error"

    code: str
    message: str
    details: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionsStopped(Event):
    """A stream of audio has ended, and nothing more of it follows. seconds: of audio heard.

    reason: stopped by its client, cut off at its limit, given up after an error, or closed with its connection.
    """

    kind: ClassVar[str] = "asr.stopped"

    stream_id: str
    seconds: float
    reason: StopReason
