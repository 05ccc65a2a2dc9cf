"""The interfaces of the models API as JSON schemas, for the OpenAPI document; what may be unknown may be absent."""

from __future__ import annotations

from backends.types import JsonObject
from proxy.operation import FLAG, NUMBER, many, one_of, record, text

SCORE: JsonObject = {"type": "number", "minimum": 0, "maximum": 100}
LEVEL = one_of("high", "medium", "low")

PAIR = record({"source": text(), "target": text(), "quality_score": SCORE, "supported_models": many(text())})

ASR_MODEL = record(
    {
        "model_id": text(),
        "display_name": text(),
        "languages": many(text()),
        "size_mb": NUMBER,
        "quality_score": SCORE,
        "speed_score": SCORE,
        "memory_requirement_mb": NUMBER,
        "features": record(
            {
                "multilingual": FLAG,
                "timestamps": FLAG,
                "voice_activity_detection": FLAG,
                "diarization": FLAG,
                "real_time": FLAG,
            }
        ),
        "hardware_requirements": record(
            {"min_cpu_cores": NUMBER, "min_ram_mb": NUMBER, "gpu_recommended": FLAG}, {"gpu_memory_mb": NUMBER}
        ),
    },
    {
        "provider": one_of("openai", "facebook", "microsoft", "google"),
        "size_category": one_of("tiny", "small", "medium", "large"),
        "benchmarks": record({}, {"wer_english": NUMBER, "rtf": NUMBER, "latency_ms": NUMBER}),
    },
)

ASR_MODELS = record(
    {
        "models": many(ASR_MODEL),
        "default_model": text(),
        "recommendations": many(
            record(
                {
                    "use_case": one_of("real_time", "accuracy", "multilingual", "low_resource"),
                    "recommended_model": text(),
                    "reason": text(),
                }
            )
        ),
    }
)

MT_MODEL = record(
    {
        "model_id": text(),
        "display_name": text(),
        "size_mb": NUMBER,
        "quality_score": SCORE,
        "speed_score": SCORE,
        "memory_requirement_mb": NUMBER,
        "supported_languages": many(text()),
        "language_pairs_count": NUMBER,
        "features": record(
            {"zero_shot": FLAG, "document_level": FLAG, "domain_adaptation": FLAG, "confidence_scores": FLAG}
        ),
    },
    {
        "provider": one_of("facebook", "google", "microsoft", "opus"),
        "architecture": one_of("nllb", "m2m", "mbart", "opus-mt"),
        "size_category": one_of("small", "medium", "large", "xl"),
        "benchmarks": record({}, {"bleu_score": NUMBER, "latency_ms": NUMBER, "throughput_chars_per_sec": NUMBER}),
    },
)

MT_MODELS = record({"models": many(MT_MODEL), "default_model": text(), "language_pairs": many(PAIR)})

LANGUAGE = record(
    {
        "code": text(),
        "name": text(),
        "native_name": text(),
        "script": text(),
        "direction": one_of("ltr", "rtl"),
        "quality_tier": LEVEL,
        "resource_level": LEVEL,
    },
    {"variants": many(record({"code": text(), "name": text(), "region": text()}))},
)

LANGUAGE_SUPPORT = record(
    {
        "model_id": text(),
        "languages": many(LANGUAGE),
        "pairs": many(PAIR),
        "recommendations": many(
            record({"source_language": text(), "recommended_targets": many(text()), "reason": text()})
        ),
    }
)

HEALTH = one_of("healthy", "degraded", "unhealthy")

MODEL_STATUS = record(
    {
        "model_id": text(),
        "status": one_of("not_loaded", "loading", "loaded", "error", "unloading"),
        "memory_usage_mb": NUMBER,
        "inference_count": {"type": "integer"},
        "health_check": record(
            {"last_check": text(), "status": HEALTH, "response_time_ms": NUMBER, "error_rate": NUMBER}
        ),
        "performance_metrics": record(
            {"avg_inference_time_ms": NUMBER, "p95_inference_time_ms": NUMBER, "throughput_per_second": NUMBER},
            {"cache_hit_rate": NUMBER},
        ),
    },
    {"loaded_at": text(), "error_message": text()},
)

MODELS_STATUS = record(
    {
        "asr_models": many(MODEL_STATUS),
        "mt_models": many(MODEL_STATUS),
        "system_resources": record(
            {"cpu_usage_percent": NUMBER, "memory_usage_mb": NUMBER, "disk_cache_usage_mb": NUMBER},
            {"gpu_memory_usage_mb": NUMBER},
        ),
    }
)

PASSED = {"status": one_of("pass", "fail")}

HEALTH_CHECK = record(
    {
        "model_id": text(),
        "status": HEALTH,
        "checks": record(
            {
                "loading": record(PASSED, {"message": text()}),
                "inference": record(PASSED, {"message": text(), "latency_ms": NUMBER}),
                "memory": record({**PASSED, "usage_mb": NUMBER, "limit_mb": NUMBER}),
            },
            {"gpu": record(PASSED, {"usage_percent": NUMBER})},
        ),
        "recommendations": many(text()),
        "checked_at": text(),
    }
)

LOAD = record(
    {},
    {
        "compute_config": record(
            {},
            {
                "device": one_of("cpu", "cuda", "auto"),
                "compute_type": one_of("int8", "float16", "float32"),
                "optimization_level": one_of("none", "basic", "aggressive"),
            },
        ),
        "priority": one_of("low", "normal", "high"),
        "preload_cache": FLAG,
    },
)

LOADING = record(
    {
        "model_id": text(),
        "status": one_of("loading", "loaded"),
        "memory_allocated_mb": NUMBER,
        "warnings": many(text()),
    },
    {"estimated_load_time_ms": NUMBER},
)

UNLOADED = record({"model_id": text(), "status": one_of("unloaded"), "memory_freed_mb": NUMBER, "unloaded_at": text()})
