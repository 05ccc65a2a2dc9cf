"""What the vLLM double generates: a pure function of the request. Nothing here knows how an answer looks on the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from backends.types import Json, JsonObject

MAX_MODEL_LEN = 1024

_TOKEN = re.compile(r"\s*[^\s,.!?]+|\s*[,.!?]|\s+$")
_COUNT = re.compile(r"Count to (\d+)\.")


class Refusal(Exception):
    """vLLM's answer to a request that it cannot serve."""

    def __init__(self, status: int, message: str, *, param: str | None = None, kind: str = "BadRequestError") -> None:
        super().__init__(message)
        self.status = status
        self.body: JsonObject = {"error": {"message": message, "type": kind, "param": param, "code": status}}


@dataclass(frozen=True, slots=True)
class Choice:
    """One generated choice. tokens: pieces of text that join to the whole; tool: the function called, if one is."""

    index: int
    tokens: tuple[str, ...]
    finish: str
    stop_reason: str | None = None
    tool: str | None = None

    @property
    def text(self) -> str:
        """The whole text: a tool call's is its JSON arguments."""
        return "".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Generated:
    """What was generated for one request."""

    choices: tuple[Choice, ...]
    prompt_tokens: int

    @property
    def completion_tokens(self) -> int:
        """The tokens of all choices."""
        return sum(len(choice.tokens) for choice in self.choices)


class Generator:
    """A model that replies what it was told to, counts ("Count to 7.") and else repeats what was said."""

    def __init__(self, model: str, replies: Mapping[str, str]) -> None:
        self.model = model
        self._replies = replies

    def chat(self, request: JsonObject) -> Generated:
        """`POST /v1/chat/completions`. Raises Refusal."""
        messages = _required(request, "messages")
        self.check(request)
        texts = [text_of(message) for message in cast("list[Json]", messages)]
        prompt_tokens = sum(len(tokens_of(text)) for text in texts)
        called = _called(request)
        if called is not None:
            name, arguments = called
            finish = "tool_calls" if request.get("tool_choice") == "required" else "stop"
            return Generated((Choice(0, tokens_of(arguments), finish, tool=name),), prompt_tokens)
        return Generated(self._choices(texts[-1] if texts else "", request, first=0), prompt_tokens)

    def completion(self, request: JsonObject) -> Generated:
        """`POST /v1/completions`. Raises Refusal."""
        prompts = _prompts(_required(request, "prompt"))
        self.check(request)
        choices: list[Choice] = []
        for text in prompts:
            choices += self._choices(text, request, first=len(choices))
        return Generated(tuple(choices), sum(len(tokens_of(text)) for text in prompts))

    def response(self, request: JsonObject) -> Generated:
        """`POST /v1/responses`. Raises Refusal."""
        said = _required(request, "input")
        limited = {**request, "max_tokens": request.get("max_output_tokens")}
        self.check(limited)
        text = text_of(said[-1]) if isinstance(said, list) else str(said)
        return Generated(self._choices(text, limited, first=0), len(tokens_of(text)))

    def tokens(self, request: JsonObject) -> list[Json]:
        """`POST /tokenize`, of a prompt or of messages. Raises Refusal."""
        self.check(request)
        messages = request.get("messages")
        text = " ".join(map(text_of, messages)) if isinstance(messages, list) else str(request.get("prompt", ""))
        return token_ids(text)

    def check(self, request: JsonObject) -> None:
        """Refuse what vLLM refuses: another model, a temperature below zero, more tokens than the context holds."""
        asked, temperature, limit = request.get("model"), request.get("temperature"), request.get("max_tokens")
        if asked and asked != self.model:
            message = f"The model `{asked}` does not exist. Valid aliases: {self.model}."
            raise Refusal(404, message, param="model", kind="NotFoundError")
        if isinstance(temperature, int | float) and temperature < 0:
            raise Refusal(400, f"temperature must be non-negative, got {float(temperature)}.", param="temperature")
        if isinstance(limit, int) and limit > MAX_MODEL_LEN:
            message = f"max_tokens={limit} cannot be greater than max_model_len={MAX_MODEL_LEN}."
            raise Refusal(400, message, param="max_tokens")

    def _choices(self, said: str, request: JsonObject, *, first: int) -> tuple[Choice, ...]:
        """n choices of one reply, cut at a stop string or at max_tokens."""
        text, finish, reason = self._reply(said), "stop", None
        stops = request.get("stop") or []
        for stop in [stops] if isinstance(stops, str) else cast("list[str]", stops):
            if stop in text:
                text, reason = text[: text.index(stop)], stop
        tokens = tokens_of(text)
        limit = request.get("max_completion_tokens") or request.get("max_tokens")
        if isinstance(limit, int) and limit < len(tokens):
            tokens, finish, reason = tokens[:limit], "length", None
        count = request.get("n")
        numbers = range(first, first + (count if isinstance(count, int) else 1))
        return tuple(Choice(number, tokens, finish, reason) for number in numbers)

    def _reply(self, said: str) -> str:
        if said in self._replies:
            return self._replies[said]
        count = _COUNT.fullmatch(said)
        return ", ".join(map(str, range(1, int(count[1]) + 1))) + "." if count else f"You said: {said}"


def tokens_of(text: str) -> tuple[str, ...]:
    """Words and punctuation marks, each with the space before it; they join to the text.

    >>> tokens_of("Hello, you.")
    ('Hello', ',', ' you', '.')
    """
    return tuple(_TOKEN.findall(text))


def token_ids(text: str) -> list[Json]:
    """A number for each token: the code point of its first character, which detokenize() reads back."""
    return [ord(token.strip()[:1] or " ") for token in tokens_of(text)]


def detokenize(ids: Sequence[Json]) -> str:
    """The text of token ids."""
    return "".join(chr(number) for number in ids if isinstance(number, int))


def text_of(message: Json) -> str:
    """The text of a message, its content being a string or parts."""
    content = cast("JsonObject", message).get("content")
    if isinstance(content, list):
        return " ".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
    return str(content or "")


def _required(request: JsonObject, field: str) -> Json:
    value = request.get(field)
    if value is None:
        what = f"{{'type': 'missing', 'loc': 'body.{field}', 'msg': 'Field required'}}"
        raise Refusal(400, f"1 validation error:\n  {what}", param=f"body.{field}", kind="Bad Request")
    return value


def _prompts(prompt: Json) -> list[str]:
    """A prompt is a text, texts, token ids, or lists of token ids."""
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        return [text for part in prompt for text in _prompts(part)]
    return [detokenize(prompt)] if isinstance(prompt, list) else [str(prompt)]


def _called(request: JsonObject) -> tuple[str, str] | None:
    """The function that tool_choice demands, and arguments made from its schema; None when none is demanded."""
    wanted = request.get("tool_choice")
    if wanted is None or wanted in ("none", "auto"):
        return None
    functions = {str(tool["name"]): tool for tool in map(_function, cast("list[Json]", request["tools"]))}
    name = str(_function(wanted)["name"]) if isinstance(wanted, dict) else next(iter(functions))
    return name, json.dumps(_example(functions[name].get("parameters")))


def _function(tool: Json) -> JsonObject:
    return cast("JsonObject", cast("JsonObject", tool)["function"])


def _example(schema: Json) -> Json:
    """The plainest value that a JSON schema allows."""
    if not isinstance(schema, dict):
        return {}
    options, properties = schema.get("enum"), schema.get("properties")
    if isinstance(options, list):
        return options[0]
    if isinstance(properties, dict):
        return {name: _example(inner) for name, inner in properties.items()}
    plain: dict[str, Json] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "array": []}
    return plain.get(str(schema.get("type")), {})
