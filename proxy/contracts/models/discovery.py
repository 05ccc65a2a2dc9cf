"""Which speech and translation models there are: `GET /api/models/asr`, `GET /api/models/mt`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

import orjson
from aiohttp import web

from backends.types import JsonObject
from proxy.contracts.models.listed import Listed, listed_speech, listed_translation
from proxy.contracts.models.pairs import PairPage, PairQuery, headers, page, read_query
from proxy.contracts.models.recommended import Machine, recommended_speech
from proxy.keys import CATALOG, DISPATCHER
from proxy.lifecycle.memory import read_room
from proxy.registry.catalog import Catalog, SpeechFacts, TranslationFacts
from proxy.registry.catalog_scores import ram_mb
from proxy.registry.models import Registry

# With more cores than this a GPU costs less.
MANY_CORES = 4


def routes() -> Iterable[web.RouteDef]:
    """The paths of the two lists."""
    return (web.get("/api/models/asr", list_asr), web.get("/api/models/mt", list_mt))


async def list_asr(request: web.Request) -> web.Response:
    """`GET /api/models/asr`: an ASRModelsResponse."""
    catalog, registry = await request.app[CATALOG].open(), request.app[DISPATCHER].router.registry
    body = await asyncio.to_thread(lambda: asr_models(catalog, registry, read_machine()))
    return web.Response(body=orjson.dumps(body), content_type="application/json")


async def list_mt(request: web.Request) -> web.Response:
    """`GET /api/models/mt`: an MTModelsResponse. Its pairs come in pages, the best first; `source` and `target` narrow them."""
    query = read_query(request.query)
    catalog, registry = await request.app[CATALOG].open(), request.app[DISPATCHER].router.registry
    body, found = await asyncio.to_thread(mt_models, catalog, registry, query)
    return web.Response(
        body=orjson.dumps(body), content_type="application/json", headers=headers(request, query, found)
    )


def read_machine() -> Machine:
    """This machine. Blocks for milliseconds."""
    room = read_room()
    return Machine(cores=os.cpu_count() or 1, ram_mb=room.total, gpu_mb=None if room.gpu is None else room.gpu.total)


def asr_models(catalog: Catalog, registry: Registry, machine: Machine) -> JsonObject:
    """The ASRModelsResponse."""
    models = listed_speech(catalog, registry)
    recommendations = recommended_speech((model.facts for model in models), machine)
    return {
        "models": [asr_model(model) for model in models],
        "default_model": registry.defaults.get("transcription", ""),
        "recommendations": [
            {"use_case": found.use_case, "recommended_model": found.model_id, "reason": found.reason}
            for found in recommendations
        ],
    }


def asr_model(model: Listed[SpeechFacts]) -> JsonObject:
    """The ASRModelInfo; scores are 0 and benchmarks absent where nothing was measured."""
    facts = model.facts
    requirements: JsonObject = {
        "min_cpu_cores": facts.cores,
        "min_ram_mb": ram_mb(facts.memory_mb),
        "gpu_recommended": facts.cores > MANY_CORES,
    }
    benchmarks: JsonObject = {}
    if facts.parameters:
        requirements["gpu_memory_mb"] = facts.gpu_memory_mb
    if facts.wer is not None:
        benchmarks["wer_english"] = round(facts.wer / 100, 4)
    if facts.rtfx is not None:
        benchmarks["rtf"] = round(1 / facts.rtfx, 5)
    info: JsonObject = {
        "model_id": facts.model_id,
        "display_name": facts.display_name,
        "provider": facts.provider,
        "languages": [*facts.languages],
        "size_category": facts.size,
        "size_mb": facts.checkpoint_mb,
        "quality_score": facts.quality,
        "speed_score": facts.speed,
        "memory_requirement_mb": facts.memory_mb,
        "features": {
            "multilingual": len(facts.languages) > 1,
            "timestamps": model.here,
            "voice_activity_detection": model.here,
            "diarization": model.diarizes,
            "real_time": facts.real_time,
        },
        "hardware_requirements": requirements,
    }
    return {**info, "benchmarks": benchmarks} if benchmarks else info


def mt_models(catalog: Catalog, registry: Registry, query: PairQuery) -> tuple[JsonObject, PairPage]:
    """The MTModelsResponse, and what its page of pairs is a page of."""
    models = [model.facts for model in listed_translation(catalog, registry)]
    found = page(models, query)
    return {
        "models": [mt_model(facts) for facts in models],
        "default_model": registry.defaults.get("translation", ""),
        "language_pairs": [*found.pairs],
    }, found


def mt_model(facts: TranslationFacts) -> JsonObject:
    """The MTModelInfo. All translate sentence by sentence, and none says how sure it is."""
    info: JsonObject = {
        "model_id": facts.model_id,
        "display_name": facts.display_name,
        "provider": facts.provider,
        "architecture": facts.architecture,
        "size_category": facts.size,
        "size_mb": facts.checkpoint_mb,
        "quality_score": facts.quality,
        "speed_score": facts.speed,
        "memory_requirement_mb": facts.memory_mb,
        "supported_languages": [*facts.family.languages],
        "language_pairs_count": facts.pairs_count,
        "features": {
            "zero_shot": facts.pair is None and len(facts.family.languages) > 2,
            "document_level": False,
            "domain_adaptation": False,
            "confidence_scores": False,
        },
    }
    measured = facts.spbleu if facts.spbleu is not None else facts.tatoeba_bleu
    return info if measured is None else {**info, "benchmarks": {"bleu_score": measured}}
