"""A request's prompts as token ids: the chat template applied, or text as it stands; what cannot be honoured is refused."""

from __future__ import annotations

import inspect
import json

import jinja2

from backends.errors import Invalid, Unsupported
from backends.transformers.model import Tokenizer
from backends.types import Chat, Complete, Json, JsonObject

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_TEMPLATE_SWITCHES = frozenset({"add_generation_prompt", "continue_final_message", "documents"})


def refuse_unsupported(request: Chat | Complete) -> None:
    """Raise Unsupported for the first option that this engine cannot honour."""
    if isinstance(request, Complete):
        if request.suffix:
            raise Unsupported(
                "suffix: this engine continues a prompt and cannot fill in; leave suffix out.", param="suffix"
            )
        if request.echo and request.sampling.logprobs:
            raise Unsupported("echo with logprobs: logprobs are of new tokens only; leave echo out.", param="echo")
        return
    if request.tools and request.tool_choice != "none":
        raise Unsupported(
            "tools: this engine does not read tool calls out of the text; send tool_choice none, or serve with vLLM.",
            param="tools",
        )
    if request.tool_choice not in (None, "none", "auto"):
        raise Invalid("tool_choice asks for a tool, and the request has no tools.", param="tool_choice")
    kind = (request.response_format or {}).get("type")
    if kind not in {None, "text"}:
        raise Unsupported(
            f"response_format {kind}: this engine does not constrain what is written; use text, or serve with vLLM.",
            param="response_format",
        )


def chat_tokens(request: Chat, tokenizer: Tokenizer) -> list[int]:
    """The conversation as the model's chat template writes it, ready for the assistant's turn.

    tools, there only under tool_choice none, go to the template as vLLM has it. Raises Unsupported for a model without
    a template, Invalid for what the template refuses.
    """
    if tokenizer.chat_template is None:
        raise Unsupported(
            "This model has no chat template: use /v1/completions, or a model tuned for chat.", param="messages"
        )
    tools = request.tools or None
    args = {"add_generation_prompt": True, **_template_args(request, tokenizer)}
    try:
        knows_developer = "developer" in tokenizer.get_chat_template(tools=tools)
        messages = conversation(request.messages, knows_developer=knows_developer)
        text = tokenizer.apply_chat_template(messages, tools, tokenize=False, **args)
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        raise Invalid(f"The model's chat template refuses these messages: {error}", param="messages") from error
    return tokenizer.encode(text, add_special_tokens=False)


def completion_tokens(prompt: str | tuple[int, ...], tokenizer: Tokenizer, vocabulary: int) -> list[int]:
    """The prompt's tokens, with those that the tokenizer puts around text. Raises Invalid for none and for unknown ids."""
    tokens = tokenizer.encode(prompt, add_special_tokens=True) if isinstance(prompt, str) else list(prompt)
    if not tokens:
        raise Invalid("The prompt is empty; this model needs at least one token to continue.", param="prompt")
    stranger = next((token for token in tokens if not 0 <= token < vocabulary), None)
    if stranger is not None:
        raise Invalid(f"The prompt has token id {stranger}; this model's are 0 to {vocabulary - 1}.", param="prompt")
    return tokens


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


def _template_args(request: Chat, tokenizer: Tokenizer) -> dict[str, Json]:
    """The caller's own template arguments; those that steer the tokenizer instead of the template are refused."""
    reserved = set(inspect.signature(tokenizer.apply_chat_template).parameters) - _TEMPLATE_SWITCHES
    for name in request.template_args:
        if name in reserved:
            raise Unsupported(
                f"chat_template_kwargs.{name} is not the template's to read; leave it out.",
                param=f"chat_template_kwargs.{name}",
            )
    return dict(request.template_args)
