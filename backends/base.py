"""What a backend is: four verbs (load, unload, health, run); what only some can do is a small extra protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from backends.errors import BackendError
from backends.launch import Launch
from backends.types import Chat, Complete, Event, Request, Tokenized, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds allowed towards a remote engine; there is no limit on the whole of an answer."""

    connect: float = 5.0
    first_byte: float = 300.0
    idle: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRules:
    """When a replica of a remote engine is left alone, and for how long. In seconds, but for `failures`.

    failures: in a row until it is ejected; first_pause, longest_pause: until a request tries it again; silence: with requests and
    without a byte of an answer until it is ejected, None = as long as one of its requests may wait; check: between two looks at
    one that is out; identity: whether it is asked what it serves before it is used.
    """

    failures: int = 3
    first_pause: float = 1.0
    longest_pause: float = 60.0
    silence: float | None = None
    check: float = 2.0
    identity: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One engine as configured. urls: base URLs without a trailing /v1; empty for pipelines in this process, and for an engine
    that is started here on a port of its own; launch: how that is done, None = it is only watched.

    round_ms: at most so long do events of fast streams wait for each other while many are relayed, 0 = never; hedge_ms: after so
    long without an answer a request that may be done twice is sent to a second replica, too, 0 = never.

    align_models: language code -> wav2vec2 model that times its words; diarization_model: a pyannote pipeline. Directory or
    hub id each. max_queued_seconds: of audio, accepted and not yet transcribed; max_queued_characters: of text, likewise not
    yet translated; max_batch, max_wait_ms: how many pieces of work (half minutes, sentences) run in one call of a pipeline,
    and how long the first waits for others; cpu_threads: of one call of a speech model on a CPU. None = what suits the pipeline.
    """

    name: str
    kind: str
    urls: tuple[str, ...] = ()
    key: str | None = None
    timeouts: Timeouts = Timeouts()
    round_ms: float = 20.0
    device: str = "auto"
    compute_type: str = "default"
    data: Path = Path()
    max_audio_seconds: float = 7200.0
    max_queued_seconds: float = 36000.0
    max_queued_characters: int = 1_000_000
    max_batch: int | None = None
    max_wait_ms: float | None = None
    cpu_threads: int | None = None
    align_models: Mapping[str, str] = field(default_factory=dict)
    diarization_model: str | None = None
    isolation: Literal["thread", "process"] = "thread"
    launch: Launch | None = None
    health: HealthRules = HealthRules()
    hedge_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model as its engine knows it: the served name (remote), or a Hugging Face id or local directory (in-process).

    task: the Hugging Face task that a pipeline is made for; adapter: directory or hub id of a LoRA adapter that the engine is
    to load under the name in source, on the model that it serves; variant: tells loads of one model apart that are computed
    differently, side by side. No part of its identity are its name, which clients call it, and the device, compute_type and
    cpu_threads to load it with in place of its engine's own.
    """

    source: str
    revision: str | None = None
    task: str | None = None
    adapter: str | None = None
    name: str = field(default="", compare=False)
    device: str | None = field(default=None, compare=False)
    compute_type: str | None = field(default=None, compare=False)
    cpu_threads: int | None = field(default=None, compare=False)
    variant: str = ""

    @property
    def label(self) -> str:
        """What to call it in messages: its name, or at least not the path to it."""
        return self.name or Path(self.source).name


def placed(engine: EngineSpec, model: ModelSpec) -> EngineSpec:
    """The engine's settings, with the device, compute type and threads that the model is to be loaded with."""
    return replace(
        engine,
        device=model.device or engine.device,
        compute_type=model.compute_type or engine.compute_type,
        cpu_threads=model.cpu_threads or engine.cpu_threads,
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load is. done and total in bytes or steps; total None = unknown."""

    stage: Literal["download", "convert", "load"]
    done: int = 0
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the engine can take work now, and one sentence why not."""

    ok: bool
    reason: str = ""


Report: TypeAlias = Callable[[Progress], None]


class Backend(Protocol):
    """Our adapter to one engine. Constructed with its EngineSpec, without any I/O."""

    async def load(self, model: ModelSpec, report: Report) -> None:
        """Make the model ready to run; at once for engines that load their own. Raises Unavailable with the way out."""

    async def unload(self, model: ModelSpec) -> None:
        """Free what the model holds; a no-op for remote engines and for models not loaded."""

    async def health(self) -> Health:
        """Ask the engine whether it can take work; never raises BackendError."""

    def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """Serve one request as a stream of events; closing the stream stops the work. Raises BackendError."""

    async def close(self) -> None:
        """Give back connections and threads."""


@runtime_checkable
class Probing(Protocol):
    """A backend that knows a tiny request for each of its models: to warm them up, and to see whether they work."""

    async def probe(self, model: ModelSpec) -> Request | None:
        """The request, for a model that is loaded; None where there is none. Raises Unavailable for one that is not."""


@runtime_checkable
class Tokenizing(Protocol):
    """A backend that shows how its models read a text."""

    async def tokenize(self, model: ModelSpec, request: Chat | Complete) -> Tokenized:
        """The first prompt, or the conversation as the chat template writes it. Raises BackendError as run does."""


@runtime_checkable
class Sleeping(Protocol):
    """A backend whose engine can give most of its memory back without ending."""

    async def sleep(self, level: int) -> None:
        """Sleep: 1 = weights move to the host's memory, 2 = they go. What runs is cut off. Raises BackendError."""

    async def wake(self, level: int) -> None:
        """Serve again, after a sleep at this level. Raises BackendError."""

    async def sleeping(self) -> bool:
        """Whether it sleeps, as it says itself; False where it says nothing."""


@runtime_checkable
class Adapting(Protocol):
    """A backend whose engine loads LoRA adapters while it runs."""

    async def load_adapter(self, model: ModelSpec) -> None:
        """Have the engine serve model.adapter under model.source, anew if it does. Raises BackendError."""

    async def unload_adapter(self, model: ModelSpec) -> None:
        """Have it serve that no more; one that it does not serve is no error. Raises BackendError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """How busy an engine says it is. waiting, running: requests, of all its clients.

    kv: the part of its key-value cache that running requests hold, 0 to 1; cache_tokens: what the cache has room for; None = not
    told;
    adapters: LoRA adapters in use or waited for, max_adapters: how many can be in use at once, 0 = none.
    """

    waiting: float = 0.0
    running: float = 0.0
    kv: float | None = None
    cache_tokens: int | None = None
    adapters: frozenset[str] = frozenset()
    max_adapters: int = 0


@runtime_checkable
class Gauged(Protocol):
    """A backend whose engine tells how busy it is."""

    async def gauges(self) -> Gauges:
        """The figures of this moment. Raises BackendError when the engine does not answer soon, or without them."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """Requests that a remote engine was given: in flight, sent so far, and for how many seconds nothing came for any of them.

    Seconds without work do not count; neither do answers to questions about the engine (GET), nor time in which we did not
    listen.
    """

    in_flight: int
    sent: int
    silence: float


@runtime_checkable
class Watched(Protocol):
    """A backend whose engine is elsewhere, and can hang, die, and come back as another."""

    lists_all: bool
    """Whether a model that the engine does not list is one that it does not serve."""

    def on_drop(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever the engine closes a connection by itself, as one does that ends."""

    def pulse(self, now: float) -> Pulse:
        """How it is getting on with its work; now: on the loop's clock."""

    def cut(self, error: BackendError) -> None:
        """End every request in flight with `error`, and close its connection."""

    async def models(self) -> frozenset[str]:
        """The names of the models that the engine says it serves. Raises BackendError when it does not tell soon."""


# --------------------------------------------------------------------------- relay


class Sink(Protocol):
    """The client's connection as a relay sees it: bytes go straight to the socket."""

    @property
    def chunked_ok(self) -> bool:
        """Whether the client understands chunked framing (HTTP/1.1)."""

    @property
    def gone(self) -> bool:
        """Whether the client has left: nobody reads what is written."""

    @property
    def full(self) -> bool:
        """Whether the client reads slower than we write: stop reading from the engine until drained()."""

    def start(self, status: int, headers: Sequence[tuple[str, str]], *, stream: bool) -> None:
        """Send the head. headers: end-to-end ones, Content-Length or Transfer-Encoding among them as framed by the relay."""

    def write(self, data: bytes) -> None:
        """Send body bytes, already framed. Never blocks; look at `full`."""

    async def drained(self) -> None:
        """Wait until the client has taken enough. Raises ConnectionError when it has gone."""

    def abort(self) -> None:
        """Close the connection after the head went out: the only honest end of an answer cut short without in-band errors."""


# Not frozen: that would double what making one costs, and one is made for each request.
@dataclass(slots=True, kw_only=True)
class RelayRequest:
    """An HTTP request to pass on as it is.

    path: on the engine, query included; headers: end-to-end ones to forward; stream: the caller asked for SSE;
    terminal: bytes that only a complete stream contains near its end (any of them), empty = the framing's end is enough;
    choices: how many finish reasons a complete answer tells, 0 = not known, or none;
    error_event: renders a failure after the first byte in the dialect of the stream, as a whole SSE frame.
    """

    method: str
    path: str
    body: bytes
    headers: Sequence[tuple[str, str]]
    stream: bool
    terminal: tuple[bytes, ...]
    error_event: Callable[[BackendError], bytes]
    choices: int = 0


@dataclass(slots=True)
class RelayOutcome:
    """What was seen in passing; filled while the answer flows, so it is true even when the relay is cancelled.

    first_byte_at: time.monotonic() of the first body byte; error: a failure after the head went out, already told in-band.
    began: called when the first body byte is there.
    """

    began: Callable[[], None] | None = None
    status: int = 0
    first_byte_at: float | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    error: BackendError | None = None


@runtime_checkable
class Relay(Protocol):
    """A backend whose engine speaks OpenAI's dialect: bytes in, bytes out."""

    def relays(self, method: str, path: str) -> bool:
        """Whether (method, path) is on this engine's allowlist."""

    async def relay(self, request: RelayRequest, sink: Sink, outcome: RelayOutcome) -> None:
        """Forward request and answer. Raises BackendError only before sink.start(); cancelling closes the engine's connection."""
