"""Which model does a name mean? Pure: registry and name in, model out."""

from __future__ import annotations

import difflib

from backends.types import Task
from proxy.errors import ApiError, ErrorCode
from proxy.registry.models import ModelEntry, Registry

WILDCARD = "*"
MAX_NAME = 200  # characters, as the configuration allows


class Router:
    """Looks names up in one registry; built anew when the registry changes."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._names = registry.names()

    def resolve(self, name: str | None, task: Task) -> ModelEntry:
        """The model called `name` (None or empty = the task's default). Raises MODEL_NOT_FOUND, or INVALID for the wrong task."""
        entry = self._names.get(name) if name else self._default(task)
        if entry is None:
            entry = self._names.get(WILDCARD)
        if entry is None:
            raise ApiError(ErrorCode.MODEL_NOT_FOUND, self._unknown(name or "", task), param="model")
        if entry.task != task:
            message = f"The model `{entry.name}` does {entry.task}, not {task}. {self._offer(task)}"
            raise ApiError(ErrorCode.INVALID, message, param="model")
        return entry

    def find(self, name: str) -> ModelEntry:
        """The model called `name`, whatever it does. Raises MODEL_NOT_FOUND."""
        entry = self._names.get(name)
        if entry is None or name == WILDCARD:
            raise ApiError(ErrorCode.MODEL_NOT_FOUND, self._unknown(name, None), param="model")
        return entry

    def _default(self, task: Task) -> ModelEntry | None:
        default = self.registry.defaults.get(task)
        if default is None:
            message = f"No model was named, and there is no default for {task}. {self._offer(task)}"
            raise ApiError(ErrorCode.INVALID, message, param="model")
        return self._names[default]

    def _unknown(self, name: str, task: Task | None) -> str:
        # Comparing takes time in proportion to the name, and nothing that long is a slip of the pen.
        near = difflib.get_close_matches(name, self._names, n=1) if len(name) <= MAX_NAME else []
        hint = f"Did you mean `{near[0]}`?" if near else self._offer(task)
        return f"The model `{name[:MAX_NAME]}` does not exist. {hint}"

    def _offer(self, task: Task | None) -> str:
        names = [entry.name for entry in self.registry.models if task in (None, entry.task)]
        if not names:
            return f"No model for {task} is configured." if task else "No model is configured."
        shown = ", ".join(f"`{name}`" for name in names[:5])
        return f"Available: {shown}{', ...' if len(names) > 5 else ''}."
