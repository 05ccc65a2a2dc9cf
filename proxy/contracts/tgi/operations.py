"""What the paths of TGI's API take and answer (its own document: openapi 3.3.6)."""

from __future__ import annotations

from collections.abc import Iterable

from backends.types import JsonObject
from proxy.errors import ErrorCode
from proxy.operation import BODY, FLAG, MODEL, OBJECT, Answer, Operation, many, record, text

ASK = BODY | MODEL
WHOLE: JsonObject = {"type": "integer"}
PARAMETERS: JsonObject = {
    "type": "object",
    "description": "TGI's GenerateParameters; what the engine cannot do is refused by name",
    "properties": {
        **{name: {"type": "integer", "nullable": True} for name in ("max_new_tokens", "top_k", "top_n_tokens")},
        **{name: {"type": "integer", "nullable": True} for name in ("best_of", "seed", "truncate")},
        **{name: {"type": "number", "nullable": True} for name in ("temperature", "top_p", "typical_p")},
        **{name: {"type": "number", "nullable": True} for name in ("repetition_penalty", "frequency_penalty")},
        **{name: {"type": "boolean", "nullable": True} for name in ("do_sample", "details", "return_full_text")},
        **{name: {"type": "boolean", "nullable": True} for name in ("watermark", "decoder_input_details")},
        "stop": {"type": "array", "items": text(), "maxItems": 4, "nullable": True},
        "grammar": {"type": "object", "nullable": True},
        "adapter_id": {"type": "string", "description": "a model of this door", "nullable": True},
    },
}
MODEL_NAME = text("none = the header X-Model, else the default for text")
REQUEST = record({"inputs": text()}, {"parameters": PARAMETERS, "model": MODEL_NAME})
TOKENS = many(record({"id": WHOLE, "text": text(), "start": WHOLE, "stop": WHOLE}))
GENERATED = record({"generated_text": text()}, {"details": OBJECT})
FAILED = record({"error": text(), "error_type": text()})


def operations() -> Iterable[Operation]:
    """One for each route."""
    compatible = record({"inputs": text()}, {"parameters": PARAMETERS, "stream": FLAG, "model": MODEL_NAME})
    chat = record({"messages": many(OBJECT)}, {"tools": many(OBJECT), "model": MODEL_NAME}, closed=False)
    limits: dict[str, JsonObject] = {
        name: {"type": "integer", "nullable": True} for name in ("max_input_tokens", "max_total_tokens")
    }
    return (
        _ask("/", "Continue a text; with `stream` as server-sent events", compatible, many(GENERATED)),
        _ask("/generate", "Continue a text", REQUEST, GENERATED),
        _ask("/generate_stream", "Continue a text, an event for each token", REQUEST, None),
        _ask(
            "/chat_tokenize",
            "How a model reads a conversation",
            chat,
            record({"tokenize_response": TOKENS, "templated_text": text()}),
        ),
        Operation(
            method="GET",
            path="/info",
            summary="The model that serves when none is named, and the limits",
            query={"model": text("another model")},
            success={
                200: Answer(description="TGI's Info", schema=record({"model_id": text()}, limits, closed=False)),
                422: Answer(description="No model to tell of", schema=FAILED),
            },
            errors=ASK - {ErrorCode.MEDIA_TYPE, ErrorCode.TOO_LARGE},
        ),
    )


def _ask(path: str, summary: str, body: JsonObject, answer: JsonObject | None) -> Operation:
    stream = Answer(description="Events in TGI's shape, errors among them", schema={}, media="text/event-stream")
    return Operation(
        method="POST",
        path=path,
        summary=summary,
        body=body,
        success={
            200: stream if answer is None else Answer(description="As TGI answers", schema=answer, streams=path == "/"),
            422: Answer(description="A request that TGI would refuse", schema=FAILED),
            424: Answer(description="The engine failed", schema=FAILED),
        },
        errors=ASK | {ErrorCode.NOT_FOUND},
    )
