"""The OpenAPI document describes every route, and no request made from it gets an answer that it does not tell of."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import jwt
import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from backends.base import EngineSpec, ModelSpec
from backends.types import (
    Chat,
    Complete,
    Delta,
    Event,
    Finish,
    Inferred,
    Request,
    Segment,
    Speech,
    Transcribe,
    Translate,
    Translated,
    Usage,
)
from proxy.app import build_app
from proxy.contracts import CONTRACTS
from proxy.contracts.ops.openapi import SENTENCES, document, plain
from proxy.errors import ErrorCode
from proxy.registry.models import ModelEntry, Registry
from proxy.settings import Settings
from tests.contracts.schema import schema
from tests.support import ScriptedBackend, serve_app

Document: TypeAlias = dict[str, Any]

EXAMPLES = 8
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SECRET = "a secret that is long enough for HS256"


def answer(request: Request) -> Iterable[Event]:
    """Something for whatever is asked."""
    match request:
        case Chat() | Complete():
            return (Delta(0, "Yes."), Finish(0, "stop"), Usage(1, 1))
        case Transcribe():
            segment = Segment(
                id=0,
                seek=0,
                start=0,
                end=1,
                text=" Yes.",
                tokens=(),
                temperature=0,
                avg_logprob=0,
                compression_ratio=1,
                no_speech_prob=0,
            )
            return (Speech("en", 1.0), segment)
        case Translate():
            return (*(Translated(index, text, "en", "de") for index, text in enumerate(request.texts)),)
        case _:
            return (Inferred(b"[]"),)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A model for each task, of a directory that is there."""
    spec = ModelSpec(source=str(tmp_path))
    engines = {kind: EngineSpec(name=kind, kind=kind) for kind in ("transformers", "whisper", "translation")}
    models = (
        ModelEntry(name="chatty", engine="transformers", spec=spec, task="text"),
        ModelEntry(name="hearing", engine="whisper", spec=spec, task="transcription"),
        ModelEntry(name="polyglot", engine="translation", spec=spec, task="translation"),
    )
    return Registry(
        engines=engines,
        models=models,
        defaults={"text": "chatty", "transcription": "hearing", "translation": "polyglot"},
    )


@pytest.fixture
async def door(registry: Registry) -> AsyncIterator[str]:
    """The whole door before engines that answer anything."""
    async with serve_app(registry, ScriptedBackend(answer).create, jwt_secret=SECRET) as url:
        yield url


@pytest.fixture
async def described(door: str) -> Document:
    async with aiohttp.ClientSession() as client, client.get(f"{door}/openapi.json") as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        body = await response.json()
    assert isinstance(body, dict)
    return body


def routes(app: web.Application) -> set[tuple[str, str]]:
    """Methods and paths that the app serves; HEAD comes with GET."""
    found = set()
    for route in app.router.routes():
        assert route.resource is not None
        info = route.resource.get_info()
        found.add((route.method, info.get("path") or info["formatter"]))
    return {(method, path) for method, path in found if method != "HEAD"}


def test_every_route_is_described_and_nothing_else() -> None:
    served = {
        (method, re.sub(r"{(\w+):[^}]*}", r"{\1}", path)) for method, path in routes(build_app(Settings(), Registry()))
    }
    described = {(operation.method, operation.path) for contract in CONTRACTS for operation in contract.operations()}
    assert served - described == set(), "add these to the operations of their contract"
    assert described - served == set(), "there are no such routes"


async def test_the_document_is_of_openapi_3_0(described: Document) -> None:
    assert described["openapi"] == "3.0.3"
    identifiers = [operation["operationId"] for path in described["paths"].values() for operation in path.values()]
    assert len(identifiers) == len(set(identifiers))
    references = set(re.findall(r'"#/components/schemas/(\w+)"', document(CONTRACTS).decode()))
    assert references <= set(described["components"]["schemas"])
    from_dict(described).validate()
    # Schemas of 3.0 are those of draft 4 with flags, and know no null type.
    for component in described["components"]["schemas"].values():
        Draft4Validator.check_schema(component)
    assert '"type":"null"' not in document(CONTRACTS).decode()


async def test_errors_are_shown_as_each_contract_says_them(described: Document) -> None:
    def example(path: str, method: str, status: str, code: ErrorCode) -> Any:
        answers = described["paths"][path][method]["responses"]
        return answers[status]["content"]["application/json"]["examples"][code.value]["value"]

    sentence = SENTENCES[ErrorCode.INVALID]
    assert example("/infer", "post", "400", ErrorCode.INVALID) == {"detail": sentence}
    assert example("/api/models/mt", "get", "400", ErrorCode.INVALID)["error"]["code"] == "CONFIGURATION_ERROR"
    assert example("/v1/completions", "post", "400", ErrorCode.INVALID)["error"]["type"] == "invalid_request_error"
    shown = example("/api/ai/chats", "get", "400", ErrorCode.INVALID)
    assert shown == {"statusCode": 400, "statusMessage": sentence}


@pytest.mark.parametrize(
    ("interface", "method", "path"),
    [
        ("ASRModelsResponse", "get", "/api/models/asr"),
        ("MTModelsResponse", "get", "/api/models/mt"),
        ("LanguageSupportResponse", "get", "/api/languages/mt/{model_id}"),
        ("ModelsStatusResponse", "get", "/api/models/status"),
        ("ModelHealthCheckResponse", "post", "/api/models/{model_id}/health-check"),
        ("LoadModelResponse", "post", "/api/models/{model_id}/load"),
        ("UnloadModelResponse", "post", "/api/models/{model_id}/unload"),
    ],
)
async def test_answers_are_described_as_the_contract_has_them(
    described: Document, interface: str, method: str, path: str
) -> None:
    answer = described["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    contract = {key: value for key, value in schema("models", interface).items() if key not in ("$schema", "title")}
    assert _bare(answer) == _bare(contract)


# Words of models that the catalog does not have, and whose files say nothing: absent, as no word would be true.
MAY_BE_UNKNOWN = {"provider", "architecture", "size_category"}


def _bare(schema: Any, definitions: Any = None) -> Any:
    """The members and their types: what the interfaces say. Bounds and patterns are the tests' own."""
    if not isinstance(schema, dict):
        return schema
    definitions = definitions or schema.get("$defs")
    if "$ref" in schema:
        return _bare(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "properties" in schema:
        members = {name: _bare(member, definitions) for name, member in schema["properties"].items()}
        return {"members": members, "required": sorted({*schema.get("required", [])} - MAY_BE_UNKNOWN)}
    if "const" in schema or "enum" in schema:
        return {"enum": schema.get("enum") or [schema["const"]]}
    return {key: _bare(value, definitions) for key, value in schema.items() if key in ("type", "items")}


def test_every_failure_can_be_shown() -> None:
    assert set(SENTENCES) == set(ErrorCode)


def test_schemas_are_put_into_the_dialect_of_3_0() -> None:
    schemas: dict[str, Any] = {}
    modern: Any = {
        "$defs": {"A": {"const": "a"}},
        "anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}],
    }
    assert plain(modern, schemas) == {"type": "integer", "exclusiveMinimum": True, "minimum": 0, "nullable": True}
    assert schemas == {"A": {"enum": ["a"]}}
    assert plain({"type": ["string", "null"], "maxLength": 3}, schemas) == {
        "type": "string",
        "maxLength": 3,
        "nullable": True,
    }


async def test_no_request_made_from_the_document_gets_an_answer_that_is_not_in_it(
    door: str, described: Document
) -> None:
    token = jwt.encode({"sub": "someone", "exp": int(time.time()) + 600}, SECRET, algorithm="HS256")
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as client, client.post(f"{door}/api/sessions") as response:
        session = (await response.json())["session_id"]
    there = {
        "session_id": session,
        "id": "chatty",
        "model_id": "polyglot",
        "publisher": "local",
        "name": "chatty",
        "chat_id": "1",
    }
    for path in described["paths"].values():
        for method in [name for name, operation in path.items() if "101" in operation["responses"]]:
            del path[method]
    for found in from_dict(described).get_all_operations():
        assert isinstance(found, Ok)
        await asyncio.to_thread(_ask, found.ok(), door, headers, there)


def _ask(
    operation: schemathesis.APIOperation[Any, Any, Any, Any], door: str, headers: dict[str, str], there: dict[str, str]
) -> None:
    """A few requests as the operation says, and a few that it does not allow; half of them for something that is there."""
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))

    @seed(4)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(cases, st.booleans())
    def asked(case: schemathesis.Case[Any], real: bool) -> None:
        if real:
            case.path_parameters.update({name: there[name] for name in case.path_parameters if name in there})
            if isinstance(case.body, dict) and "model" in case.body:
                case.body["model"] = there["name"]
        case.call_and_validate(base_url=door, headers=headers, checks=CHECKS, timeout=10)

    asked()
