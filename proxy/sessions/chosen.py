"""The models that a session chooses: its whole configuration, whether it can be had, and what has to be loaded for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, cast

from backends import REMOTE
from backends.base import EngineSpec, ModelSpec, placed
from backends.types import Json, Task
from proxy.errors import ApiError
from proxy.registry.models import ModelEntry, Registry
from proxy.sessions.config import Asr, AsrCompute, Device, ModelConfig, Mt, MtCompute, said_at, whole
from proxy.sessions.effect import relayed_fields
from proxy.sessions.limits import SENTENCES, Machine, check_compute, unsupported
from proxy.sessions.placing import Compute, compute_of, computed_in, place, wished

Service: TypeAlias = Literal["asr", "mt"]

TASKS: Mapping[Service, Task] = {"asr": "transcription", "mt": "translation"}
SERVICES: Mapping[Task, Service] = {task: service for service, task in TASKS.items()}
ENGINES: Mapping[Service, str] = {"asr": "whisper", "mt": "translation"}


class Names(Protocol):
    """Which model a name means, in a registry as it is now."""

    @property
    def registry(self) -> Registry:
        """All models."""

    def resolve(self, name: str | None, task: Task) -> ModelEntry:
        """The model called so, or the default (None). Raises MODEL_NOT_FOUND, or INVALID for the wrong task."""


class Loads(Protocol):
    """What is known of loading."""

    def is_ready(self, entry: ModelEntry) -> bool:
        """Whether the model can run now."""

    def as_loaded(self, entry: ModelEntry) -> ModelSpec:
        """The model in the way in which it is loaded, or would be."""

    def expected_seconds(self, entry: ModelEntry) -> float | None:
        """How long its load will take, as past ones did; None = there were none."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Whether a change exchanges a model that runs for one that does not yet. milliseconds: None = not known."""

    required: bool
    milliseconds: int | None = None


class Chosen:
    """Answers by the registry as it is when asked."""

    def __init__(self, names: Callable[[], Names], loads: Loads) -> None:
        self._names = names
        self._loads = loads

    def config(self, said: Mapping[str, Json], machine: Machine) -> ModelConfig:
        """The whole configuration. Raises INVALID with the path of a wrong value."""
        asr, mt = self._engine("asr", said), self._engine("mt", said)
        defaults = ModelConfig(
            asr=Asr(
                model_id=self._default("asr"),
                compute_config=AsrCompute(
                    device=_device(asr), compute_type=computed_in(_told(asr, "asr", said, machine), cuda=machine.cuda)
                ),
            ),
            mt=Mt(
                model_id=self._default("mt"),
                compute_config=MtCompute(
                    device=_device(mt),
                    compute_type=computed_in(_told(mt, "mt", said, machine), cuda=machine.cuda),
                    batch_size=mt.max_batch or SENTENCES,
                ),
            ),
        )
        return whole(defaults, said)

    def check(self, service: Service, said: Mapping[str, Json], machine: Machine) -> None:
        """Whether what is said of a service can be had; what is said is valid in itself.

        Raises MODEL_NOT_FOUND, UNSUPPORTED, UNSUPPORTED_DEVICE or INVALID, each with the path of what is to blame.
        """
        engine = self._engine_of(self._found(service, said))
        if engine.kind in REMOTE and service == "asr":
            relayed_fields(said)
        else:
            check_compute(f"{service}.compute_config", engine, said, machine)

    def restart(self, before: Mapping[str, Json], after: Mapping[str, Json], machine: Machine) -> Restart:
        """What going from one to the other takes."""
        waits: list[float | None] = []
        for service in TASKS:
            old, new = self._placed(service, before, machine), self._placed(service, after, machine)
            if old is None or new is None or old == new:
                continue
            if self._loads.is_ready(old) and not self._loads.is_ready(new):
                waits.append(self._loads.expected_seconds(new))
        known = [wait for wait in waits if wait is not None]
        return Restart(bool(waits), round(1000 * sum(known)) if waits and len(known) == len(waits) else None)

    def place(self, entry: ModelEntry, wanted: Compute, machine: Machine) -> ModelEntry:
        """The model, computed as wanted. Raises UNSUPPORTED where it runs on an engine elsewhere."""
        if wanted == Compute():
            return entry
        engine = self._engine_of(entry)
        if engine.kind in REMOTE:
            path = f"{SERVICES[entry.task]}.compute_config"
            raise unsupported(path, f"is the session's, and `{entry.name}` is computed by an engine elsewhere")
        return place(entry, engine, wanted, cuda=machine.cuda)

    def _placed(self, service: Service, said: Mapping[str, Json], machine: Machine) -> ModelEntry | None:
        try:
            return self.place(self._found(service, said), compute_of(f"{service}.compute_config", said), machine)
        except ApiError:
            return None  # a model that has gone since it was chosen

    def _found(self, service: Service, said: Mapping[str, Json]) -> ModelEntry:
        path = f"{service}.model_id"
        name = said_at(said, path)
        try:
            return self._names().resolve(name if isinstance(name, str) else None, TASKS[service])
        except ApiError as error:
            details: dict[str, Json] = {"model_id": name} if isinstance(name, str) else {}
            raise ApiError(error.code, error.message, param=path, details=details) from error

    def _engine(self, service: Service, said: Mapping[str, Json]) -> EngineSpec:
        """Of the chosen model; where that is gone, the one that serves others of its kind."""
        try:
            return self._engine_of(self._found(service, said))
        except ApiError:
            kind = ENGINES[service]
            return self._names().registry.engines.get(kind) or EngineSpec(name=kind, kind=kind)

    def _engine_of(self, entry: ModelEntry) -> EngineSpec:
        """As the model is loaded, which need not be as its engine is configured."""
        engine = self._names().registry.engines[entry.engine]
        return engine if engine.kind in REMOTE else placed(engine, self._loads.as_loaded(entry))

    def _default(self, service: Service) -> str:
        return self._names().registry.defaults.get(TASKS[service], "")


def _told(engine: EngineSpec, service: Service, said: Mapping[str, Json], machine: Machine) -> EngineSpec:
    """The engine with the device that a session says: what it computes in by default may depend on that."""
    device = said_at(said, f"{service}.compute_config.device")
    wanted = Compute(device=cast("Device", device)) if device in ("cpu", "cuda", "auto") else Compute()
    return wished(engine, wanted, cuda=machine.cuda)


def _device(engine: EngineSpec) -> Device:
    """A model on an engine elsewhere runs wherever that is."""
    return cast("Device", engine.device if engine.device in ("cpu", "cuda") else "auto")
