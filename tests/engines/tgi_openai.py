"""Generations in the shapes of OpenAI's API, as TGI has them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from backends.types import Json, JsonObject
from tests.engines.tgi_validation import Generate
from tests.engines.tgi_words import Script, Token, generated, text_of

MODEL: Final = "double/tiny-chat"
FINGERPRINT: Final = "3.3.6-native"


class Call(NamedTuple):
    """A call of a tool, which chats that bring tools are answered by."""

    name: str
    arguments: str


def chat(script: Script, call: Call | None, body: JsonObject, request: Generate) -> JsonObject:
    """A chat's answer."""
    tokens = generated(script, request)
    message: JsonObject = {"role": "assistant", "content": text_of(tokens)}
    if call and _uses_tools(body):
        function: JsonObject = {"name": call.name, "description": None, "arguments": call.arguments}
        message = {"role": "assistant", "tool_calls": [{"id": "0", "type": "function", "function": function}]}
    choice: JsonObject = {
        "index": 0,
        "message": message,
        "logprobs": _logprobs(tokens, request.top_n_tokens) if body.get("logprobs") else None,
        "finish_reason": _openai_reason(tokens[-1].finish),
    }
    return _envelope("chat.completion", body, [choice]) | {"usage": _usage(request, len(tokens))}


def chat_events(script: Script, call: Call | None, body: JsonObject, request: Generate) -> Iterator[Json]:
    """A chat's chunks. With a tool call none says how it ended, because the end token comes after the call is whole."""
    if call and _uses_tools(body):
        name, arguments = call
        pieces = ["{", *re.findall(r"\W+|\w+", arguments.removeprefix("{"))]
        tokens = [Token(piece, number) for number, piece in enumerate(pieces, start=1)]
        if request.max_new_tokens and request.max_new_tokens < len(tokens):
            tokens = tokens[: request.max_new_tokens]
            tokens[-1] = Token(tokens[-1].text, len(tokens), finish="length")
        deltas = [_tool_delta(name if token.number == 1 else None, token.text) for token in tokens]
    else:
        tokens = generated(script, request)
        deltas = [{"role": "assistant", "content": "" if token.special else token.text} for token in tokens]
    for token, delta in zip(tokens, deltas, strict=True):
        choice: JsonObject = {
            "index": 0,
            "delta": delta,
            "logprobs": _logprobs([token], request.top_n_tokens) if body.get("logprobs") else None,
            "finish_reason": _openai_reason(token.finish) if token.finish else None,
        }
        yield _envelope("chat.completion.chunk", body, [choice]) | {"usage": None}
    options = body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        yield _envelope("chat.completion.chunk", body, []) | {"usage": _usage(request, len(tokens))}


def completion(script: Script, requests: Sequence[Generate]) -> JsonObject:
    """The answer to one prompt or several."""
    answers = [generated(script, request) for request in requests]
    choices: list[Json] = [
        {
            "index": number,
            "text": text_of(tokens),
            "logprobs": None,
            "finish_reason": _openai_reason(tokens[-1].finish),
        }
        for number, tokens in enumerate(answers)
    ]
    counted = sum(len(request.inputs.split()) for request in requests), sum(len(tokens) for tokens in answers)
    usage: JsonObject = {"prompt_tokens": counted[0], "completion_tokens": counted[1], "total_tokens": sum(counted)}
    return _envelope("text_completion", {}, choices) | {"usage": usage}


def completion_events(script: Script, requests: Sequence[Generate]) -> Iterator[Json]:
    """The chunks, one prompt after the other."""
    for number, request in enumerate(requests):
        for token in generated(script, request):
            choice: JsonObject = {
                "index": number,
                "text": token.text,
                "logprobs": None,
                "finish_reason": token.finish or "",
            }
            last: JsonObject = {"usage": _usage(request, token.number)} if token.finish else {}
            yield _envelope("text_completion", {}, [choice]) | last


def _uses_tools(body: JsonObject) -> bool:
    return bool(body.get("tools")) and body.get("tool_choice") != "none"


def _openai_reason(reason: str | None) -> str | None:
    return "stop" if reason == "eos_token" else reason


def _envelope(kind: str, body: JsonObject, choices: list[Json]) -> JsonObject:
    model = body.get("model")
    return {
        "object": kind,
        "id": "",
        "created": int(time.time()),
        "model": MODEL if model in (None, "tgi") else model,
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    }


def _usage(request: Generate, generated: int) -> JsonObject:
    prompt = len(request.inputs.split())
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


def _tool_delta(name: str | None, arguments: str) -> JsonObject:
    function: JsonObject = {"name": name, "arguments": arguments}
    return {"role": "assistant", "tool_calls": [{"index": 0, "id": "0", "type": "function", "function": function}]}


def _logprobs(tokens: list[Token], count: int) -> JsonObject:
    content: list[Json] = [
        {
            "token": token.text,
            "logprob": token.wire()["logprob"],
            "top_logprobs": [
                {"token": top["text"], "logprob": top["logprob"]} for top in token.tops(count) if isinstance(top, dict)
            ],
        }
        for token in tokens
    ]
    return {"content": content}
