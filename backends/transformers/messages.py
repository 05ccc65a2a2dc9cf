"""OpenAI's messages as chat templates read them."""

from __future__ import annotations

import json

from backends.errors import Invalid, Unsupported
from backends.types import Json, JsonObject

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def conversation(messages: tuple[JsonObject, ...], *, knows_developer: bool) -> list[JsonObject]:
    """Messages as chat templates read them: content as one string, tool arguments as objects.

    Text parts are joined by newlines, as vLLM does; role developer becomes system where the template does not know it.
    Raises Unsupported for other content parts, Invalid for a wrong shape.
    """
    return [_message(message, f"messages.{n}", knows_developer) for n, message in enumerate(messages)]


def _message(message: JsonObject, where: str, knows_developer: bool) -> JsonObject:
    role = message.get("role")
    if role not in _ROLES:
        raise Invalid(f"role is {role!r}; it must be one of {', '.join(_ROLES)}.", param=f"{where}.role")
    if role == "developer" and not knows_developer:
        role = "system"
    told: JsonObject = {**message, "role": role, "content": _text(message.get("content"), f"{where}.content")}
    if message.get("tool_calls"):
        told["tool_calls"] = _tool_calls(message["tool_calls"], f"{where}.tool_calls")
    elif message.get("content") is None:
        raise Invalid("content is missing; only an assistant's tool calls may stand alone.", param=f"{where}.content")
    return told


def _text(content: Json, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise Invalid("content must be a string or a list of parts.", param=where)
    return "\n".join(_part(part, f"{where}.{n}") for n, part in enumerate(content))


def _part(part: Json, where: str) -> str:
    if not isinstance(part, dict):
        raise Invalid("a content part must be an object.", param=where)
    kind, text = part.get("type"), part.get("text")
    if kind != "text":
        raise Unsupported(f"content part {kind!r}: this engine reads text only.", param=f"{where}.type")
    if not isinstance(text, str):
        raise Invalid("a text part must have a string as its text.", param=f"{where}.text")
    return text


def _tool_calls(calls: Json, where: str) -> list[Json]:
    if not isinstance(calls, list):
        raise Invalid("tool_calls must be a list.", param=where)
    return [_tool_call(call, f"{where}.{n}") for n, call in enumerate(calls)]


def _tool_call(call: Json, where: str) -> JsonObject:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict):
        raise Invalid("a tool call must have a function.", param=where)
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        return call
    try:
        return {**call, "function": {**function, "arguments": json.loads(arguments or "{}")}}
    except json.JSONDecodeError as error:
        raise Invalid("a tool call's arguments must be JSON.", param=f"{where}.function.arguments") from error
