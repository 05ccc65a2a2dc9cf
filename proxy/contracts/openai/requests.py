"""OpenAI's text requests, read into the requests that backends take: for engines that speak another dialect."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from backends.types import Chat, Complete, Json, JsonObject, Sampling
from proxy.errors import ApiError, ErrorCode

MOST_MESSAGES = 2048
MOST_ENTRIES = 10_000  # of an object; checking one holds up everybody


def _seed(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64:
        return value
    raise PydanticCustomError("seed", "it must be an integer from -9223372036854775808 to 18446744073709551615")


# Lists give up at their first error: a long one that is wrong throughout would be listed for minutes.
FailFast = Field(fail_fast=True)
Tokens = Annotated[list[StrictInt], FailFast]
Stop = StrictStr | Annotated[list[StrictStr], Field(max_length=16, fail_fast=True)]
Seed = Annotated[int, BeforeValidator(_seed)]
Object = dict[str, JsonValue]
Count = Annotated[StrictInt, Field(ge=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
T = TypeVar("T", bound="TextBody")


class StreamOptions(BaseModel):
    """`stream_options`."""

    model_config = ConfigDict(extra="forbid")

    include_usage: StrictBool | None = None
    include_obfuscation: Literal[False] | None = None


class TextBody(BaseModel):
    """Fields that chat and plain completions share. Unknown ones are refused by name, never ignored."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[StrictInt, Field(ge=1, le=128)] | None = None
    stop: Stop | None = None
    seed: Seed | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    # Names that vLLM's clients use beside OpenAI's.
    top_k: StrictInt | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    # Who asks and for what: nothing that an answer could show.
    user: str | None = None
    metadata: Object | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    store: Literal[False] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, *, max_tokens: int | None, best_of: int | None, logprobs: bool, top_logprobs: int) -> Sampling:
        """How to choose tokens."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            seed=self.seed,
            stop=tuple(text for text in stop if text),
            n=self.n or 1,
            best_of=best_of,
            logprobs=logprobs,
            top_logprobs=top_logprobs,
            logit_bias=self.logit_bias,
        )


class Message(BaseModel):
    """One message: its role is checked, the rest is the chat template's or the engine's business."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]


class ChatBody(TextBody):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)]
    max_completion_tokens: Count | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Object], FailFast] | None = None
    tool_choice: str | Object | None = None
    parallel_tool_calls: StrictBool | None = None
    response_format: Object | None = None
    chat_template_kwargs: Object | None = None
    modalities: Annotated[list[Literal["text"]], FailFast] | None = None

    def request(self, raw: JsonObject) -> Chat:
        """The domain's request; objects are taken from `raw`, as they were sent."""
        if self.top_logprobs and not self.logprobs:
            raise ApiError(ErrorCode.INVALID, "`top_logprobs` needs `logprobs: true`.", param="top_logprobs")
        return Chat(
            messages=tuple(_objects(raw["messages"])),
            sampling=self.sampling(
                max_tokens=self.max_completion_tokens or self.max_tokens,
                best_of=None,
                logprobs=bool(self.logprobs),
                top_logprobs=self.top_logprobs or 0,
            ),
            tools=tuple(_objects(raw.get("tools"))),
            tool_choice=_choice(raw.get("tool_choice")),
            parallel_tool_calls=self.parallel_tool_calls,
            response_format=_object(raw.get("response_format")),
            template_args=_object(raw.get("chat_template_kwargs")) or {},
        )


class CompletionBody(TextBody):
    """`POST /v1/completions`."""

    prompt: StrictStr | Annotated[list[StrictStr], FailFast] | Tokens | Annotated[list[Tokens], FailFast]
    logprobs: Annotated[StrictInt, Field(ge=0, le=5)] | None = None
    best_of: Count | None = None
    echo: StrictBool | None = None
    suffix: str | None = None

    def request(self) -> Complete:
        """The domain's request."""
        if not self.prompt:
            raise ApiError(ErrorCode.INVALID, "`prompt` must not be empty.", param="prompt")
        return Complete(
            prompts=_prompts(self.prompt),
            # 16 is OpenAI's documented default here; chat has none.
            sampling=self.sampling(
                max_tokens=self.max_tokens or 16,
                best_of=self.best_of,
                logprobs=self.logprobs is not None,
                top_logprobs=self.logprobs or 0,
            ),
            echo=bool(self.echo),
            suffix=self.suffix,
        )


def parse(kind: type[T], data: JsonObject) -> T:
    """Check a body. Raises INVALID, or UNSUPPORTED for a field that engines of another dialect do not have."""
    for name, value in data.items():
        if name not in kind.model_fields:
            raise _unsupported(name)
        if isinstance(value, dict) and len(value) > MOST_ENTRIES:
            message = f"Invalid `{name}`: it has {len(value)} entries; at most {MOST_ENTRIES} are taken."
            raise ApiError(ErrorCode.INVALID, message, param=name)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        item = _telling(error.errors(include_url=False, include_input=False))
        param = _param(item["loc"], data)
        if item["type"] == "extra_forbidden":
            raise _unsupported(param) from error
        if item["type"] == "missing":
            raise ApiError(ErrorCode.INVALID, f"Missing required parameter: `{param}`.", param=param) from error
        raise ApiError(ErrorCode.INVALID, f"Invalid `{param}`: {item['msg']}.", param=param) from error


def _unsupported(param: str) -> ApiError:
    param = param[:200]
    message = f"The engine behind this model does not support `{param}`; leave it out."
    return ApiError(ErrorCode.UNSUPPORTED, message, param=param)


def _telling(errors: list[ErrorDetails]) -> ErrorDetails:
    """The error to tell of the first wrong field: where it may be of several types, that of the type it nearly is."""
    field = [error for error in errors if error["loc"][:1] == errors[0]["loc"][:1]]
    return max(field, key=lambda error: (not error["type"].endswith("_type"), len(error["loc"])))


def _param(where: tuple[int | str, ...], data: JsonObject) -> str:
    """OpenAI's way to name a field (`messages.0.role`), without the union branches that pydantic adds."""
    parts: list[str] = []
    value: Json = data
    for part in where:
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        else:
            break
        parts.append(str(part))
    return ".".join(parts)


def _prompts(prompt: str | list[str] | list[int] | list[list[int]]) -> tuple[str | tuple[int, ...], ...]:
    if isinstance(prompt, str):
        return (prompt,)
    tokens = tuple(item for item in prompt if isinstance(item, int))
    if tokens:
        return (tokens,)
    return tuple(item if isinstance(item, str) else tuple(item) for item in prompt if not isinstance(item, int))


def _object(value: Json) -> JsonObject | None:
    return value if isinstance(value, dict) else None


def _objects(value: Json) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _choice(value: Json) -> str | JsonObject | None:
    return value if isinstance(value, (str, dict)) else None
