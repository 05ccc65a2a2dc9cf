"""Which model does a name mean? Pure: registry and name in, model out."""

from __future__ import annotations

import difflib
from dataclasses import replace

from backends.base import ModelSpec
from backends.inprocess.ids import is_model_id
from backends.types import Task
from proxy.errors import ApiError, ErrorCode
from proxy.registry.models import ModelEntry, Registry

WILDCARD = "*"
PIPELINES = "pipelines"
# Hugging Face tasks that engines of their own serve, together for many requests.
OWN_ENGINES: dict[str, Task] = {"automatic-speech-recognition": "transcription", "translation": "translation"}
MADE_FOR: dict[str, Task] = {"whisper": "transcription", "translation": "translation"}
WRITERS = "transformers"
WRITTEN = frozenset(
    {"text2text-generation", "summarization"}
)  # tasks of models that write what the text before them asks for
OFFERED = 5
MAX_NAME = 200  # characters, as the configuration allows


class Router:
    """Looks names up in one registry; built anew when the registry changes."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._names = registry.names()

    def resolve(self, name: str | None, task: Task) -> ModelEntry:
        """The model called `name` (None or empty = the task's default). Raises MODEL_NOT_FOUND, or INVALID for the wrong task."""
        self._refuse_retired(name, task)
        entry = self._names.get(name) if name else self._default(task)
        if entry is None:
            entry = self._names.get(WILDCARD)
        if entry is None:
            raise ApiError(ErrorCode.MODEL_NOT_FOUND, self._unknown(name or "", task), param="model")
        if entry.task == task:
            return entry
        if task == "text" and (writer := self._as_writer(entry)) is not None:
            return writer
        message = f"The model `{entry.name}` does {entry.spec.task or entry.task}, not {task}. {self._offer(task)}"
        raise ApiError(ErrorCode.INVALID, message, param="model")

    def ways(self, entry: ModelEntry) -> list[ModelEntry]:
        """The model and those that step in for it, in order; those that step in for these come right after them."""
        found: dict[str, ModelEntry] = {}
        ahead = [entry]
        while ahead:
            each = ahead.pop(0)
            if each.name not in found:
                found[each.name] = each
                ahead = [self._names[name] for name in each.fallbacks if name in self._names] + ahead
        return [*found.values()]

    def find(self, name: str) -> ModelEntry:
        """The model called `name`, whatever it does. Raises MODEL_NOT_FOUND."""
        entry = self._names.get(name)
        if entry is None or name == WILDCARD:
            raise ApiError(ErrorCode.MODEL_NOT_FOUND, self._unknown(name, None), param="model")
        return entry

    def lists(self, name: str) -> bool:
        """Whether a model is configured under this name."""
        return name in self._names

    def any(self, name: str | None, task: Task) -> ModelEntry:
        """As resolve, or else any model of the hub on the engine of this process that was made for the task."""
        self._refuse_retired(name, task)
        kind = next((kind for kind, does in MADE_FOR.items() if does == task), None)
        engine = next((engine for engine, each in self.registry.engines.items() if each.kind == kind), None)
        if name and engine and name not in self._names and is_model_id(name):
            return _unlisted(name, engine, task)
        return self.resolve(name, task)

    def pipeline(self, task: str, name: str | None) -> ModelEntry:
        """What serves a Hugging Face task on a model: the one that is configured under the name, else any model of the hub.

        task: its name, no alias. A model of the engine made for the task stays there; any other of this process becomes a
        pipeline of the same files. Raises MODEL_NOT_FOUND, and INVALID or UNSUPPORTED for what cannot serve it.
        """
        if not name:
            if task in OWN_ENGINES:
                return self._default(OWN_ENGINES[task])
            raise ApiError(ErrorCode.INVALID, f"`model` is missing: name the model to run `{task}` on.", param="model")
        self._refuse_retired(name, None)
        entry = self._names.get(name) if name != WILDCARD else None
        if entry is None:
            if not is_model_id(name):
                raise ApiError(ErrorCode.MODEL_NOT_FOUND, self._unknown(name, None), param="model")
            return self._as_pipeline(
                ModelEntry(name=name, engine="", spec=ModelSpec(source=name, name=name), task="pipeline"), task
            )
        if not self.registry.in_process(entry):
            message = f"The model `{name}` is served by another engine, which does {entry.task} and no `{task}` of transformers'."
            raise ApiError(ErrorCode.UNSUPPORTED, message, param="model")
        return entry if entry.task == OWN_ENGINES.get(task) else self._as_pipeline(entry, task)

    def _as_pipeline(self, entry: ModelEntry, task: str) -> ModelEntry:
        """The same model as a pipeline for this task, on its own engine if that makes pipelines."""
        engines = self.registry.engines
        suits = entry.engine in engines and engines[entry.engine].kind == PIPELINES
        engine = (
            entry.engine if suits else next((name for name, each in engines.items() if each.kind == PIPELINES), None)
        )
        if engine is None:
            message = f"The model `{entry.name}` cannot run `{task}`: no engine of kind {PIPELINES} is configured."
            raise ApiError(ErrorCode.UNSUPPORTED, message, param="task")
        return replace(entry, engine=engine, spec=replace(entry.spec, task=task), task="pipeline")

    def _as_writer(self, entry: ModelEntry) -> ModelEntry | None:
        """The same model on the engine of this process that generates text, if its task is of that kind."""
        engines = self.registry.engines
        engine = next((name for name, each in engines.items() if each.kind == WRITERS), None)
        if engine is None or entry.spec.task not in WRITTEN or not self.registry.in_process(entry):
            return None
        return replace(entry, engine=engine, spec=replace(entry.spec, task=None), task="text")

    def _default(self, task: Task) -> ModelEntry:
        default = self.registry.defaults.get(task)
        if default is None:
            message = f"No model was named, and there is no default for {task}. {self._offer(task)}"
            raise ApiError(ErrorCode.INVALID, message, param="model")
        self._refuse_retired(default, task)
        return self._names[default]

    def _refuse_retired(self, name: str | None, task: Task | None) -> None:
        """A name that was taken out of service is not free for others, neither a wildcard's model nor the hub's."""
        if name in self.registry.retired:
            message = f"The model `{name}` is retired and serves no more. {self._offer(task)}"
            raise ApiError(ErrorCode.MODEL_NOT_FOUND, message, param="model")

    def _unknown(self, name: str, task: Task | None) -> str:
        # Comparing takes time in proportion to the name, and nothing that long is a slip of the pen.
        near = difflib.get_close_matches(name, self._names, n=1) if len(name) <= MAX_NAME else []
        hint = f"Did you mean `{near[0]}`?" if near else self._offer(task)
        return f"The model `{name[:MAX_NAME]}` does not exist. {hint}"

    def _offer(self, task: Task | None) -> str:
        names = [entry.name for entry in self.registry.models if task in (None, entry.task)]
        if not names:
            return f"No model for {task} is configured." if task else "No model is configured."
        shown = ", ".join(f"`{name}`" for name in names[:OFFERED])
        more = f" and {len(names) - OFFERED} more" if len(names) > OFFERED else ""
        return f"Available: {shown}{more}."


def _unlisted(name: str, engine: str, task: Task) -> ModelEntry:
    """A model of the hub that nobody configured."""
    return ModelEntry(name=name, engine=engine, spec=ModelSpec(source=name, name=name), task=task)
