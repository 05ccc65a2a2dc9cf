"""A conversation, tools and a response format as TGI's chat route takes them (TGI 3.3.6, router/src/lib.rs)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from backends.errors import Invalid, Unsupported
from backends.types import Json, JsonObject

_NO_PARAMETERS: Final[JsonObject] = {"parameters": {"type": "object", "properties": {}}}


def encode_messages(messages: Sequence[JsonObject]) -> list[Json]:
    """Messages of text and images only, none with a null content. Raises Unsupported with the path of what cannot go through."""
    return [wire for number, message in enumerate(messages) for wire in _message(number, message)]


def _message(number: int, message: JsonObject) -> list[JsonObject]:
    for field in ("function_call", "audio"):
        if message.get(field) is not None:
            raise Unsupported(
                f"This model's engine (TGI) takes no {field} in messages.", param=f"messages.{number}.{field}"
            )
    role = message.get("role")
    head: JsonObject = {"role": "system" if role == "developer" else role}
    if isinstance(message.get("name"), str):
        head["name"] = message["name"]
    content, calls = message.get("content"), message.get("tool_calls")
    if isinstance(content, list):
        content = [_part(f"messages.{number}.content.{place}", part) for place, part in enumerate(content)]
    if not calls:
        return [head | {"content": "" if content is None else content}]
    # A message is either content or tool calls to TGI: of one with both it would drop the calls.
    words = [head | {"content": content}] if content else []
    return [*words, head | {"tool_calls": calls}]


def _part(path: str, part: Json) -> JsonObject:
    match part:
        case {"type": "text", "text": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "image_url", "image_url": {"url": str(url), **rest}}:
            if rest.get("detail") == "low":
                raise Unsupported(
                    "This model's engine (TGI) always looks at images in full.", param=f"{path}.image_url.detail"
                )
            return {"type": "image_url", "image_url": {"url": url}}
        case {"type": ("text" | "image_url") as kind}:
            raise Invalid(f"A content part of type {kind} needs its {kind} field.", param=f"{path}.{kind}")
        case {"type": kind}:
            raise Unsupported(
                f"This model's engine (TGI) takes text and image_url parts, not {kind!r}.", param=f"{path}.type"
            )
        case _:
            raise Invalid("A content part is an object with a type.", param=f"{path}.type")


def encode_tools(tools: Sequence[JsonObject], choice: str | JsonObject | None) -> JsonObject:
    """The tools and tool_choice fields; none of them where no tool may be called. Raises Unsupported for other kinds of tools."""
    if not tools or choice == "none":
        return {}
    body: JsonObject = {"tools": [_tool(number, tool) for number, tool in enumerate(tools)]}
    if isinstance(choice, dict) and choice.get("type") != "function":
        raise Unsupported(
            "This model's engine (TGI) can be made to call one function by name only.", param="tool_choice.type"
        )
    if choice is not None:
        body["tool_choice"] = choice
    return body


def _tool(number: int, tool: JsonObject) -> JsonObject:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise Unsupported("This model's engine (TGI) calls functions only.", param=f"tools.{number}.type")
    # OpenAI lets a function without parameters leave them out; TGI wants the field.
    return {"type": "function", "function": _NO_PARAMETERS | function}


def encode_response_format(wanted: JsonObject | None) -> JsonObject:
    """The response_format field, absent for plain text.

    A schema goes under TGI's key. json_object without a schema is Unsupported: TGI builds its grammar from the schema's
    `properties`, and a schema without any admits `{}` only. TGI's own shapes ({"type", "value"}) pass as they are.
    """
    match wanted:
        case None | {"type": "text"}:
            return {}
        case {"type": "json_schema", "json_schema": {"schema": schema, **rest}}:
            path = "response_format.json_schema.schema"
            value: JsonObject = {"schema": _schema(schema, path)}
            match rest:
                case {"name": str(name)}:
                    value["name"] = name
            return {"response_format": {"type": "json_schema", "value": value}}
        case {"type": "json_object" | "json", "value": schema}:
            return {"response_format": {"type": "json", "value": _schema(schema, "response_format.value")}}
        case {"type": "regex", "value": str(pattern)}:
            return {"response_format": {"type": "regex", "value": pattern}}
        case {"type": "json_object"}:
            words = "This model's engine (TGI) needs a schema to answer in JSON: use type json_schema."
            raise Unsupported(words, param="response_format")
        case {"type": "json_schema"}:
            raise Invalid(
                "A response_format of type json_schema needs json_schema.schema.", param="response_format.json_schema"
            )
        case _:
            raise Unsupported(
                f"This model's engine (TGI) knows no response_format of type {wanted.get('type')!r}.",
                param="response_format.type",
            )


def _schema(schema: Json, path: str) -> JsonObject:
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        raise Invalid("This model's engine (TGI) needs a JSON schema of an object with `properties`.", param=path)
    return schema
