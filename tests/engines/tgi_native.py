"""Generations in TGI's own shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from backends.types import Json, JsonObject
from tests.engines.tgi_validation import Generate, Refused
from tests.engines.tgi_words import Script, Token, generated, text_of


def whole(script: Script, request: Generate) -> JsonObject:
    """GenerateResponse."""
    tokens = generated(script, request)
    answer: JsonObject = {"generated_text": _answered(request, tokens)}
    if request.details or request.decoder_input_details:
        answer["details"] = _details(request, tokens)
    return answer


def events(script: Script, request: Generate) -> Iterator[Json]:
    """StreamResponse, one for each token. Raises Refused for what streams do not have."""
    if request.best_of != 1:
        raise _not_streamed("`best_of` != 1")
    if request.decoder_input_details:
        raise _not_streamed("`decoder_input_details` == true")
    tokens = generated(script, request)
    for token in tokens:
        event: JsonObject = {"index": token.number, "token": token.wire(), "generated_text": None, "details": None}
        if request.top_n_tokens:
            event["top_tokens"] = token.tops(request.top_n_tokens)
        if token.finish:
            event["generated_text"] = _answered(request, tokens)
        if token.finish and request.details:
            event["details"] = _stream_details(request, token)
        yield event


def _answered(request: Generate, tokens: list[Token]) -> str:
    return request.inputs + text_of(tokens) if request.return_full_text else text_of(tokens)


def _not_streamed(option: str) -> Refused:
    message = f"Input validation error: {option} is not supported when streaming tokens"
    return Refused(422, message, "validation")


def _details(request: Generate, tokens: list[Token]) -> JsonObject:
    words = ["<s>", *re.findall(r"\s*\S+", request.inputs)]
    prefill: list[Json] = [
        {"id": number, "text": word, "logprob": -0.5 * number if number else None} for number, word in enumerate(words)
    ]
    details: JsonObject = {
        "finish_reason": tokens[-1].finish,
        "generated_tokens": len(tokens),
        "seed": request.seed,
        "prefill": prefill if request.decoder_input_details else [],
        "tokens": [token.wire() for token in tokens],
    }
    if request.top_n_tokens:
        details["top_tokens"] = [token.tops(request.top_n_tokens) for token in tokens]
    if request.best_of > 1:
        other: JsonObject = {"generated_text": "".join(token.text for token in tokens), **details}
        details = details | {"best_of_sequences": [other] * (request.best_of - 1)}
    return details


def _stream_details(request: Generate, last: Token) -> JsonObject:
    return {
        "finish_reason": last.finish,
        "generated_tokens": last.number,
        "seed": request.seed,
        "input_length": len(request.inputs.split()),
    }
