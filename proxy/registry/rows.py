"""Registered models as values, and what they make of the configured ones: rows and configuration in, one registry out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from backends.base import ModelSpec
from backends.types import Json, Task
from proxy.registry.models import ModelEntry, Registry

# The registry's types of models -> the kind of engine of this process that serves them, and what it does.
TYPES: Mapping[str, tuple[str, Task]] = {
    "text-generation": ("transformers", "text"),
    "conversational": ("transformers", "text"),
    "text2text-generation": ("pipelines", "pipeline"),
    "summarization": ("pipelines", "pipeline"),
    "translation": ("translation", "translation"),
    "question-answering": ("pipelines", "pipeline"),
    "fill-mask": ("pipelines", "pipeline"),
    "sentiment-analysis": ("pipelines", "pipeline"),
}
TYPES_OF_TASKS: Mapping[Task, str] = {
    "text": "text-generation",
    "transcription": "automatic-speech-recognition",
    "translation": "translation",
}
# The names under which pipelines know those types that have another one there.
PIPELINE_TASKS = {"sentiment-analysis": "text-classification"}
WILDCARD = "*"

Source = Literal["registry", "configuration"]
Status = Literal["available", "retired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model as people registered it. parameters: what holds where a request says nothing.

    source: `configuration` for models of the configuration file, which are models here too.
    """

    model_id: str
    name: str
    model_type: str
    added: datetime
    description: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)
    status: Status = "available"
    source: Source = "registry"
    last_used: datetime | None = None
    usage_count: int = 0


def configured_models(registry: Registry, started: datetime, talking: frozenset[str] = frozenset()) -> dict[str, Model]:
    """The models of the configuration, as registered ones. started: when it was read; talking: those made for dialogue."""
    return {
        entry.name: _configured(entry, started, talks=entry.name in talking)
        for entry in registry.models
        if entry.name != WILDCARD
    }


def together(configured: Mapping[str, Model], rows: Iterable[Model]) -> list[Model]:
    """All models: those of the configuration, with what was noted of them, and then those that were added.

    Notes on models that are no longer configured say nothing.
    """
    known = {row.model_id: row for row in rows}
    noted = [known.get(name, model) for name, model in configured.items()]
    added = [row for name, row in known.items() if row.source == "registry" and name not in configured]
    return [*(replace(model, source="configuration") for model in noted), *added]


def merged(configured: Registry, models: Iterable[Model]) -> Registry:
    """The registry to serve from. A row is served by the configured model of its name or alias, else by this process.

    models: as `together` makes them; retired ones are named, with their aliases, and served no more.
    """
    names = configured.names()
    models = list(models)
    retired = frozenset(model.model_id for model in models if model.status == "retired")
    added = [
        entry
        for model in models
        if model.model_id not in names and model.model_id not in retired and (entry := _entry(model, configured))
    ]
    kept = (entry for entry in configured.models if entry.name not in retired)
    # What a retired model was also called is not free for others, and no less retired.
    also = (alias for entry in configured.models if entry.name in retired for alias in entry.aliases)
    return replace(configured, models=(*kept, *added), retired=retired.union(also) - {WILDCARD})


def gone(before: Registry, now: Registry) -> frozenset[str]:
    """Names of models that nothing serves any more, or another engine, or the same one in another way."""
    there = {entry.name: (entry.engine, entry.spec) for entry in now.models}
    return frozenset(entry.name for entry in before.models if there.get(entry.name) != (entry.engine, entry.spec))


def _configured(entry: ModelEntry, started: datetime, *, talks: bool) -> Model:
    kind = "conversational" if talks else TYPES_OF_TASKS.get(entry.task) or entry.spec.task or entry.task
    description = f"Part of the configuration; served by the engine `{entry.engine}`."
    return Model(
        model_id=entry.name,
        name=entry.name,
        model_type=kind,
        added=started,
        description=description,
        source="configuration",
    )


def _entry(model: Model, registry: Registry) -> ModelEntry | None:
    """The model on the engine of this process that serves its type, if that is configured."""
    if model.model_type not in TYPES:
        return None
    kind, task = TYPES[model.model_type]
    suiting = [name for name, engine in registry.engines.items() if engine.kind == kind]
    if not suiting:
        return None
    pipeline = PIPELINE_TASKS.get(model.model_type, model.model_type) if task == "pipeline" else None
    return ModelEntry(
        name=model.model_id,
        engine=kind if kind in suiting else suiting[0],
        spec=ModelSpec(source=model.model_id, name=model.model_id, task=pipeline),
        task=task,
    )
