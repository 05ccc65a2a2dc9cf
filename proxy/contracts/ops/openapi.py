"""The OpenAPI document: every contract's table of operations, and the errors as each contract renders them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import orjson

from backends.types import Json, JsonObject
from proxy.contract import Contract
from proxy.errors import STATUS, ApiError, ErrorCode
from proxy.operation import Answer, Operation

# What the examples of errors say.
SENTENCES = {
    ErrorCode.INVALID: "Invalid `field`: what is wrong with it.",
    ErrorCode.UNSUPPORTED: "`field` is not supported; leave it out.",
    ErrorCode.UNAUTHORIZED: "No API key provided. Send one of the server's keys as `Authorization: Bearer KEY`.",
    ErrorCode.FORBIDDEN: "Pages of this origin may not open a socket here.",
    ErrorCode.NOT_FOUND: "There is no such thing here.",
    ErrorCode.MODEL_NOT_FOUND: "The model `name` does not exist.",
    ErrorCode.METHOD_NOT_ALLOWED: "POST /path is not allowed; use GET.",
    ErrorCode.REQUEST_TIMEOUT: "The request body stood still for too long.",
    ErrorCode.TOO_LARGE: "The request body is too large.",
    ErrorCode.MEDIA_TYPE: "The body is of a type that is not taken here.",
    ErrorCode.OVERLOADED: "Too much is waiting already; try again.",
    ErrorCode.INTERNAL: "The server failed to handle this request; its log says why.",
    ErrorCode.BAD_GATEWAY: "The engine failed to answer.",
    ErrorCode.UNAVAILABLE: "The server is shutting down; try again.",
    ErrorCode.GATEWAY_TIMEOUT: "The engine said nothing for too long.",
    ErrorCode.DOWNLOAD_REQUIRED: "The model's files are not on this machine and could not be fetched.",
    ErrorCode.INSUFFICIENT_MEMORY: "Cannot load the model: not enough memory.",
    ErrorCode.UNSUPPORTED_DEVICE: "The device asked for is not there.",
    ErrorCode.LOADING_TIMEOUT: "The model took longer to load than loads may take.",
    ErrorCode.LICENSE: "The model's files are behind a licence that has not been granted.",
}


@lru_cache(maxsize=1)
def document(contracts: tuple[Contract, ...]) -> bytes:
    """The document as JSON, OpenAPI 3.0.3."""
    schemas: JsonObject = {}
    paths: dict[str, JsonObject] = {}
    for contract in contracts:
        for operation in contract.operations():
            paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(contract, operation, schemas)
    return orjson.dumps(
        {
            "openapi": "3.0.3",
            "info": {
                "title": "Switchboard",
                "version": "1.0.0",
                "description": "One door in front of every model: several contracts, each with its own paths and errors. "
                "Ids of models may contain slashes: write them plainly, or as %2F.",
            },
            "tags": [{"name": contract.name} for contract in contracts],
            "paths": dict(sorted(paths.items())),
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "key": {"type": "http", "scheme": "bearer", "description": "One of SWITCHBOARD_API_KEYS, if set."},
                    "operator": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "One of SWITCHBOARD_ADMIN_KEYS, where it is set.",
                    },
                    "user": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                },
            },
        }
    )


def _operation(contract: Contract, operation: Operation, schemas: JsonObject) -> JsonObject:
    described: JsonObject = {
        "tags": [contract.name],
        "operationId": f"{operation.method.lower()}{re.sub(r'[^A-Za-z0-9]+', '_', operation.path)}".rstrip("_"),
        "summary": operation.summary,
        "parameters": _parameters(operation, schemas),
        "responses": _responses(contract, operation, schemas),
        "security": _security(contract, operation.path),
    }
    content: JsonObject = {}
    if operation.body is not None:
        content["application/json"] = {"schema": plain(operation.body, schemas)}
    if operation.form is not None:
        content["multipart/form-data"] = {"schema": plain(operation.form, schemas)}
    if content:
        described["requestBody"] = {"required": not operation.optional, "content": content}
    return described


def _parameters(operation: Operation, schemas: JsonObject) -> list[Json]:
    within: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    asked: list[Json] = [
        {"name": name, "in": "query", "schema": plain(schema, schemas)} for name, schema in operation.query.items()
    ]
    return within + asked


def _responses(contract: Contract, operation: Operation, schemas: JsonObject) -> JsonObject:
    responses: JsonObject = {
        str(status): _success(answer, schemas) for status, answer in sorted(operation.success.items())
    }
    codes = operation.errors | ({ErrorCode.UNAUTHORIZED} if _security(contract, operation.path) else frozenset())
    for status in sorted({STATUS[code] for code in codes} - set(operation.success)):
        responses[str(status)] = _failure(contract, sorted(code for code in codes if STATUS[code] == status))
    return responses


def _success(answer: Answer, schemas: JsonObject) -> JsonObject:
    if answer.schema is None and answer.media == "application/json":
        return {"description": answer.description}
    schema: Json = {"type": "string"}
    if answer.schema is not None:
        schema = plain(answer.schema, schemas)
    content: JsonObject = {answer.media: {"schema": schema}}
    if answer.streams:
        content["text/event-stream"] = {"schema": {}}
    return {"description": answer.description, "content": content}


def _failure(contract: Contract, codes: Sequence[ErrorCode]) -> JsonObject:
    """What this contract says of these failures, by example."""
    examples: JsonObject = {
        code.value: {"value": orjson.loads(contract.render_error(ApiError(code, SENTENCES[code])))} for code in codes
    }
    content: JsonObject = {"schema": {"type": "object"}, "examples": examples}
    return {
        "description": ", ".join(code.value.replace("_", " ") for code in codes),
        "content": {"application/json": content},
    }


def _security(contract: Contract, path: str) -> list[Json]:
    if path in contract.public:
        return []
    if contract.operators and path.startswith(contract.operators):
        return [{}, {"operator": []}]
    return [{"user": []}] if contract.own_users else [{}, {"key": []}]


def plain(schema: Json, schemas: JsonObject) -> Json:
    """A JSON schema in the dialect of OpenAPI 3.0; its definitions go to `schemas`."""
    if isinstance(schema, list):
        return [plain(item, schemas) for item in schema]
    if not isinstance(schema, dict):
        return schema
    definitions = schema.get("$defs")
    if isinstance(definitions, dict):
        schemas.update({name: plain(definition, schemas) for name, definition in definitions.items()})
    kept = {
        name: plain(value, schemas) for name, value in schema.items() if name not in ("$defs", "prefixItems", "$schema")
    }
    return _without_null(_with_flags(kept))


def _with_flags(schema: JsonObject) -> JsonObject:
    """Bounds that exclude themselves are flags in 3.0; a constant is an enumeration of one."""
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if isinstance(schema.get(exclusive), (int, float)) and not isinstance(schema[exclusive], bool):
            schema = {**schema, bound: schema[exclusive], exclusive: True}
    if "const" in schema:
        schema = {**schema, "enum": [schema["const"]]}
        del schema["const"]
    return schema


def _without_null(schema: JsonObject) -> JsonObject:
    """`null` is no type in 3.0 but a flag, and there are no lists of types."""
    types = schema.get("type")
    if isinstance(types, list):
        schema = {**schema, "anyOf": [{"type": kind} for kind in types]}
        del schema["type"]
    choices = schema.get("anyOf")
    if not isinstance(choices, list) or {"type": "null"} not in choices:
        return schema
    rest: list[Json] = [choice for choice in choices if choice != {"type": "null"}]
    others: JsonObject = {name: value for name, value in schema.items() if name != "anyOf"}
    alone = rest[0] if len(rest) == 1 else None
    if isinstance(alone, dict) and "$ref" not in alone:
        return {**alone, **others, "nullable": True}
    return {**others, "anyOf": rest, "nullable": True}
