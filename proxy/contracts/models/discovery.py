"""Which speech and translation models there are: `GET /api/models/asr`, `GET /api/models/mt`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import orjson
from aiohttp import web

from backends.types import JsonObject
from proxy.contracts.models.listed import Listed, listed_speech, listed_translation
from proxy.contracts.models.pairs import PairQuery, answer, in_our_codes, read_query, written
from proxy.contracts.models.recommended import Machine, recommended_speech
from proxy.http.queries import without_query
from proxy.keys import CATALOG, DISPATCHER, LIFECYCLE
from proxy.lifecycle.memory import read_room
from proxy.lifecycle.places import Place
from proxy.registry.catalog import Catalog, SpeechFacts, TranslationFacts
from proxy.registry.catalog_scores import ram_mb
from proxy.registry.models import Registry

# With more cores than this a GPU costs less.
MANY_CORES = 4


def routes() -> Iterable[web.RouteDef]:
    """The paths of the two lists."""
    return (without_query(web.get("/api/models/asr", list_asr)), web.get("/api/models/mt", list_mt))


async def list_asr(request: web.Request) -> web.Response:
    """`GET /api/models/asr`: an ASRModelsResponse."""
    catalog, registry = await request.app[CATALOG].open(), request.app[DISPATCHER].router.registry
    measured = latencies(registry, request.app[LIFECYCLE].places(), asyncio.get_running_loop().time())
    body = await asyncio.to_thread(lambda: asr_models(catalog, registry, read_machine(), measured))
    return web.Response(body=orjson.dumps(body), content_type="application/json")


async def list_mt(request: web.Request) -> web.Response:
    """`GET /api/models/mt`: an MTModelsResponse. Its pairs come the best first; `source` and `target` narrow them, `limit` and
    `offset` make pages of them.
    """
    catalog, registry = await request.app[CATALOG].open(), request.app[DISPATCHER].router.registry
    query = in_our_codes(read_query(request.query), catalog.atlas)
    measured = latencies(registry, request.app[LIFECYCLE].places(), asyncio.get_running_loop().time())
    body, total = await asyncio.to_thread(mt_models, catalog, registry, query, measured)
    return answer(request, body, query, total)


def read_machine() -> Machine:
    """This machine. Blocks for milliseconds."""
    room = read_room()
    return Machine(cores=os.cpu_count() or 1, ram_mb=room.total, gpu_mb=None if room.gpu is None else room.gpu.total)


def latencies(registry: Registry, places: Sequence[Place], clock: float) -> dict[str, float]:
    """Milliseconds that an inference took on average lately, by the name of a model that ran. clock: in seconds."""
    means = {
        (place.key.engine, replace(place.key.model, variant="")): mean
        for place in places
        if (mean := place.figures.summary(clock).mean) is not None
    }
    names = {entry.name: means.get((entry.engine, entry.spec)) for entry in registry.models}
    return {name: round(1e3 * mean, 1) for name, mean in names.items() if mean is not None}


def asr_models(
    catalog: Catalog, registry: Registry, machine: Machine, measured: Mapping[str, float] = MappingProxyType({})
) -> JsonObject:
    """The ASRModelsResponse. measured: milliseconds by model."""
    models = listed_speech(catalog, registry)
    recommendations = recommended_speech((model.facts for model in models), machine)
    return {
        "models": [asr_model(model, measured.get(model.facts.model_id)) for model in models],
        "default_model": registry.defaults.get("transcription", ""),
        "recommendations": [
            {"use_case": found.use_case, "recommended_model": found.model_id, "reason": found.reason}
            for found in recommendations
        ],
    }


def asr_model(model: Listed[SpeechFacts], latency_ms: float | None = None) -> JsonObject:
    """The ASRModelInfo. What nobody measured is 0 where it is a number, and absent where it is a word or may be."""
    facts = model.facts
    sized = facts.parameters > 0
    requirements: JsonObject = {
        "min_cpu_cores": facts.cores if sized else 0,
        "min_ram_mb": ram_mb(facts.memory_mb) if sized else 0,
        "gpu_recommended": sized and facts.cores > MANY_CORES,
    }
    benchmarks: JsonObject = {} if latency_ms is None else {"latency_ms": latency_ms}
    if sized:
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
    return _said({**info, "benchmarks": benchmarks or None})


def mt_models(
    catalog: Catalog, registry: Registry, query: PairQuery, measured: Mapping[str, float] = MappingProxyType({})
) -> tuple[dict[str, object], int]:
    """The MTModelsResponse, and of how many pairs it has some. measured: milliseconds by model."""
    models = tuple(model.facts for model in listed_translation(catalog, registry))
    found = written(models, query)
    return {
        "models": [mt_model(facts, measured.get(facts.model_id)) for facts in models],
        "default_model": registry.defaults.get("translation", ""),
        "language_pairs": orjson.Fragment(found.json),
    }, found.total


def mt_model(facts: TranslationFacts, latency_ms: float | None = None) -> JsonObject:
    """The MTModelInfo, with what nobody measured as in asr_model. All translate sentence by sentence, and none says how sure
    it is.
    """
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
    bleu = facts.spbleu if facts.spbleu is not None else facts.tatoeba_bleu
    known: JsonObject = {"bleu_score": bleu, "latency_ms": latency_ms}
    benchmarks: JsonObject = {name: value for name, value in known.items() if value is not None}
    return _said({**info, "benchmarks": benchmarks or None})


def _said(info: JsonObject) -> JsonObject:
    """Without what is not known."""
    return {name: value for name, value in info.items() if value is not None}
