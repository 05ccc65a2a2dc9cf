"""What serves the captions of a session: its models as they are configured now."""

from __future__ import annotations

from aiohttp import web

from backends.types import Task
from proxy.captions.wiring import Plan
from proxy.errors import ApiError, ErrorCode
from proxy.http.sessions import SESSIONS, owner
from proxy.keys import DISPATCHER
from proxy.registry.models import ModelEntry
from proxy.sessions.preferences import Preferences
from proxy.storage.errors import StorageUnavailable


class Planner:
    """Asks anew for each utterance, so that a configuration changed takes effect; while the database is away, what was holds."""

    def __init__(self, request: web.Request, sid: str, *, translate: bool) -> None:
        self._request = request
        self._sid = sid
        self._translate = translate
        self._known: Plan | None = None

    async def plan(self) -> Plan:
        """What serves now. Raises ApiError: the session or a model has gone, or a model runs on an engine elsewhere."""
        sessions = self._request.app[SESSIONS]
        try:
            preferences = await sessions.preferences(owner(self._request), self._sid)
        except StorageUnavailable:
            if self._known is None:
                raise
            return self._known
        speech = await self._entry("transcription", preferences)
        if not self._request.app[DISPATCHER].router.registry.in_process(speech):
            message = f"The model `{speech.name}` is served by another engine, which hears whole files only."
            raise ApiError(ErrorCode.UNSUPPORTED, message, param="asr.model_id")
        plan = Plan(speech=(speech, preferences.transcribe))
        if self._translate and preferences.translate.target is not None:
            text = await self._entry("translation", preferences)
            plan = Plan(speech=plan.speech, translate=(text, preferences.translate))
        self._known = plan
        return plan

    async def _entry(self, task: Task, preferences: Preferences) -> ModelEntry:
        # The router alone: what is heard already is captioned also while the server drains.
        entry = self._request.app[DISPATCHER].router.any(preferences.model(task), task)
        return await self._request.app[SESSIONS].placed(entry, preferences)
