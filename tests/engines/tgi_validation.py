"""How TGI 3.3.6 reads request bodies: axum's and serde's strictness with their plain texts, then its own validation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from backends.types import Json, JsonObject

_U64: Final = 2**64


class Refused(Exception):
    """A request TGI does not accept. text: the body; kind: error_type of a JSON body, or None for axum's plain text."""

    def __init__(self, status: int, text: str, kind: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.kind = kind


def invalid(why: str) -> Refused:
    """A refusal by TGI's own validation."""
    return Refused(422, f"Input validation error: {why}", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a TGI was started with; its own defaults but for the token limits, which real ones take from their hardware."""

    max_concurrent_requests: int = 128
    max_best_of: int = 2
    max_stop_sequences: int = 4
    max_top_n_tokens: int = 5
    max_input_tokens: int = 1024
    max_total_tokens: int = 2048
    max_client_batch_size: int = 4
    payload: int = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """A request as TGI's inference gets it, whichever route it came by."""

    inputs: str
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    do_sample: bool = False
    details: bool = False
    decoder_input_details: bool = False
    return_full_text: bool = False
    best_of: int = 1
    top_n_tokens: int = 0
    options: Mapping[str, Json] = field(default_factory=dict)


# --------------------------------------------------------------------------- serde

_Kinds: TypeAlias = Mapping[str, str]
_CHAT: Final[_Kinds] = {
    "model": "string", "frequency_penalty": "f32", "logit_bias": "seq f32", "logprobs": "bool", "top_logprobs": "u32",
    "max_tokens": "u32", "n": "u32", "presence_penalty": "f32", "stop": "seq string", "stream": "bool!", "seed": "u64",
    "temperature": "f32", "top_p": "f32", "tool_prompt": "string",
}  # fmt: skip
_COMPLETION: Final[_Kinds] = {
    "model": "string", "frequency_penalty": "f32", "max_tokens": "u32", "repetition_penalty": "f32", "seed": "u64",
    "stop": "seq string", "stream": "bool!", "suffix": "string", "temperature": "f32", "top_p": "f32",
}  # fmt: skip
_PARAMETERS: Final[_Kinds] = {
    "best_of": "usize", "temperature": "f32", "repetition_penalty": "f32", "frequency_penalty": "f32", "top_k": "i32",
    "top_p": "f32", "typical_p": "f32", "do_sample": "bool!", "max_new_tokens": "u32", "return_full_text": "bool",
    "stop": "seq! string", "truncate": "usize", "watermark": "bool!", "details": "bool!", "decoder_input_details": "bool!",
    "seed": "u64", "top_n_tokens": "u32", "adapter_id": "string",
}  # fmt: skip


def parse(body: bytes, content_type: str, limits: Limits) -> JsonObject:
    """The JSON object of a body. Raises Refused with axum's texts."""
    if content_type.partition(";")[0].strip() != "application/json":
        raise Refused(415, "Expected request with `Content-Type: application/json`")
    if len(body) > limits.payload:
        raise Refused(413, "Failed to buffer the request body: length limit exceeded")
    try:
        value = json.loads(body, object_pairs_hook=_unrepeated)
    except json.JSONDecodeError as error:
        why = f"expected value at line {error.lineno} column {error.colno}"
        raise Refused(400, f"Failed to parse the request body as JSON: {why}") from error
    if not isinstance(value, dict):
        raise _shape("", f"invalid type: {_described(value)}, expected struct")
    return value


def _unrepeated(pairs: list[tuple[str, Json]]) -> JsonObject:
    value = dict(pairs)
    if "max_completion_tokens" in value and "max_tokens" not in value:
        value["max_tokens"] = value.pop("max_completion_tokens")
    elif "max_completion_tokens" in value:
        raise _shape("", "duplicate field `max_tokens`")
    return value


def _shape(path: str, why: str) -> Refused:
    where = f"{path}: " if path else ""
    return Refused(422, f"Failed to deserialize the JSON body into the target type: {where}{why} at line 1 column 1")


def _described(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{str(value).lower()}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{value}`"
        case str():
            return f'string "{value}"'
        case list():
            return "sequence"
        case _:
            return "map"


def _check(path: str, value: Json, kind: str) -> None:
    """kind: a Rust type; `!` after it or after seq: null is no value of it."""
    optional = "!" not in kind
    kind = kind.replace("!", "")
    if value is None and optional:
        return
    if kind.startswith("seq "):
        if not isinstance(value, list):
            raise _shape(path, f"invalid type: {_described(value)}, expected a sequence")
        for place, item in enumerate(value):
            _check(f"{path}[{place}]", item, kind.removeprefix("seq ") + "!")
        return
    number = isinstance(value, int) and not isinstance(value, bool)
    fits = {
        "string": isinstance(value, str),
        "bool": isinstance(value, bool),
        "f32": number or isinstance(value, float),
    }.get(kind, number)
    if not fits:
        expected = {"string": "a string", "bool": "a boolean"}.get(kind, kind)
        raise _shape(path, f"invalid type: {_described(value)}, expected {expected}")
    size = {"u32": 2**32, "u64": _U64, "usize": _U64}.get(kind)
    if isinstance(value, int) and size is not None and not 0 <= value < size:
        raise _shape(path, f"invalid value: {_described(value)}, expected {kind}")


def _fields(body: JsonObject, kinds: _Kinds, prefix: str = "") -> None:
    for name, kind in kinds.items():
        if name in body:
            _check(prefix + name, body[name], kind)


# --------------------------------------------------------------------------- routes


def read_native(body: JsonObject, limits: Limits) -> Generate:
    """A GenerateRequest. Without `parameters` TGI samples; with them it samples only when told to."""
    if "inputs" not in body:
        raise _shape("", "missing field `inputs`")
    _check("inputs", body["inputs"], "string!")
    given = body.get("parameters", {"do_sample": True, "details": False})
    if not isinstance(given, dict):
        raise _shape("parameters", f"invalid type: {_described(given)}, expected struct GenerateParameters")
    _fields(given, _PARAMETERS, "parameters.")
    return _validated(str(body["inputs"]), given | {"grammar": _grammar(given.get("grammar"))}, limits)


def read_completion(body: JsonObject, limits: Limits) -> list[Generate]:
    """A CompletionRequest: one generation for each prompt."""
    _fields(body, _COMPLETION)
    prompts = body.get("prompt")
    prompts = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise _shape("prompt", "data did not match any variant of untagged enum PromptDeserializer")
    if not prompts:
        raise _shape("prompt", "Empty array detected. Do not use an empty array for the prompt.")
    if body.get("suffix") is not None:
        words = "Suffix is not supported and can be achieved by preprocessing the prompt."
        raise Refused(422, words, "suffix not supported")
    if len(prompts) > limits.max_client_batch_size:
        words = f"Number of prompts exceeds the maximum allowed batch size of {limits.max_client_batch_size}"
        raise Refused(422, words, "batch size exceeded")
    options = _openai_options(body) | {"repetition_penalty": body.get("repetition_penalty")}
    return [_validated(str(prompt), options, limits) for prompt in prompts]


def read_chat(body: JsonObject, limits: Limits) -> Generate:
    """A ChatRequest, its messages rendered one to a line."""
    _fields(body, _CHAT)
    if not isinstance(body.get("stream_options", {}), dict):
        raise _shape(
            "stream_options", f"invalid type: {_described(body['stream_options'])}, expected struct StreamOptions"
        )
    messages = body.get("messages")
    if messages is None:
        raise _shape("", "missing field `messages`")
    if not isinstance(messages, list):
        raise _shape("messages", f"invalid type: {_described(messages)}, expected a sequence")
    lines = [_line(f"messages[{number}]", message) for number, message in enumerate(messages)]
    _tools(body.get("tools"))
    grammar = _grammar(body.get("response_format"))
    if body.get("response_format") is not None and body.get("tools") is not None:
        raise Refused(422, "Tool error: Grammar and tools are mutually exclusive", "tool_error")
    options = _openai_options(body) | {"top_n_tokens": body.get("top_logprobs"), "grammar": grammar}
    penalty = body.get("presence_penalty")
    options["repetition_penalty"] = penalty + 2 if isinstance(penalty, int | float) else None
    return _validated("\n".join(lines), options, limits)


def _openai_options(body: JsonObject) -> JsonObject:
    greedy = body.get("temperature") == 0
    return {
        "max_new_tokens": body.get("max_tokens"),
        "temperature": None if greedy else body.get("temperature"),
        "do_sample": not greedy,
        "top_p": body.get("top_p"),
        "frequency_penalty": body.get("frequency_penalty"),
        "stop": body.get("stop") or [],
        "seed": body.get("seed"),
        "details": True,
    }


def _line(path: str, message: Json) -> str:
    match message:
        case {"role": str(role), "content": str(text)}:
            return f"{role}: {text}"
        case {"role": str(role), "content": list(parts)} if all(_part_text(part) is not None for part in parts):
            return f"{role}: {''.join(_part_text(part) or '' for part in parts)}"
        case {"role": str(role), "tool_calls": list(calls)} if all(_is_call(call) for call in calls):
            return f"{role}: {json.dumps(calls)}"
        case {"role": _}:
            raise _shape(path, "data did not match any variant of untagged enum MessageBody")
        case _:
            raise _shape(path, "missing field `role`")


def _part_text(part: Json) -> str | None:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return f"![]({url})"
        case _:
            return None


def _is_call(call: Json) -> bool:
    match call:
        case {
            "id": str(),
            "type": str(),
            "function": {"name": str(), "arguments": _} | {"name": str(), "parameters": _},
        }:
            return True
        case _:
            return False


def _tools(tools: Json) -> None:
    if tools is None:
        return
    if not isinstance(tools, list):
        raise _shape("tools", f"invalid type: {_described(tools)}, expected a sequence")
    for number, tool in enumerate(tools):
        match tool:
            case {"type": str(), "function": {"name": str(), "parameters": _} | {"name": str(), "arguments": _}}:
                pass
            case {"type": str(), "function": {"name": str()}}:
                raise _shape(f"tools[{number}].function", "missing field `arguments`")
            case _:
                raise _shape(f"tools[{number}]", "missing field `function`")


def _grammar(wanted: Json) -> Json:
    """The JSON schema to keep to, if any."""
    match wanted:
        case None:
            return None
        case {"type": "json" | "json_object", "value": value}:
            return value
        case {"type": "json_schema", "value": {"schema": value}}:
            return value
        case {"type": "regex", "value": str()}:
            return None
        case {"type": "json_schema", "value": _}:
            raise _shape("response_format", "missing field `schema`")
        case {"type": "json" | "json_object" | "json_schema" | "regex"}:
            raise _shape("response_format", "missing field `value`")
        case {"type": str(kind)}:
            expected = "expected one of `json`, `json_object`, `regex`, `json_schema`"
            raise _shape("response_format.type", f"unknown variant `{kind}`, {expected}")
        case _:
            raise _shape("response_format", "missing field `type`")


# --------------------------------------------------------------------------- TGI's own validation


def _number(value: Json, default: float) -> float:
    return value if isinstance(value, int | float) else default


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _validated(inputs: str, given: JsonObject, limits: Limits) -> Generate:
    best_of = _whole(given.get("best_of")) or 1
    samples = any(given.get(name) is not None for name in ("temperature", "top_k", "top_p", "typical_p"))
    do_sample = given.get("do_sample") is True
    stop = given.get("stop")
    stops = tuple(str(item) for item in stop) if isinstance(stop, list) else ()
    top_n, max_new = _whole(given.get("top_n_tokens")) or 0, _whole(given.get("max_new_tokens"))
    length = len(inputs.split())
    new = max_new if max_new is not None else min(1024, max(limits.max_total_tokens - length, 0))
    grammar = given.get("grammar")
    checks = [
        (best_of > limits.max_best_of, f"`best_of` must be > 0 and <= {limits.max_best_of}. Given: {best_of}"),
        (best_of > 1 and not (do_sample or samples), "you must use sampling when `best_of` is > 1"),
        (_number(given.get("temperature"), 1) <= 0, "`temperature` must be strictly positive"),
        (_number(given.get("repetition_penalty"), 1) <= 0, "`repetition_penalty` must be strictly positive"),
        (abs(_number(given.get("frequency_penalty"), 0)) > 2, "`frequency_penalty` must be >= -2.0 and <= 2.0"),
        (not 0 < _number(given.get("top_p"), 0.5) < 1, "`top_p` must be > 0.0 and < 1.0"),
        (not 0 < _number(given.get("typical_p"), 0.5) < 1, "`typical_p` must be > 0.0 and < 1.0"),
        (_number(given.get("top_k"), 1) <= 0, "`top_k` must be strictly positive"),
        (max_new == 0, "`max_new_tokens` must be strictly positive"),
        (
            len(stops) > limits.max_stop_sequences,
            f"`stop` supports up to {limits.max_stop_sequences} stop sequences. Given: {len(stops)}",
        ),
        (best_of > 1 and given.get("seed") is not None, "`seed` must not be set when `best_of` > 1"),
        (
            top_n > limits.max_top_n_tokens,
            f"`top_n_tokens` must be >= 0 and <= {limits.max_top_n_tokens}. Given: {top_n}",
        ),
        (not inputs, "`inputs` cannot be empty"),
        (
            length + new > limits.max_total_tokens,
            f"`inputs` tokens + `max_new_tokens` must be <= {limits.max_total_tokens}. "
            f"Given: {length} `inputs` tokens and {new} `max_new_tokens`",
        ),
        (
            length > limits.max_input_tokens,
            f"`inputs` must have less than {limits.max_input_tokens} tokens. Given: {length}",
        ),
        (
            isinstance(grammar, dict) and "properties" not in grammar,
            "grammar is not valid: Grammar must have a 'properties' field",
        ),
    ]
    for wrong, why in checks:
        if wrong:
            raise invalid(why)
    return Generate(
        inputs=inputs,
        max_new_tokens=new,
        stop=stops,
        seed=_whole(given.get("seed")),
        do_sample=do_sample,
        details=given.get("details") is True,
        decoder_input_details=given.get("decoder_input_details") is True,
        return_full_text=given.get("return_full_text") is True,
        best_of=best_of,
        top_n_tokens=top_n,
        options=given,
    )
