"""What the paths of the chat endpoint take and answer."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.contracts.chat.chats import MAX_PAGE
from proxy.contracts.chat.requests import MAX_CHAT_ID, ChatRequest
from proxy.errors import ErrorCode
from proxy.operation import BARE, BODY, OBJECT, Answer, Operation, text, whole

LIMIT = {"limit": whole(1, MAX_PAGE)}


def operations() -> Iterable[Operation]:
    """One for each route."""
    return (
        Operation(
            method="POST",
            path="/api/ai/huggingface/{publisher}/{name}/chat",
            summary="Answer a conversation: the text itself, as it comes; events for those who accept them",
            query={"chat_id": {"type": "string", "minLength": 1, "maxLength": MAX_CHAT_ID}},
            body=ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}"),
            success={200: Answer(description="The answer's text", media="text/event-stream")},
            errors=BODY | {ErrorCode.INTERNAL, ErrorCode.OVERLOADED},
        ),
        Operation(
            method="GET",
            path="/api/ai/chats",
            summary="One's own chats, those last written to first",
            query={**LIMIT, "before": text("`next` of the page before")},
            success={200: Answer(description="A page of chats", schema=OBJECT)},
        ),
        Operation(
            method="GET",
            path="/api/ai/chats/{chat_id}",
            summary="A chat and its messages in order",
            query={**LIMIT, "after": whole(0, 2**31 - 1)},
            success={200: Answer(description="The chat", schema=OBJECT)},
            errors=BARE | {ErrorCode.NOT_FOUND},
        ),
        Operation(
            method="DELETE",
            path="/api/ai/chats/{chat_id}",
            summary="Remove a chat with all its messages",
            success={204: Answer(description="It is gone")},
            errors=BARE | {ErrorCode.NOT_FOUND},
        ),
    )
