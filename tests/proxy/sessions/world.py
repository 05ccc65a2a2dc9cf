"""What surrounds sessions in tests: two models for each task, loads that a test decides on, and a clock that it moves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from backends.base import EngineSpec, ModelSpec
from backends.translation.languages import read_table
from backends.types import Task
from proxy.registry.catalog import Catalog, read_catalog
from proxy.registry.models import ModelEntry, Registry
from proxy.routing.router import Router
from proxy.sessions.chosen import Chosen, Surroundings
from proxy.sessions.limits import Machine
from proxy.sessions.sessions import STORE, Sessions
from proxy.storage.database import Database, Stored

IDLE = 1000.0
CATALOG = read_catalog()
LAPTOP = Surroundings(Machine(cuda=False, cores=4), CATALOG, read_table())
GPU = replace(LAPTOP, machine=Machine(cuda=True, cores=4))


def entry(name: str, engine: str, task: Task) -> ModelEntry:
    return ModelEntry(name=name, engine=engine, spec=ModelSpec(source=f"org/{name}"), task=task)


REGISTRY = Registry(
    engines={
        "whisper": EngineSpec(name="whisper", kind="whisper"),
        "translation": EngineSpec(name="translation", kind="translation"),
        "small": EngineSpec(name="small", kind="translation", max_batch=4, device="cpu", compute_type="float32"),
        "gpu": EngineSpec(name="gpu", kind="vllm", urls=("http://127.0.0.1:9",)),
    },
    models=(
        entry("ears", "whisper", "transcription"),
        entry("ears-2", "whisper", "transcription"),
        entry("ears-away", "gpu", "transcription"),
        entry("words", "translation", "translation"),
        entry("words-2", "small", "translation"),
    ),
    defaults={"transcription": "ears", "translation": "words"},
)


@dataclass
class Loaded:
    """Loads as a test says. ready: labels of models; seconds: how long each load takes, as far as is known; ways: how the
    models of these names are loaded, where that is not as configured.
    """

    ready: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    ways: dict[str, ModelSpec] = field(default_factory=dict)

    def is_ready(self, entry: ModelEntry) -> bool:
        return label(entry) in self.ready

    def as_loaded(self, entry: ModelEntry) -> ModelSpec:
        return self.ways.get(entry.name, entry.spec)

    def expected_seconds(self, entry: ModelEntry) -> float | None:
        return self.seconds.get(label(entry))


def label(entry: ModelEntry) -> str:
    """The model and the way in which it is loaded, where that is not its engine's."""
    return f"{entry.spec.source} {entry.spec.variant}".strip()


def chosen(loaded: Loaded | None = None, registry: Registry = REGISTRY) -> Chosen:
    return Chosen(lambda: Router(registry), loaded or Loaded())


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


async def catalog() -> Catalog:
    return CATALOG


def sessions(database: Database, clock: Clock, *, most: int = 1000, keyed: bool = True) -> Sessions:
    return Sessions(Stored(database, STORE), chosen(), catalog, keyed=keyed, idle=IDLE, most=most, clock=clock)
