"""The models that a session chooses: its whole configuration, whether it can be had, and what has to be loaded for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, cast

from backends import REMOTE
from backends.base import EngineSpec, ModelSpec, placed
from backends.translation.languages import CodeTable
from backends.types import Json, Task
from proxy.errors import ApiError
from proxy.registry.catalog import Catalog, SpeechFacts, TranslationFacts
from proxy.registry.models import ModelEntry, Registry
from proxy.sessions.config import Asr, AsrCompute, Device, ModelConfig, Mt, MtCompute, said_at, whole
from proxy.sessions.effect import relayed_fields
from proxy.sessions.limits import SENTENCES, Machine, check_compute, check_pair, check_spoken, unsupported
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

    def lists(self, name: str) -> bool:
        """Whether a model is configured under this name."""

    def any(self, name: str | None, task: Task) -> ModelEntry:
        """As resolve, or else any model of the hub, on the engine of this process that was made for the task."""

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
class Surroundings:
    """What there is beside the models that are configured: the machine, what is known of models, and codes of languages."""

    machine: Machine
    catalog: Catalog
    codes: CodeTable


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

    def config(self, said: Mapping[str, Json], here: Surroundings) -> ModelConfig:
        """The whole configuration. Raises INVALID with the path of a wrong value."""
        asr, mt = self._engine("asr", said, here), self._engine("mt", said, here)
        defaults = ModelConfig(
            asr=Asr(
                model_id=self._default("asr"),
                compute_config=AsrCompute(
                    device=_device(asr), compute_type=computed_in(_told(asr, "asr", said, here), cuda=here.machine.cuda)
                ),
            ),
            mt=Mt(
                model_id=self._default("mt"),
                compute_config=MtCompute(
                    device=_device(mt),
                    compute_type=computed_in(_told(mt, "mt", said, here), cuda=here.machine.cuda),
                    batch_size=mt.max_batch or SENTENCES,
                ),
            ),
        )
        return whole(defaults, said)

    def named(self, said: Mapping[str, Json], here: Surroundings) -> dict[Task, str | ApiError]:
        """The models that are said for each task; in place of one that is not there any more, the error."""
        found: dict[Task, str | ApiError] = {}
        for service, task in TASKS.items():
            name = said_at(said, f"{service}.model_id")
            if not isinstance(name, str):
                continue
            try:
                self._found(service, said, here)
                found[task] = name
            except ApiError as error:
                found[task] = error
        return found

    def check(self, service: Service, said: Mapping[str, Json], here: Surroundings) -> None:
        """Whether what is said of a service can be had; what is said is valid in itself.

        Raises MODEL_NOT_FOUND, UNSUPPORTED, UNSUPPORTED_DEVICE or INVALID, each with the path of what is to blame.
        """
        entry = self._found(service, said, here)
        engine = self._engine_of(entry)
        facts = here.catalog.find(entry.spec.source) or here.catalog.find(entry.name)
        if service == "asr" and isinstance(facts, SpeechFacts):
            check_spoken(entry.name, facts, said)
        if service == "mt" and isinstance(facts, TranslationFacts):
            check_pair(entry.name, facts, said, here.codes)
        if engine.kind in REMOTE and service == "asr":
            relayed_fields(said)
        else:
            check_compute(f"{service}.compute_config", engine, said, here.machine)

    def restart(self, before: Mapping[str, Json], after: Mapping[str, Json], here: Surroundings) -> Restart:
        """What going from one to the other takes."""
        waits: list[float | None] = []
        for service in TASKS:
            old, new = self._placed(service, before, here), self._placed(service, after, here)
            if old is None or new is None or old == new:
                continue
            if self._loads.is_ready(old) and not self._loads.is_ready(new):
                waits.append(self._loads.expected_seconds(new))
        known = [wait for wait in waits if wait is not None]
        return Restart(bool(waits), round(1000 * sum(known)) if waits and len(known) == len(waits) else None)

    def place(self, entry: ModelEntry, wanted: Compute, here: Surroundings) -> ModelEntry:
        """The model, computed as wanted. Raises UNSUPPORTED where it runs on an engine elsewhere."""
        if wanted == Compute():
            return entry
        engine = self._engine_of(entry)
        if engine.kind in REMOTE:
            path = f"{SERVICES[entry.task]}.compute_config"
            raise unsupported(path, f"is the session's, and `{entry.name}` is computed by an engine elsewhere")
        return place(entry, engine, wanted, cuda=here.machine.cuda)

    def _placed(self, service: Service, said: Mapping[str, Json], here: Surroundings) -> ModelEntry | None:
        try:
            return self.place(self._found(service, said, here), compute_of(f"{service}.compute_config", said), here)
        except ApiError:
            return None  # a model that has gone since it was chosen

    def _found(self, service: Service, said: Mapping[str, Json], here: Surroundings) -> ModelEntry:
        """The model that is configured under the name, or could be: the catalog knows it."""
        path, names = f"{service}.model_id", self._names()
        name = said_at(said, path)
        try:
            if isinstance(name, str) and not names.lists(name) and _serves(here.catalog.find(name), service):
                return names.any(name, TASKS[service])
            return names.resolve(name if isinstance(name, str) else None, TASKS[service])
        except ApiError as error:
            details: dict[str, Json] = {"model_id": name} if isinstance(name, str) else {}
            raise ApiError(error.code, error.message, param=path, details=details) from error

    def _engine(self, service: Service, said: Mapping[str, Json], here: Surroundings) -> EngineSpec:
        """Of the chosen model; where that is gone, the one that serves others of its kind."""
        try:
            return self._engine_of(self._found(service, said, here))
        except ApiError:
            kind = ENGINES[service]
            return self._names().registry.engines.get(kind) or EngineSpec(name=kind, kind=kind)

    def _engine_of(self, entry: ModelEntry) -> EngineSpec:
        """As the model is loaded, which need not be as its engine is configured."""
        engine = self._names().registry.engines[entry.engine]
        return engine if engine.kind in REMOTE else placed(engine, self._loads.as_loaded(entry))

    def _default(self, service: Service) -> str:
        return self._names().registry.defaults.get(TASKS[service], "")


def _serves(facts: SpeechFacts | TranslationFacts | None, service: Service) -> bool:
    """Whether the catalog's model can be had from the hub, and does the work of the service."""
    return isinstance(facts, SpeechFacts if service == "asr" else TranslationFacts) and not facts.shipped


def _told(engine: EngineSpec, service: Service, said: Mapping[str, Json], here: Surroundings) -> EngineSpec:
    """The engine with the device that a session says: what it computes in by default may depend on that."""
    device = said_at(said, f"{service}.compute_config.device")
    wanted = Compute(device=cast("Device", device)) if device in ("cpu", "cuda", "auto") else Compute()
    return wished(engine, wanted, cuda=here.machine.cuda)


def _device(engine: EngineSpec) -> Device:
    """A model on an engine elsewhere runs wherever that is."""
    return cast("Device", engine.device if engine.device in ("cpu", "cuda") else "auto")
