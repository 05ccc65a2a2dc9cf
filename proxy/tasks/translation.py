"""Translation as a task, on the engine made for it: transformers' parameters in, transformers' results out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from backends.pipelines.tasks import languages
from backends.types import Infer, Json, Translate, Translated
from proxy.errors import ApiError, ErrorCode
from proxy.tasks.parsing import parse

V = TypeVar("V")

Whole = Annotated[int, Field(ge=1)]


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


def translation(request: Infer, base: Translate) -> Translate:
    """The engine's request. base: what holds where this one says nothing. Raises INVALID for inputs and parameters."""
    params = parse(TranslationParams, request.params, within="params.")
    pair = (params.src_lang, params.tgt_lang)
    source, target = pair if any(pair) else languages(request.task) or pair
    return replace(
        base,
        texts=_texts(request),
        source=_given(source, base.source),
        target=_given(target, base.target),
        beam_size=_given(params.num_beams, base.beam_size),
        length_penalty=_given(params.length_penalty, base.length_penalty),
        no_repeat_ngram_size=_given(params.no_repeat_ngram_size, base.no_repeat_ngram_size),
        max_new_tokens=_given(params.new_tokens, base.max_new_tokens),
        early_stopping=_given(params.early_stopping, base.early_stopping),
    )


def result(translated: Iterable[Translated]) -> list[Json]:
    """One object for each text, in their order."""
    in_order = sorted(translated, key=lambda event: event.index)
    return [{"translation_text": event.text} for event in in_order]


def _given(value: V | None, otherwise: V | None) -> V | None:
    return otherwise if value is None else value


def _texts(request: Infer) -> tuple[str, ...]:
    texts = request.inputs if isinstance(request.inputs, list) else [request.inputs]
    if request.files or not all(isinstance(text, str) for text in texts):
        raise ApiError(ErrorCode.INVALID, "Invalid `inputs`: a translation takes a string or a list of strings.")
    return tuple(text for text in texts if isinstance(text, str))
