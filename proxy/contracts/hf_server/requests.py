"""What `POST /infer` takes: any task's envelope, and the parameters of the tasks that are served."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from backends.types import Translate
from proxy.errors import ApiError, ErrorCode

SERVED = "`translation` and `translation_xx_to_yy` (as in `translation_en_to_fr`)"

_TRANSLATION = re.compile(r"translation(?:_(?P<source>.+)_to_(?P<target>.+))?")

Whole = Annotated[int, Field(ge=1)]
T = TypeVar("T", bound=BaseModel)
V = TypeVar("V")


class InferBody(BaseModel):
    """`POST /infer`. model: None or empty = the session's, or the task's default; session_id: whose configuration holds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task: str
    model: str | None = None
    inputs: JsonValue
    params: dict[str, JsonValue] | None = None
    session_id: str | None = None


class TranslationParams(BaseModel):
    """`params` of a translation, by the names that transformers gives them; others are refused, never ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)

    src_lang: str | None = None
    tgt_lang: str | None = None
    num_beams: Whole | None = None
    length_penalty: float | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] | None = None
    early_stopping: bool | None = None
    max_new_tokens: Whole | None = None
    max_length: Annotated[int, Field(ge=2)] | None = None
    # Long texts are translated whole, sentence by sentence.
    truncation: Literal[False, "do_not_truncate"] | None = None

    @property
    def new_tokens(self) -> int | None:
        """How many tokens may be generated; max_length counts the one that every translation begins with."""
        if self.max_new_tokens is not None or self.max_length is None:
            return self.max_new_tokens
        return self.max_length - 1


# A backend's word for an option -> its name in `params`.
PARAMS = {"source": "src_lang", "target": "tgt_lang", "beam_size": "num_beams"}


def translation(body: InferBody, base: Translate) -> Translate:
    """The domain's request. base: what holds where the body says nothing. Raises INVALID for other tasks, inputs, parameters."""
    task = _TRANSLATION.fullmatch(body.task)
    if task is None:
        message = f"Task `{body.task[:100]}` is not served here; these are: {SERVED}."
        raise ApiError(ErrorCode.INVALID, message, param="task")
    params = parse(TranslationParams, body.params or {}, within="params.")
    named = params.src_lang is None and params.tgt_lang is None
    return replace(
        base,
        texts=_texts(body.inputs),
        source=_given(task["source"] if named else params.src_lang, base.source),
        target=_given(task["target"] if named else params.tgt_lang, base.target),
        beam_size=_given(params.num_beams, base.beam_size),
        length_penalty=_given(params.length_penalty, base.length_penalty),
        no_repeat_ngram_size=_given(params.no_repeat_ngram_size, base.no_repeat_ngram_size),
        max_new_tokens=_given(params.new_tokens, base.max_new_tokens),
        early_stopping=_given(params.early_stopping, base.early_stopping),
    )


def parse(kind: type[T], data: Mapping[str, object], *, within: str = "") -> T:
    """Check an object. within: what stands before its fields' names in messages. Raises INVALID naming the field."""
    stranger = next((field for field in data if field not in kind.model_fields), None)
    if stranger is not None:
        name = f"{within}{stranger}"[:200]
        message = f"`{name}` is not supported; leave it out. Known: {', '.join(kind.model_fields)}."
        raise ApiError(ErrorCode.INVALID, message, param=name)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = f"{within}{first['loc'][0]}"[:200]
        match first["type"]:
            case "missing":
                message = f"`{name}` is missing."
            case _:
                message = f"Invalid `{name}`: {first['msg']}."
        raise ApiError(ErrorCode.INVALID, message, param=name) from error


def _given(value: V | None, otherwise: V | None) -> V | None:
    return otherwise if value is None else value


def _texts(inputs: JsonValue) -> tuple[str, ...]:
    texts = inputs if isinstance(inputs, list) else [inputs]
    if not all(isinstance(text, str) for text in texts):
        raise ApiError(ErrorCode.INVALID, "Invalid `inputs`: a translation takes a string or a list of strings.")
    return tuple(text for text in texts if isinstance(text, str))
