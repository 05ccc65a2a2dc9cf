"""TGI's GenerateRequest, read as strictly as TGI reads it: every parameter is honoured, or refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictInt, StrictStr, ValidationError

from backends.types import Complete, JsonObject, Sampling
from proxy.errors import ApiError, ErrorCode

MOST_STOPS = 4
MOST_BEST_OF = 2
MOST_TOP_TOKENS = 5

Whole32 = Annotated[StrictInt, Field(ge=0, lt=2**32)]
Whole64 = Annotated[StrictInt, Field(ge=0, lt=2**64)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
T = TypeVar("T", bound=BaseModel)


class _Grammar(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JsonGrammar(_Grammar):
    """A JSON schema, as an object or as its text."""

    type: Literal["json"]
    value: dict[str, JsonValue] | StrictStr


class RegexGrammar(_Grammar):
    """A regular expression."""

    type: Literal["regex"]
    value: Annotated[StrictStr, Field(min_length=1)]


class NamedSchema(_Grammar):
    """A JSON schema and its name, which means nothing."""

    name: StrictStr | None = None
    schema_: dict[str, JsonValue] = Field(alias="schema")


class SchemaGrammar(_Grammar):
    """A JSON schema in OpenAI's wrapping."""

    type: Literal["json_schema"]
    value: NamedSchema


Grammar = Annotated[JsonGrammar | RegexGrammar | SchemaGrammar, Field(discriminator="type")]


class Parameters(BaseModel):
    """`parameters`; null is the same as left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    best_of: Whole64 | None = None
    temperature: Number | None = None
    repetition_penalty: Number | None = None
    frequency_penalty: Number | None = None
    top_k: StrictInt | None = None
    top_p: Number | None = None
    typical_p: Number | None = None
    do_sample: StrictBool | None = None
    max_new_tokens: Whole32 | None = None
    return_full_text: StrictBool | None = None
    stop: Annotated[list[StrictStr], Field(fail_fast=True)] | None = None
    truncate: Whole64 | None = None
    watermark: StrictBool | None = None
    details: StrictBool | None = None
    decoder_input_details: StrictBool | None = None
    seed: Whole64 | None = None
    top_n_tokens: Whole32 | None = None
    grammar: Grammar | None = None
    adapter_id: StrictStr | None = None

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn: asked for, or by an option that has a meaning in drawing only."""
        return bool(self.do_sample) or any(
            value is not None for value in (self.temperature, self.top_k, self.top_p, self.typical_p)
        )


class GenerateBody(BaseModel):
    """`POST /generate` and `/generate_stream`; `stream` is of `POST /`, `model` of this door."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: StrictStr
    # Without any, TGI draws; with an empty object it does not.
    parameters: Parameters = Parameters(do_sample=True)
    stream: StrictBool = False
    model: StrictStr | None = None


class ChatTokenizeBody(BaseModel):
    """`POST /chat_tokenize`: of a chat request what its tokens depend on; the rest is taken and has no part in them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    messages: Annotated[list[dict[str, JsonValue]], Field(min_length=1, max_length=2048, fail_fast=True)]
    tools: Annotated[list[dict[str, JsonValue]], Field(fail_fast=True)] | None = None
    model: StrictStr | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A generation as it was asked for, checked. tokens: whether each token is to be told of; grammar: schema or expression."""

    inputs: str
    parameters: Parameters
    tokens: bool
    grammar: JsonObject | str | None

    def request(self, prompt: str | tuple[int, ...]) -> Complete:
        """What the engine is asked. prompt: the inputs, as they stand or cut off in front."""
        said = self.parameters
        best_of = said.best_of or 1
        return Complete(
            prompts=(prompt,),
            sampling=Sampling(
                max_tokens=said.max_new_tokens,
                temperature=(1.0 if said.temperature is None else said.temperature) if said.samples else 0.0,
                top_p=(1.0 if said.top_p is None else said.top_p) if said.samples else None,
                top_k=said.top_k,
                repetition_penalty=said.repetition_penalty,
                frequency_penalty=said.frequency_penalty,
                seed=said.seed if said.samples else None,
                stop=tuple(said.stop or ()),
                n=best_of,
                logprobs=self.tokens or best_of > 1 or bool(said.top_n_tokens),
                top_logprobs=said.top_n_tokens or 0,
            ),
            grammar=self.grammar,
        )


def parse(kind: type[T], data: JsonObject) -> T:
    """The body, its fields of the right types. Raises INVALID as TGI's parser does, UNSUPPORTED for an unknown field."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        item = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in item["loc"])[:200]
        if item["type"] == "extra_forbidden":
            message = f"`{field}` is no field of this request; leave it out."
            raise ApiError(ErrorCode.UNSUPPORTED, message, param=field) from error
        message = f"missing field `{field}`" if item["type"] == "missing" else f"{field}: {item['msg']}"
        message = f"Failed to deserialize the JSON body into the target type: {message}"
        raise ApiError(ErrorCode.INVALID, message, param=field, status=422) from error


def check(body: GenerateBody, *, stream: bool) -> Asked:
    """The generation. Raises INVALID in TGI's sentences, UNSUPPORTED for what no engine behind this door does."""
    said = body.parameters
    if not body.inputs:
        raise _wrong("inputs", "`inputs` cannot be empty")
    for name in ("temperature", "repetition_penalty", "top_k"):
        value = getattr(said, name)
        if value is not None and value <= 0:
            raise _wrong(name, f"`{name}` must be strictly positive")
    if said.top_p is not None and not 0 < said.top_p <= 1:
        # TGI refuses 1 as well, which asks for nothing.
        raise _wrong("top_p", "`top_p` must be > 0.0 and <= 1.0")
    if said.frequency_penalty is not None and not -2 <= said.frequency_penalty <= 2:
        raise _wrong("frequency_penalty", "`frequency_penalty` must be >= -2.0 and <= 2.0")
    for name in ("max_new_tokens", "truncate"):
        if getattr(said, name) == 0:
            raise _wrong(name, f"`{name}` must be strictly positive")
    if said.stop and len(said.stop) > MOST_STOPS:
        raise _wrong("stop", f"`stop` supports up to {MOST_STOPS} stop sequences. Given: {len(said.stop)}")
    if "" in (said.stop or ()):
        raise _wrong("stop", "`stop` has an empty string, which would stop before the first character")
    if (said.top_n_tokens or 0) > MOST_TOP_TOKENS:
        raise _wrong(
            "top_n_tokens", f"`top_n_tokens` must be >= 0 and <= {MOST_TOP_TOKENS}. Given: {said.top_n_tokens}"
        )
    _check_best_of(said, stream=stream)
    _refuse_unsupported(said)
    return Asked(body.inputs, said, stream or bool(said.details), _grammar(said.grammar))


def _grammar(said: JsonGrammar | RegexGrammar | SchemaGrammar | None) -> JsonObject | str | None:
    """What the text must be: a schema as an object, an expression as text."""
    match said:
        case None:
            return None
        case RegexGrammar(value=expression):
            return expression
        case SchemaGrammar(value=named):
            return named.schema_
    schema = said.value
    if isinstance(schema, str):
        try:
            schema = orjson.loads(schema)
        except orjson.JSONDecodeError:
            raise _wrong("grammar", "`grammar` has a `value` that is no JSON") from None
    if not isinstance(schema, dict):
        raise _wrong("grammar", "`grammar` has a `value` that is no JSON schema")
    if "properties" not in schema:
        raise _wrong("grammar", "`grammar` has a JSON schema without `properties`")
    return schema


def _check_best_of(said: Parameters, *, stream: bool) -> None:
    if said.best_of is None or said.best_of == 1:
        return
    if not 1 <= said.best_of <= MOST_BEST_OF:
        raise _wrong("best_of", f"`best_of` must be > 0 and <= {MOST_BEST_OF}. Given: {said.best_of}")
    if stream:
        raise _wrong("best_of", "`best_of` != 1 is not supported when streaming tokens")
    if not said.samples:
        raise _wrong("best_of", "you must use sampling when `best_of` is > 1")
    if said.seed is not None:
        raise _wrong("seed", "`seed` must not be set when `best_of` > 1")


def _refuse_unsupported(said: Parameters) -> None:
    """Options that other engines do not have."""
    unsupported = {
        "typical_p": said.typical_p is not None and said.typical_p != 1,
        "watermark": bool(said.watermark),
        "decoder_input_details": bool(said.decoder_input_details),
    }
    name = next((name for name, asked in unsupported.items() if asked), None)
    if name is not None:
        raise ApiError(ErrorCode.UNSUPPORTED, f"`{name}` is not supported here; leave it out", param=name)


def _wrong(param: str, message: str) -> ApiError:
    return ApiError(ErrorCode.INVALID, message, param=param)
