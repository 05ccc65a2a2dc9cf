"""How text is generated: the contract's six options, their defaults, and what engines call them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from backends.types import Json, JsonObject, Sampling


class Options(BaseModel):
    """The options with the contract's defaults. temperature 0 is as good as `do_sample: false`; top_k 0 = off."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    max_new_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    temperature: Annotated[float, Field(ge=0, le=100)] = 0.7
    do_sample: bool = True
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = 50
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] = 1.1


MOST_TOKENS = "max_new_tokens"
# An engine's word for an option -> the contract's.
NAMES = {
    "max_tokens": MOST_TOKENS,
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "repetition_penalty": "repetition_penalty",
}


def in_force(sent: Mapping[str, Json], stored: Mapping[str, Json]) -> JsonObject:
    """What holds for a request: what it says, else what is stored with the model, else the contract's default."""
    known = {name: value for name, value in stored.items() if name in Options.model_fields}
    return {**Options().model_dump(), **known, **sent}


def sampling(options: JsonObject) -> Sampling:
    """The same for an engine; an option that is left out is the engine's own affair. options: checked."""
    said = Options.model_validate(options)
    chosen = {name: value for name, value in said.model_dump(exclude_unset=True).items() if name != "do_sample"}
    tokens = chosen.pop(MOST_TOKENS, None)
    if not said.do_sample or said.temperature == 0:
        # The likeliest token each time: nothing is drawn, so nothing narrows the draw.
        return Sampling(max_tokens=tokens, temperature=0.0, repetition_penalty=chosen.get("repetition_penalty"))
    return Sampling(max_tokens=tokens, **chosen)
