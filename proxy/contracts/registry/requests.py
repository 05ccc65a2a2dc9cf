"""What bodies of this contract may hold: checked field by field, refused in the contract's sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, field_validator

from backends.errors import Invalid
from backends.inprocess.ids import is_model_id
from backends.pipelines.tasks import find
from backends.types import Json, JsonObject
from proxy.contracts.registry.errors import SHOWN, missing
from proxy.contracts.registry.options import Options
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.http.queries import refuse_others
from proxy.registry.rows import TYPES, Model
from proxy.tasks.parsing import parse
from proxy.tasks.translation import TranslationParams

PROTECTED = ("model_id", "added_date", "usage_count")
TEXT_TYPES = frozenset({"text-generation", "conversational"})
MOST_PARAMETERS = 64
MOST_BYTES = 65_536  # of a model's parameters: every proxy holds those of all models in memory

Name = Annotated[str, Field(min_length=1, max_length=200)]
# null = none of it, as clients write what is optional.
Description = Annotated[str, BeforeValidator(lambda value: "" if value is None else value), Field(max_length=10_000)]
Parameters = Annotated[
    dict[str, JsonValue],
    BeforeValidator(lambda value: {} if value is None else value),
    Field(max_length=MOST_PARAMETERS),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AddBody(_Body):
    """`POST /models`."""

    model_id: str
    name: Name
    model_type: str
    description: Description = ""
    parameters: Parameters = {}


class UpdateBody(_Body):
    """`PUT /models/{model_id}`; what is not said stays as it is. status: `retired` = known, and served no more."""

    name: Name = ""
    model_type: str = ""
    description: Description = ""
    parameters: Parameters = {}
    status: Literal["available", "retired"] = "available"
    last_used: datetime | None = None

    @field_validator("last_used", mode="before")
    @classmethod
    def _read_time(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        time = datetime.fromisoformat(value)
        if not 1970 <= time.year < 9999:
            raise ValueError("no model was used then")
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


class LoadBody(_Body):
    """`POST /models/{model_id}/load`."""

    force_reload: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """`POST /generate`. options: those that were sent, checked."""

    model_id: str
    prompt: str
    stream: bool
    options: JsonObject


@dataclass(frozen=True, slots=True)
class PipelineCall:
    """`POST /pipeline`. params: every field that is none of the other three."""

    model_id: str
    task: str
    inputs: Json
    params: JsonObject


def read_add(data: JsonObject, now: datetime) -> Model:
    """The model to register. Raises INVALID."""
    require(data, "model_id", "name", "model_type")
    body = parse(AddBody, data)
    if not is_model_id(body.model_id):
        reason = f"`{body.model_id[:SHOWN]}` is no Hugging Face id (`name` or `owner/name`)"
        raise invalid("model_id", reason)
    _check_type(body.model_type)
    check_parameters(body.model_type, body.parameters)
    return Model(
        model_id=body.model_id,
        name=body.name,
        model_type=body.model_type,
        added=now,
        description=body.description,
        parameters=body.parameters,
    )


def read_update(data: JsonObject, model: Model) -> dict[str, object]:
    """The fields to change, by name. Raises INVALID: for protected fields, and parameters that the model's type has not."""
    for field in PROTECTED:
        if field in data:
            raise ApiError(ErrorCode.INVALID, f"Cannot update protected field: {field}", param=field)
    body = parse(UpdateBody, data)
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    if not changes:
        known = ", ".join(UpdateBody.model_fields)
        raise ApiError(ErrorCode.INVALID, f"Nothing to update: send one of {known}.")
    if "model_type" in changes:
        _check_type(body.model_type)
    if {"model_type", "parameters"} & changes.keys():
        kind = body.model_type or model.model_type
        check_parameters(kind, body.parameters if "parameters" in changes else model.parameters)
    return changes


def read_generation(data: JsonObject) -> Generation:
    """What to generate. Raises INVALID."""
    require(data, "model_id", "prompt")
    model_id, prompt, stream = data["model_id"], data["prompt"], data.get("stream", False)
    if not isinstance(model_id, str):
        raise invalid("model_id", "it must be a string")
    if not isinstance(prompt, str):
        raise invalid("prompt", "it must be a string")
    if not isinstance(stream, bool):
        raise invalid("stream", "it must be true or false")
    rest = {name: value for name, value in data.items() if name not in ("model_id", "prompt", "stream")}
    return Generation(model_id, prompt, stream, parse(Options, rest).model_dump(exclude_unset=True))


def read_pipeline(data: JsonObject) -> PipelineCall:
    """Which task to run on what. Raises INVALID; the task itself checks its inputs and parameters."""
    require(data, "model_id", "task", "inputs")
    model_id, task = data["model_id"], data["task"]
    if not isinstance(model_id, str):
        raise invalid("model_id", "it must be a string")
    if not isinstance(task, str):
        raise invalid("task", "it must be a string")
    rest = {name: value for name, value in data.items() if name not in ("model_id", "task", "inputs")}
    return PipelineCall(model_id, task, data["inputs"], rest)


def read_query(query: Mapping[str, str], known: str) -> str | None:
    """The one parameter that a query may have; None when it is not there, or empty. Raises INVALID for any other."""
    refuse_others(query, (known,))
    return query.get(known) or None


def require(data: Mapping[str, object], *fields: str) -> None:
    """Refuse a body without one of these. Raises INVALID with the contract's sentence."""
    for field in fields:
        if data.get(field) is None or data[field] == "":
            raise missing(field)


def check_parameters(model_type: str, parameters: Mapping[str, Json]) -> None:
    """Refuse what could not be used as a default of a model of this type. Raises INVALID naming the parameter."""
    if len(orjson.dumps(parameters)) > MOST_BYTES:
        raise invalid("parameters", f"they take more than {MOST_BYTES} bytes")
    if model_type in TEXT_TYPES:
        parse(Options, parameters, within="parameters.")
        return
    if model_type == "translation":
        parse(TranslationParams, parameters, within="parameters.")
        return
    try:
        kind = find(model_type).params
    except Invalid as error:
        raise ApiError(ErrorCode.INVALID, error.message, param="model_type") from error
    try:
        parse(kind, parameters, within="parameters.")
    except ValidationError as error:
        raise invalid("parameters", str(error.errors()[0]["msg"])) from error


def _check_type(model_type: str) -> None:
    if model_type not in TYPES:
        raise invalid("model_type", f"`{model_type[:SHOWN]}` is none of {', '.join(TYPES)}")
