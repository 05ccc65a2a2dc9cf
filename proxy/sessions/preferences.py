"""What a session wants, as a request that names it sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.types import Json, Task, Transcribe, Translate
from proxy.errors import ApiError
from proxy.sessions.effect import relayed_fields
from proxy.sessions.placing import Compute
from proxy.sessions.values import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What holds for a request that names a session, where it says nothing itself; without one, nothing does.

    models: those that the session names for a task, or why one is not there any more; transcribe, translate: requests
    without their audio and texts; said: what the session itself says.
    """

    session: Session | None = None
    models: Mapping[Task, str | ApiError] = field(default_factory=dict)
    transcribe: Transcribe = field(default_factory=lambda: Transcribe(audio=b""))
    translate: Translate = field(default_factory=lambda: Translate(texts=()))
    compute: Mapping[Task, Compute] = field(default_factory=dict)
    said: Mapping[str, Json] = field(default_factory=dict)

    def model(self, task: Task) -> str | None:
        """The name of the model that the session wants for a task. Raises MODEL_NOT_FOUND for one that has gone."""
        named = self.models.get(task)
        if isinstance(named, ApiError):
            raise named
        return named

    @property
    def relayed(self) -> dict[str, str]:
        """The fields of an audio form that tell an engine elsewhere of it. Raises UNSUPPORTED for what none can be told."""
        return relayed_fields(self.said)


NO_PREFERENCES = Preferences()
