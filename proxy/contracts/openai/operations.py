"""What the paths of OpenAI's API take and answer."""

from __future__ import annotations

from collections.abc import Iterable

from backends.types import JsonObject
from proxy.errors import ErrorCode
from proxy.operation import BARE, BODY, FILE, FLAG, MODEL, NUMBER, OBJECT, Answer, Operation, many, record, text

ASK = BODY | MODEL | {ErrorCode.NOT_FOUND, ErrorCode.UNSUPPORTED}
LISTED: JsonObject = record({"id": text(), "object": text(), "created": NUMBER, "owned_by": text()}, {"root": text()})
NAMED = {"model": text("a name or an alias of `GET /v1/models`")}
SAMPLING: dict[str, JsonObject] = {
    "max_tokens": {"type": "integer", "minimum": 1},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "seed": {"type": "integer"},
    "stream": FLAG,
}
# What goes on to an engine as it came: the door reads the model's name, and whether the answer streams.
RELAYED = {
    "/v1/responses": "Answer, in the shape of the Responses API",
    "/v1/embeddings": "Vectors of texts",
    "/v1/rerank": "Order documents by how well they fit a query",
    "/rerank": "Order documents by how well they fit a query",
    "/v1/score": "How alike texts are",
    "/score": "How alike texts are",
    "/detokenize": "The text of tokens",
}
TRANSCRIPT = Answer(description="The transcript, in the shape that `response_format` asks for", schema={})


def operations() -> Iterable[Operation]:
    """One for each route."""
    return (
        Operation(
            method="GET",
            path="/v1/models",
            summary="Every model that is configured, and every alias",
            success={200: Answer(description="Models", schema=record({"object": text(), "data": many(LISTED)}))},
        ),
        Operation(
            method="GET",
            path="/v1/models/{id}",
            summary="One model",
            success={200: Answer(description="The model", schema=LISTED)},
            errors=BARE | {ErrorCode.MODEL_NOT_FOUND},
        ),
        _ask("/v1/chat/completions", "Answer a conversation", {"messages": many(OBJECT)}),
        _ask("/v1/completions", "Continue a text", {"prompt": {}}),
        _audio("/v1/audio/transcriptions", "Write down what is said", {"language": text(), "stream": text()}),
        _audio("/v1/audio/translations", "Write down in English what is said", {}),
        *(_ask(path, summary, {}) for path, summary in RELAYED.items()),
        Operation(
            method="POST",
            path="/tokenize",
            summary="The tokens of a text: of vLLM's `prompt` or `messages`, or TGI's `inputs`, each answered as its server does",
            body=record({}, {**NAMED, "prompt": text(), "messages": many(OBJECT), "inputs": text()}, closed=False),
            success={
                200: Answer(description="JSON, as vLLM or TGI has it", schema={}),
                422: Answer(description="`inputs` that TGI would refuse", schema={}),
                424: Answer(description="The engine failed on `inputs`", schema={}),
            },
            errors=ASK,
        ),
    )


def _ask(path: str, summary: str, needed: dict[str, JsonObject]) -> Operation:
    return Operation(
        method="POST",
        path=path,
        summary=summary,
        body=record({**NAMED, **needed}, SAMPLING if needed else {"stream": FLAG}, closed=False),
        success={200: Answer(description="JSON; with `stream` server-sent events", schema={})},
        errors=ASK,
    )


def _audio(path: str, summary: str, others: dict[str, JsonObject]) -> Operation:
    fields = {"prompt": text(), "response_format": text(), "temperature": text(), **others}
    return Operation(
        method="POST",
        path=path,
        summary=summary,
        form=record({"file": FILE}, {"model": text("none = the default"), **fields}, closed=False),
        success={200: TRANSCRIPT},
        errors=ASK,
    )
