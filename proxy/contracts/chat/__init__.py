"""The chat endpoint: users with tokens talk to models, and find their chats again. Errors are `{"statusCode", "statusMessage"}`."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from proxy.contract import Contract
from proxy.contracts.chat.chat import chat
from proxy.contracts.chat.chats import delete_chat, get_chat, list_chats
from proxy.contracts.chat.errors import render_error
from proxy.contracts.chat.operations import operations


def _routes() -> Iterable[web.RouteDef]:
    return (
        web.post("/api/ai/huggingface/{publisher}/{name}/chat", chat),
        web.get("/api/ai/chats", list_chats, allow_head=False),
        web.get("/api/ai/chats/{chat_id}", get_chat, allow_head=False),
        web.delete("/api/ai/chats/{chat_id}", delete_chat),
    )


CONTRACT = Contract(
    name="chat",
    routes=_routes,
    operations=operations,
    render_error=render_error,
    prefixes=("/api/ai",),
    own_users=True,
)
