"""What the paths of the models API take and answer."""

from __future__ import annotations

from collections.abc import Iterable

from backends.types import JsonObject
from proxy.contracts.models.pairs import LARGEST_PAGE
from proxy.contracts.models.shapes import (
    ASR_MODELS,
    HEALTH_CHECK,
    LANGUAGE_SUPPORT,
    LOAD,
    LOADING,
    MODELS_STATUS,
    MT_MODELS,
    UNLOADED,
)
from proxy.errors import ErrorCode
from proxy.operation import BARE, BODY, FLAG, MODEL, NUMBER, OBJECT, Answer, Operation, many, record, text, whole
from proxy.sessions.config import ModelConfig

PAIRS: dict[str, JsonObject] = {
    "source": text("pairs from this language alone"),
    "target": text("pairs into this language alone"),
    "limit": whole(1, LARGEST_PAGE, "pairs on a page, all where it is not said; X-Total-Count says how many there are"),
    "offset": whole(0, 10**6, "pairs before the page"),
}
CHANGE = record({}, {"asr": OBJECT, "mt": OBJECT})
UPDATE = record({}, {"asr": OBJECT, "mt": OBJECT, "apply_immediately": FLAG})


def operations() -> Iterable[Operation]:
    """One for each route."""
    return (*_discovery(), *_lifecycle(), *_sessions(), *map(_socket, ("/ws", "/ws/{sid}")))


def _discovery() -> Iterable[Operation]:
    return (
        _get("/api/models/asr", "Speech models, and which is best for what", ASR_MODELS),
        Operation(
            method="GET",
            path="/api/models/mt",
            summary="Translation models; their language pairs, the best first",
            query=PAIRS,
            success={200: Answer(description="Models and pairs", schema=MT_MODELS)},
        ),
        Operation(
            method="GET",
            path="/api/languages/mt/{model_id}",
            summary="What a translation model speaks, and how well; its language pairs",
            query=PAIRS,
            success={200: Answer(description="Languages and pairs", schema=LANGUAGE_SUPPORT)},
            errors=BARE | {ErrorCode.MODEL_NOT_FOUND},
        ),
    )


def _lifecycle() -> Iterable[Operation]:
    """What models do now, and what they should."""
    return (
        _get("/api/models/status", "What each model does now, as measured", MODELS_STATUS),
        _act("health-check", "Try a model out", HEALTH_CHECK),
        _act("load", "Load a model, without waiting for it", LOADING, LOAD),
        _act("unload", "Unload a model when what runs on it has ended", UNLOADED),
    )


def _act(action: str, summary: str, schema: JsonObject, body: JsonObject | None = None) -> Operation:
    return Operation(
        method="POST",
        path=f"/api/models/{{model_id}}/{action}",
        summary=summary,
        body=body,
        optional=True,
        success={200: Answer(description=summary, schema=schema)},
        errors=BODY | MODEL | {ErrorCode.UNSUPPORTED},
    )


def _sessions() -> Iterable[Operation]:
    config = ModelConfig.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    moments = {name: text() for name in ("created_at", "updated_at", "last_used_at", "expires_at")}
    listed = record({"session_id": text(), **moments})
    session = record({"session_id": text(), **moments, "config": config}, {"next_config": config})
    unknown = frozenset({ErrorCode.NOT_FOUND})
    return (
        Operation(
            method="POST",
            path="/api/sessions",
            summary="A new session",
            body=CHANGE,
            optional=True,
            success={201: Answer(description="The session", schema=session)},
            errors=BODY | {ErrorCode.OVERLOADED},
        ),
        _get("/api/sessions", "One's own sessions", record({"sessions": many(listed)})),
        Operation(
            method="DELETE",
            path="/api/sessions",
            summary="End all of one's own sessions",
            success={200: Answer(description="Those that ended", schema=record({"deleted": many(text())}))},
        ),
        _get("/api/sessions/{session_id}", "One session", session, unknown),
        Operation(
            method="DELETE",
            path="/api/sessions/{session_id}",
            summary="End a session",
            success={200: Answer(description="It has ended", schema=record({"session_id": text(), "status": text()}))},
            errors=BARE | unknown,
        ),
        _get("/api/sessions/{session_id}/models/config", "What holds for requests of a session", config, unknown),
        Operation(
            method="PUT",
            path="/api/sessions/{session_id}/models/config",
            summary="Change the configuration of a session",
            body=UPDATE,
            success={
                200: Answer(
                    description="What holds now",
                    schema=record(
                        {"updated_at": text(), "config": config, "restart_required": FLAG},
                        {"estimated_restart_time_ms": NUMBER},
                    ),
                )
            },
            errors=BODY | unknown,
        ),
    )


def _socket(path: str) -> Operation:
    return Operation(
        method="GET",
        path=path,
        summary="What happens to models and sessions, as it happens; live captions of audio sent over it",
        success={101: Answer(description="A WebSocket"), 426: Answer(description="The request asked for no WebSocket")},
        errors=BARE | {ErrorCode.FORBIDDEN},
    )


def _get(path: str, summary: str, schema: JsonObject, errors: frozenset[ErrorCode] = frozenset()) -> Operation:
    answer = Answer(description=summary, schema=schema)
    return Operation(method="GET", path=path, summary=summary, success={200: answer}, errors=BARE | errors)
