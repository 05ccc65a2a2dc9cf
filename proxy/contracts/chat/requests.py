"""What chats are asked with: a user, messages, a chat's id, and whether the answer comes as events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import unquote_to_bytes

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backends.types import Chat
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.http.observe import CALL
from proxy.http.users import bearer, note_user
from proxy.keys import USERS

MAX_MESSAGES = 2048
MAX_CHARACTERS = 1_000_000
MAX_CHAT_ID = 200

_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["user", "assistant"]
    content: str


class ChatRequest(BaseModel):
    """The body of a request: the conversation so far, as the engine will see it. Unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]

    @property
    def question(self) -> str:
        """What is asked now: the last message."""
        return self.messages[-1].content

    def chat(self) -> Chat:
        """The same for an engine."""
        return Chat(messages=tuple({"role": message.role, "content": message.content} for message in self.messages))


def read_request(data: Mapping[str, object]) -> ChatRequest:
    """Check a body. Raises INVALID naming the field, or TOO_LARGE."""
    _refuse_strangers(data, ChatRequest, "")
    listed = data.get("messages")
    for number, message in enumerate(listed[:MAX_MESSAGES] if isinstance(listed, list) else ()):
        if isinstance(message, dict):
            _refuse_strangers(message, Message, f"messages[{number}].")
    try:
        asked = ChatRequest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])[1:201]
        reason = "it must be an object" if first["type"] == "model_type" else first["msg"].lower()
        raise invalid(name, reason) from None
    if asked.messages[-1].role != "user":
        raise invalid("messages", "the last one must be the user's, for it is what is answered")
    for number, message in enumerate(asked.messages):
        if "\x00" in message.content:
            raise invalid(f"messages[{number}].content", "it holds a NUL character (\\u0000)")
    characters = sum(len(message.content) for message in asked.messages)
    if characters > MAX_CHARACTERS:
        reason = f"The messages have {characters} characters; at most {MAX_CHARACTERS} are taken."
        raise ApiError(ErrorCode.TOO_LARGE, reason, param="messages")
    return asked


def _refuse_strangers(data: Mapping[str, object], kind: type[BaseModel], within: str) -> None:
    """Refuse the first unknown field: of a million of them, pydantic would report each."""
    stranger = next((field for field in data if field not in kind.model_fields), None)
    if stranger is not None:
        name = f"{within}{stranger[:100]}"
        raise ApiError(ErrorCode.INVALID, f"`{name}` is not a field here; leave it out.", param=name)


async def read_user(request: web.Request) -> str:
    """Who asks. Raises UNAUTHORIZED, or UNAVAILABLE when that cannot be known now."""
    user = await request.app[USERS].user(bearer(request.headers.get("Authorization")))
    note_user(request[CALL], user)
    return user


def read_query(request: web.Request, *known: str) -> Mapping[str, str]:
    """The query's parameters. Raises INVALID for unknown ones, those that are there twice, and those that are no text."""
    check_text(request.rel_url.raw_query_string, "The query")
    query = request.query
    for name in query:
        if name not in known:
            message = f"`{name[:100]}` is not a parameter here; known: {', '.join(known) or 'none'}."
            raise ApiError(ErrorCode.INVALID, message, param=name[:100])
        if len(query.getall(name)) > 1:
            raise invalid(name, "it is there more than once")
    return query


def check_text(sent: str, what: str) -> None:
    """Refuse bytes that are no UTF-8, which otherwise would be read as other ones. sent: as it stands in the request's line."""
    try:
        unquote_to_bytes(sent.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        raise ApiError(ErrorCode.INVALID, f"{what} holds bytes that are no UTF-8.", param="chat_id") from None


def check_chat_id(chat_id: str | None) -> str:
    """The id of a chat. Raises INVALID."""
    if not chat_id:
        raise ApiError(ErrorCode.INVALID, "Missing required parameter: `chat_id`.", param="chat_id")
    if len(chat_id) > MAX_CHAT_ID or not chat_id.isprintable() or chat_id in (".", ".."):
        raise invalid("chat_id", f"it must be 1 to {MAX_CHAT_ID} printable characters, and not a path's dots")
    return chat_id


def wants_events(accept: str | None) -> bool:
    """Whether an `Accept` header names server-sent events.

    >>> wants_events("text/event-stream"), wants_events("*/*"), wants_events("a/b, Text/Event-Stream;q=0.5")
    (True, False, True)
    """
    for part in (accept or "").split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if kind == "text/event-stream":
            return not any(_REFUSED.fullmatch(parameter) for parameter in parameters)
    return False
