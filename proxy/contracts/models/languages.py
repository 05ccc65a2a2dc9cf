"""Which languages a translation model has, and how well: `GET /api/languages/mt/{model_id}`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import orjson
from aiohttp import web

from backends.types import Json, JsonObject
from proxy.contracts.models.listed import listed_translation
from proxy.contracts.models.pairs import PairQuery, answer, in_our_codes, read_query, written
from proxy.contracts.models.recommended import recommended_targets
from proxy.errors import ApiError, ErrorCode
from proxy.keys import CATALOG, DISPATCHER
from proxy.registry.catalog import Catalog, TranslationFacts
from proxy.registry.catalog_languages import Spoken
from proxy.registry.models import Registry


def routes() -> Iterable[web.RouteDef]:
    """The path of a model's languages."""
    return (web.get("/api/languages/mt/{model_id:.+}", get_languages),)


async def get_languages(request: web.Request) -> web.Response:
    """`GET /api/languages/mt/{model_id}`: a LanguageSupportResponse. Its pairs come as those of `GET /api/models/mt`."""
    catalog, registry = await request.app[CATALOG].open(), request.app[DISPATCHER].router.registry
    query = in_our_codes(read_query(request.query), catalog.atlas)
    body, total = await asyncio.to_thread(support, catalog, registry, request.match_info["model_id"], query)
    return answer(request, body, query, total)


def support(catalog: Catalog, registry: Registry, model_id: str, query: PairQuery) -> tuple[dict[str, object], int]:
    """The LanguageSupportResponse, and of how many pairs it has some. Raises MODEL_NOT_FOUND."""
    models = tuple(model.facts for model in listed_translation(catalog, registry))
    named = registry.names().get(model_id)
    name = model_id if named is None else named.name
    facts = next((model for model in models if model.model_id == name), None)
    if facts is None:
        message = f"There is no translation model `{model_id[:200]}`; GET /api/models/mt lists them."
        raise ApiError(ErrorCode.MODEL_NOT_FOUND, message, details={"model_id": model_id[:200]})
    found = written(models, query, facts)
    return {
        "model_id": facts.model_id,
        "languages": [_language(spoken, facts) for spoken in facts.family.languages.values()],
        "pairs": orjson.Fragment(found.json),
        "recommendations": _recommendations(facts),
    }, found.total


def _language(spoken: Spoken, facts: TranslationFacts) -> JsonObject:
    language = spoken.language
    info: JsonObject = {
        "code": language.code,
        "name": language.name,
        "native_name": language.native,
        "script": language.script,
        "direction": language.direction,
        "quality_tier": facts.tier(spoken),
        "resource_level": language.resource,
    }
    variants: list[Json] = [{"code": v.code, "name": v.name, "region": v.region} for v in spoken.variants]
    return {**info, "variants": variants} if variants else info


def _recommendations(facts: TranslationFacts) -> list[Json]:
    """For each language that the model does well, those into which it does best."""
    if facts.pair is not None:
        source, target = facts.pair
        return [{"source_language": source, "recommended_targets": [target], "reason": "The pair it was made for."}]
    return [
        _recommendation(facts, spoken) for spoken in facts.family.languages.values() if facts.tier(spoken) == "high"
    ]


def _recommendation(facts: TranslationFacts, spoken: Spoken) -> Json:
    targets = recommended_targets(facts.family, spoken.language.code)
    measured = [f"{target.language.code} {target.score}" for target in targets if target.score is not None]
    reason = (
        f"Best measured from English (0-100): {', '.join(measured)}."
        if measured
        else "None of its languages was measured."
    )
    return {
        "source_language": spoken.language.code,
        "recommended_targets": [target.language.code for target in targets],
        "reason": reason,
    }
