"""How vLLM 0.32 dresses what it generated: whole answers, chunks of a stream, and its errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backends.types import Json, JsonObject
from tests.engines.vllm_generation import MAX_MODEL_LEN, Choice, Generated, token_ids

FINGERPRINT = "vllm-0.32.0-double"
CREATED = 1_700_000_000

ERRORS: dict[int, JsonObject] = {
    400: {"error": {"message": "top_p must be in (0, 1].", "type": "BadRequestError", "param": "top_p", "code": 400}},
    401: {"error": "Unauthorized"},
    404: {
        "error": {"message": "The model `m` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}
    },
    429: {"error": {"message": "Too many requests.", "type": "RateLimitError", "param": None, "code": 429}},
    500: {"error": {"message": "EngineCore failed.", "type": "InternalServerError", "param": None, "code": 500}},
    503: {
        "error": {
            "message": "The engine is currently busy and cannot accept new requests.",
            "type": "Service Unavailable",
            "param": None,
            "code": 503,
        }
    },
}


@dataclass(frozen=True, slots=True)
class Wire:
    """One answer on the wire. request: what was asked; id: without the prefix that its kind of answer has."""

    request: JsonObject
    generated: Generated
    model: str
    id: str

    # ----------------------------------------------------------------------- chat

    def chat(self) -> JsonObject:
        """The whole answer of `/v1/chat/completions`."""
        return {
            **self._frame("chatcmpl", "chat.completion"),
            "choices": [self._chat_choice(choice) for choice in self.generated.choices],
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": {**self._usage(), "prompt_tokens_details": None},
            "prompt_logprobs": None,
            "kv_transfer_params": None,
        }

    def chat_chunks(self) -> Iterator[JsonObject]:
        """Its chunks: a role a choice, a piece a token, the finish reason apart, usage if asked for."""
        frame = self._frame("chatcmpl", "chat.completion.chunk")
        for choice in self.generated.choices:
            yield {**frame, "choices": [_piece(choice, {"role": "assistant", "content": ""})], "prompt_token_ids": None}
        for choice in self.generated.choices:
            if choice.tool is not None:
                call: JsonObject = {"id": f"chatcmpl-tool-{self.id}", "type": "function", "index": 0}
                yield {**frame, "choices": [_piece(choice, _tool({**call, "function": {"name": choice.tool}}))]}
            for token in choice.tokens:
                arguments: JsonObject = {"index": 0, "function": {"arguments": token}}
                delta: JsonObject = {"content": token} if choice.tool is None else _tool(arguments)
                yield {**frame, "choices": [{**_piece(choice, delta), "logprobs": self._chat_logprobs((token,))}]}
            end: JsonObject = {"finish_reason": choice.finish, "stop_reason": choice.stop_reason}
            yield {**frame, "choices": [{**_piece(choice, {"content": ""}), **end}]}
        yield from self._usage_chunk(frame)

    def _chat_choice(self, choice: Choice) -> JsonObject:
        message: JsonObject = {"role": "assistant", "content": choice.text, "refusal": None, "reasoning": None}
        if choice.tool is not None:
            function: JsonObject = {"name": choice.tool, "arguments": choice.text}
            call: JsonObject = {"id": f"chatcmpl-tool-{self.id}", "type": "function", "function": function}
            message = {**message, "content": "", "tool_calls": [call]}
        return {
            "index": choice.index,
            "message": message,
            "logprobs": self._chat_logprobs(choice.tokens),
            "finish_reason": choice.finish,
            "stop_reason": choice.stop_reason,
            "token_ids": token_ids(choice.text) if self.request.get("return_token_ids") else None,
        }

    def _chat_logprobs(self, tokens: Sequence[str]) -> JsonObject | None:
        if not self.request.get("logprobs"):
            return None
        entries: list[JsonObject] = [
            {"token": token, "logprob": -0.25, "bytes": list(token.encode())} for token in tokens
        ]
        return {"content": [{**entry, "top_logprobs": [entry]} for entry in entries]}

    # ----------------------------------------------------------------------- completions

    def completion(self) -> JsonObject:
        """The whole answer of `/v1/completions`."""
        return {
            **self._frame("cmpl", "text_completion"),
            "choices": [self._text(choice, choice.tokens, 0, last=True) for choice in self.generated.choices],
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": self._usage(),
        }

    def completion_chunks(self) -> Iterator[JsonObject]:
        """Its chunks: a piece a token, the last of a choice with its finish reason, usage if asked for."""
        frame = self._frame("cmpl", "text_completion")
        for choice in self.generated.choices:
            offset = 0
            for number, token in enumerate(choice.tokens, 1):
                yield {**frame, "choices": [self._text(choice, (token,), offset, last=number == len(choice.tokens))]}
                offset += len(token)
        yield from self._usage_chunk(frame)

    def _text(self, choice: Choice, tokens: Sequence[str], offset: int, *, last: bool) -> JsonObject:
        wanted = self.request.get("logprobs") is not None
        return {
            "index": choice.index,
            "text": "".join(tokens),
            "logprobs": _text_logprobs(tokens, offset) if wanted else None,
            "finish_reason": choice.finish if last else None,
            "stop_reason": choice.stop_reason if last else None,
            "token_ids": None,
        }

    # ----------------------------------------------------------------------- responses

    def response(self, status: str = "completed") -> JsonObject:
        """The whole answer of `/v1/responses`, or what a stream says of it before it is complete."""
        choice, done = self.generated.choices[0], status == "completed"
        part: JsonObject = {"annotations": [], "text": choice.text, "type": "output_text", "logprobs": None}
        message: JsonObject = {
            "id": "msg_1",
            "content": [part],
            "role": "assistant",
            "status": status,
            "type": "message",
        }
        usage: JsonObject = {
            "input_tokens": self.generated.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": len(choice.tokens),
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.generated.prompt_tokens + len(choice.tokens),
        }
        return {
            "id": f"resp_{self.id}",
            "created_at": CREATED,
            "model": self.model,
            "object": "response",
            "output": [message] if done else [],
            "parallel_tool_calls": True,
            "tool_choice": "none",
            "tools": [],
            "status": status,
            "usage": usage if done else None,
        }

    def response_events(self) -> Iterator[JsonObject]:
        """The events of its stream, each with its type; no `[DONE]` follows."""
        choice = self.generated.choices[0]
        place: JsonObject = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
        events: list[JsonObject] = [
            {"type": "response.created", "response": self.response("in_progress")},
            *({"type": "response.output_text.delta", **place, "delta": token} for token in choice.tokens),
            {"type": "response.output_text.done", **place, "text": choice.text},
            {"type": "response.completed", "response": self.response()},
        ]
        return ({**event, "sequence_number": number} for number, event in enumerate(events))

    # ----------------------------------------------------------------------- shared

    def _frame(self, prefix: str, kind: str) -> JsonObject:
        return {"id": f"{prefix}-{self.id}", "object": kind, "created": CREATED, "model": self.model}

    def _usage(self) -> JsonObject:
        prompt, completion = self.generated.prompt_tokens, self.generated.completion_tokens
        return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}

    def _usage_chunk(self, frame: JsonObject) -> Iterator[JsonObject]:
        options = self.request.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            yield {**frame, "choices": [], "usage": self._usage(), "system_fingerprint": FINGERPRINT}


def tokenized(ids: list[Json]) -> JsonObject:
    """The answer of `/tokenize`."""
    return {"count": len(ids), "max_model_len": MAX_MODEL_LEN, "tokens": ids, "token_strs": None}


def _piece(choice: Choice, delta: JsonObject) -> JsonObject:
    return {"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": None, "token_ids": None}


def _tool(call: JsonObject) -> JsonObject:
    return {"content": None, "tool_calls": [call]}


def _text_logprobs(tokens: Sequence[str], offset: int) -> JsonObject:
    offsets: list[Json] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "text_offset": offsets,
        "token_logprobs": [-0.25 for _ in tokens],
        "tokens": list(tokens),
        "top_logprobs": [{token: -0.25} for token in tokens],
    }
