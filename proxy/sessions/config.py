"""The models API's ModelConfig: its fields, their defaults and limits, and how what a session says becomes a whole one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from backends.types import Json, JsonObject
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.sessions.merge import merged

Device: TypeAlias = Literal["cpu", "cuda", "auto"]
ComputeType: TypeAlias = Literal["int8", "float16", "float32"]

ModelId = Annotated[str, StringConstraints(max_length=200)]
Language = Annotated[str, StringConstraints(min_length=1, max_length=40)]
Beams = Annotated[int, Field(ge=1, le=32)]
# The longest text that one request may have, counted as if each character were a token.
Tokens = Annotated[int, Field(ge=1, le=1_000_000)]

LONGEST_PROMPT = 4096


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class AsrParameters(_Group):
    """How speech is decoded; the defaults are Whisper's own, those of requests without a session.

    temperature: the first to be tried; where a segment does not pass the thresholds, those above it in steps of 0.2 follow, up
    to 1. condition_on_previous_text: each window is told the text of the one before. initial_prompt: text before the first.
    """

    beam_size: Beams = 5
    best_of: Beams = 5
    temperature: float = Field(0.0, ge=0, le=1)
    compression_ratio_threshold: float = Field(2.4, ge=0)
    logprob_threshold: float = -1.0
    no_speech_threshold: float = Field(0.6, ge=0, le=1)
    condition_on_previous_text: bool = False
    initial_prompt: Annotated[str, StringConstraints(max_length=LONGEST_PROMPT)] | None = None


class AsrCompute(_Group):
    """Where speech is computed, and in which arithmetic. cpu_threads: of one call on a CPU; absent = every core but one.

    gpu_memory_fraction is the contract's, and refused: CTranslate2 takes what memory a model needs, and cannot be held to less.
    """

    device: Device
    compute_type: ComputeType
    cpu_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = None


class Asr(_Group):
    """Speech recognition. language: the one spoken; absent = the model finds out. task: `translate` is into English."""

    model_id: ModelId
    language: Language | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    parameters: AsrParameters = AsrParameters()
    compute_config: AsrCompute


class MtParameters(_Group):
    """How the best translation is searched. max_input_length: tokens of each text, what is beyond is left out;
    max_new_tokens: of each sentence's translation, and never more than the model has room for.
    """

    beam_size: Beams = 5
    length_penalty: float = Field(1.0, ge=-10, le=10)
    no_repeat_ngram_size: int = Field(0, ge=0, le=1024)
    max_input_length: Tokens = 1_000_000
    max_new_tokens: Tokens = 512
    early_stopping: bool = True


class MtCompute(_Group):
    """Where translations are computed, and in which arithmetic. batch_size: most sentences in one call of the model."""

    device: Device
    compute_type: ComputeType
    batch_size: Annotated[int, Field(ge=1, le=4096)]


class Mt(_Group):
    """Translation. source_language: absent = each request says it; target_language: empty = likewise."""

    model_id: ModelId
    source_language: Language | None = None
    target_language: Annotated[str, StringConstraints(max_length=40)] = ""
    parameters: MtParameters = MtParameters()
    compute_config: MtCompute


class ModelConfig(_Group):
    """A session's whole configuration."""

    asr: Asr
    mt: Mt

    def as_json(self) -> JsonObject:
        """The contract's object: fields without a value are absent."""
        return cast("JsonObject", self.model_dump(exclude_none=True))


def check_change(change: Mapping[str, Json]) -> None:
    """Raise INVALID, with its path, where a change has a member that no configuration has, or another shape than one.

    Nulls are changes too, of which the whole says nothing; and what has this shape is not nested deeply.
    """
    _check_shape(change, ModelConfig, "")


def with_nulls(change: Mapping[str, Json]) -> JsonObject:
    """The change, which has the right shape, with null in place of empty model ids: on a door without a model for a service
    they are what is shown, and what is shown may be said.
    """
    groups = {name: dict(group) if isinstance(group, dict) else group for name, group in change.items()}
    for group in groups.values():
        if isinstance(group, dict) and group.get("model_id") == "":
            group["model_id"] = None
    return groups


def whole(defaults: ModelConfig, said: Mapping[str, Json]) -> ModelConfig:
    """The defaults with what a session says laid over them. Raises INVALID with the path of a wrong value."""
    try:
        return ModelConfig.model_validate(merged(defaults.as_json(), said))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(map(str, first["loc"]))
        raise invalid(path, first["msg"][:1].lower() + first["msg"][1:]) from error


def said_at(said: Mapping[str, Json], path: str) -> Json:
    """What a session itself says at a path such as `asr.compute_config.device`; None = nothing."""
    value: Json = dict(said)
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _check_shape(change: Mapping[str, Json], group: type[BaseModel], within: str) -> None:
    for name, value in change.items():
        path = f"{within}{name[:100]}"
        field = group.model_fields.get(name)
        if field is None:
            message = f"`{path}` is no part of a configuration; leave it out. Known: {', '.join(group.model_fields)}."
            raise ApiError(ErrorCode.INVALID, message, param=path)
        below = field.annotation
        if isinstance(below, type) and issubclass(below, _Group):
            if isinstance(value, dict):
                _check_shape(value, below, f"{path}.")
            elif value is not None:
                raise invalid(path, "it must be an object")
        elif isinstance(value, dict | list):
            raise invalid(path, "it must be a single value")
