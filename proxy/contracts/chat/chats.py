"""One's own chats: `GET /api/ai/chats`, `GET` and `DELETE /api/ai/chats/{chat_id}`. Those of others do not exist here."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
from aiohttp import web

from proxy.chats.values import Chat, Message
from proxy.contracts.chat.requests import check_chat_id, check_text, read_query, read_user
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.keys import CHATS

PAGE = 50
MAX_PAGE = 200


async def list_chats(request: web.Request) -> web.Response:
    """`GET /api/ai/chats?limit=&before=`: the user's chats, those that were last written to first.

    `next` is what to send as `before` for the following page, null on the last.
    """
    owner = await read_user(request)
    query = read_query(request, "limit", "before")
    limit = _number(query, "limit", PAGE, 1, MAX_PAGE)
    before = read_cursor(query["before"]) if "before" in query else None
    found = await request.app[CHATS].all(owner, limit + 1, before)
    page = found[:limit]
    following = cursor(page[-1]) if len(found) > limit else None
    return _json({"chats": [_chat(chat) for chat in page], "next": following})


async def get_chat(request: web.Request) -> web.Response:
    """`GET /api/ai/chats/{chat_id}?limit=&after=`: a chat and its messages, in order.

    `next` is what to send as `after` for the following messages, null where there are none.
    """
    owner = await read_user(request)
    query = read_query(request, "limit", "after")
    limit = _number(query, "limit", PAGE, 1, MAX_PAGE)
    after = _number(query, "after", 0, 0, 2**31 - 1)
    chat_id = _chat_id(request)
    found = await request.app[CHATS].get(owner, chat_id, after, limit)
    if found is None:
        raise _unknown(chat_id)
    chat, messages = found
    following = messages[-1].position if messages and messages[-1].position < chat.messages else None
    return _json({**_chat(chat), "messages": [_message(message) for message in messages], "next": following})


async def delete_chat(request: web.Request) -> web.Response:
    """`DELETE /api/ai/chats/{chat_id}`: 204, and the chat with all its messages is gone."""
    owner = await read_user(request)
    read_query(request)
    chat_id = _chat_id(request)
    if not await request.app[CHATS].delete(owner, chat_id):
        raise _unknown(chat_id)
    return web.Response(status=204)


def _chat_id(request: web.Request) -> str:
    check_text(request.rel_url.raw_path, "The path")
    return check_chat_id(request.match_info["chat_id"])


def cursor(chat: Chat) -> str:
    """Where the page ends whose last chat this is."""
    return base64.urlsafe_b64encode(orjson.dumps([chat.updated.isoformat(), chat.chat_id])).decode()


def read_cursor(text: str) -> tuple[datetime, str]:
    """The `updated` and `chat_id` of the last chat of a page. Raises INVALID."""
    try:
        updated, chat_id = orjson.loads(base64.urlsafe_b64decode(text))
        return _in_utc(datetime.fromisoformat(updated)), check_chat_id(chat_id)
    except (ValueError, TypeError, OverflowError, AttributeError, ApiError):
        raise invalid("before", "it is not the `next` of a page") from None


def _in_utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError("no time zone")
    return time.astimezone(UTC)


def _number(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise invalid(name, f"it must be a whole number from {least} to {most}")
    return int(text)


def _chat(chat: Chat) -> dict[str, object]:
    return {
        "chat_id": chat.chat_id,
        "created_at": chat.created.isoformat(),
        "updated_at": chat.updated.isoformat(),
        "message_count": chat.messages,
    }


def _message(message: Message) -> dict[str, object]:
    return {
        "role": message.role,
        "content": message.content,
        "complete": message.complete,
        "model": message.model,
        "created_at": message.created.isoformat(),
    }


def _unknown(chat_id: str) -> ApiError:
    return ApiError(ErrorCode.NOT_FOUND, f"You have no chat `{chat_id}`.", param="chat_id")


def _json(value: Mapping[str, object]) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
