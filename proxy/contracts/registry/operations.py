"""What the paths of the registry take and answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backends.types import JsonObject
from proxy.errors import ErrorCode
from proxy.operation import (
    BARE,
    BODY,
    FLAG,
    MODEL,
    NOTHING,
    NUMBER,
    OBJECT,
    Answer,
    Operation,
    many,
    one_of,
    record,
    text,
    whole,
)
from proxy.registry.rows import TYPES

PREFIX = "/api/huggingface"
ONE = f"{PREFIX}/models/{{model_id}}"
COUNT = whole(0, 2**63 - 1)

FULL = record(
    {
        "model_id": text(),
        "name": text(),
        "model_type": text(),
        "description": text(),
        "parameters": OBJECT,
        "added_date": text("UTC, as 2025-06-26T21:45:00.000000"),
        "last_used": {"type": ["string", "null"]},
        "usage_count": COUNT,
        "status": one_of("available", "retired"),
    }
)
INFO = record({"model_id": text(), "name": text(), "model_type": text()})
OPTIONS: dict[str, JsonObject] = {
    "max_new_tokens": whole(1, 1_000_000, "100 unless said or stored with the model"),
    "temperature": NUMBER,
    "do_sample": FLAG,
    "top_p": NUMBER,
    "top_k": whole(0, 1_000_000),
    "repetition_penalty": NUMBER,
}
STREAM: JsonObject = {"type": "boolean", "description": "an extension: answer with server-sent events"}
CACHED = record(
    {"loaded_at": {"type": ["string", "null"]}, "device": {"type": ["string", "null"]}, "model_type": text()}
)
MOST_USED = record({"model_id": text(), "name": text(), "usage_count": COUNT})
ROWS = BARE | {ErrorCode.UNAVAILABLE}
KNOWN = ROWS | {ErrorCode.MODEL_NOT_FOUND}


def operations() -> Iterable[Operation]:
    """One for each route."""
    return (*_models(), *_work(), *_memory(), *_facts())


def _models() -> Iterable[Operation]:
    listed = many(FULL)
    fields: dict[str, JsonObject] = {
        "description": {"type": ["string", "null"]},
        "parameters": {"type": ["object", "null"]},
    }
    added = {"model_id": text("a Hugging Face id"), "name": text(), "model_type": one_of(*TYPES)}
    changed = {"name": text(), "model_type": one_of(*TYPES), "status": one_of("available", "retired")}
    left = record({"models": listed, "last_updated": text(), "count": COUNT})
    told = {"model": FULL, "message": text()}
    return (
        _op("GET", f"{PREFIX}/models", "All models", {"models": listed, "count": COUNT}, query={"type": text()}),
        _op("POST", f"{PREFIX}/models", "Register a model", told, BODY, body=record(added, fields)),
        _op("GET", ONE, "One model", {"model": FULL}, KNOWN),
        _op("PUT", ONE, "Change a model", told, BODY | KNOWN, body=record({}, {**changed, **fields, "last_used": {}})),
        _op("DELETE", ONE, "Forget a model", {"message": text(), "models_data": left}, KNOWN),
    )


def _work() -> Iterable[Operation]:
    errors = BODY | MODEL | {ErrorCode.UNSUPPORTED}
    wrote = {
        "response": text(),
        "model_used": text(),
        "prompt": text(),
        "parameters": record({}, OPTIONS),
        "model_info": INFO,
    }
    ran = {"results": many({}), "model_used": text(), "task": text(), "inputs": {}, "model_info": INFO}
    return (
        _op(
            "POST",
            f"{PREFIX}/generate",
            "Generate text",
            wrote,
            errors,
            body=record({"model_id": text(), "prompt": text()}, {**OPTIONS, "stream": STREAM}),
        ),
        _op(
            "POST",
            f"{PREFIX}/pipeline",
            "Run a task on a model; parameters of the task stand beside its inputs",
            ran,
            errors,
            body=record({"model_id": text(), "task": text(), "inputs": {}}, closed=False),
        ),
    )


def _memory() -> Iterable[Operation]:
    cached: dict[str, JsonObject] = {
        "cached_models": {"type": "object", "additionalProperties": CACHED},
        "cached_pipelines": many(text()),
    }
    loaded = {"message": text(), "model_info": INFO, "device": text()}
    force = record({}, {"force_reload": FLAG})
    errors = BODY | MODEL | {ErrorCode.UNSUPPORTED}
    return (
        _op("POST", f"{ONE}/load", "Load a model into memory", loaded, errors, body=force, optional=True),
        _op("GET", f"{PREFIX}/cache", "What is in memory", {**cached, "total_cached": COUNT}),
        _op("DELETE", f"{PREFIX}/cache", "Free memory", {"message": text()}, KNOWN, query={"model_id": text()}),
    )


def _facts() -> Iterable[Operation]:
    figures: dict[str, JsonObject] = {
        "total_models": COUNT,
        "total_usage": COUNT,
        "model_types": {"type": "object", "additionalProperties": COUNT},
        "last_updated": text(),
        "most_used": {"anyOf": [MOST_USED, {"type": "null"}]},
    }
    needed = {"transformers": FLAG, "torch": FLAG, "cuda_available": FLAG}
    return (
        _op("GET", f"{PREFIX}/statistics", "How models are used", {"statistics": record(figures)}),
        _op("GET", f"{PREFIX}/model-types", "Types of which there are models", {"model_types": many(text())}),
        _op("GET", f"{PREFIX}/dependencies", "What this process's models need", {"dependencies": record(needed)}),
    )


def _op(
    method: str,
    path: str,
    summary: str,
    answer: Mapping[str, JsonObject],
    errors: frozenset[ErrorCode] = ROWS,
    *,
    query: Mapping[str, JsonObject] = NOTHING,
    body: JsonObject | None = None,
    optional: bool = False,
) -> Operation:
    schema = record({"success": FLAG, **answer})
    return Operation(
        method=method,
        path=path,
        summary=summary,
        success={200: Answer(description=summary, schema=schema)},
        errors=errors,
        query=query,
        body=body,
        optional=optional,
    )
