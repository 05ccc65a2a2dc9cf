"""What may stand in the configuration file: its fields, their limits, and what excludes what."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator

from backends import REMOTE
from backends.base import Timeouts
from proxy.registry.healthy import HealthTable
from proxy.registry.launching import LaunchTable
from proxy.registry.models import PolicyName

BATCHING = ("whisper", "translation")
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f]+$")]


def base_of(url: str) -> str:
    """A base URL as it is used: whether it was given with a slash or `/v1` at its end is all the same."""
    return url.rstrip("/").removesuffix("/v1")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeoutsTable(_Strict):
    """`[engines.timeouts]`, in seconds."""

    connect: float = Field(Timeouts().connect, gt=0)
    first_byte: float = Field(Timeouts().first_byte, gt=0)
    idle: float = Field(Timeouts().idle, gt=0)


class EngineTable(_Strict):
    """One `[[engines]]` table."""

    name: Name
    kind: Literal["vllm", "tgi", "openai_compatible", "transformers", "whisper", "translation", "pipelines"]
    url: str | None = None
    urls: tuple[str, ...] = ()
    key: str | None = None
    key_env: str | None = None
    timeouts: TimeoutsTable = TimeoutsTable()
    launch: LaunchTable = LaunchTable()
    health: HealthTable | None = None
    hedge_ms: float = Field(0.0, ge=0, le=600_000)
    drain: bool = False
    device: Literal["auto", "cpu", "cuda"] | None = None
    compute_type: str | None = None
    max_batch: int | None = Field(None, ge=1)
    max_wait_ms: float | None = Field(None, ge=0)
    max_in_flight: int | None = Field(None, ge=0)

    @field_validator("url", "urls")
    @classmethod
    def _http(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for url in (value,) if isinstance(value, str) else value or ():
            parts = urlsplit(url)
            blank = any(sign <= " " for sign in url)
            if blank or parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
                raise ValueError(f"{url!r} is not an http:// or https:// URL")
            if parts.query or parts.fragment or "@" in parts.netloc:
                raise ValueError("it must be a bare base URL; give credentials as `key` or `key_env`")
        bases = [] if value is None or isinstance(value, str) else [base_of(url) for url in value]
        for url in bases:
            if bases.count(url) > 1:
                raise ValueError(f"{url!r} stands there twice, and is one replica")
        return value

    @model_validator(mode="after")
    def _fits_kind(self) -> EngineTable:
        if self.url and self.urls:
            raise ValueError("give `url` or `urls`, not both")
        if self.key and self.key_env:
            raise ValueError("give `key` or `key_env`, not both")
        self._check_urls()
        if self.kind in REMOTE and (self.device or self.compute_type):
            raise ValueError(f"`device` and `compute_type` are for models in this process, not for {self.kind}")
        if self.kind not in REMOTE and (self.url or self.urls or self.key or self.key_env):
            raise ValueError(f"an engine of kind {self.kind} runs in this process: it takes no url and no key")
        if self.kind not in REMOTE and (self.health or self.hedge_ms or "timeouts" in self.model_fields_set):
            raise ValueError(f"`timeouts`, `health` and `hedge_ms` are for engines elsewhere, not for {self.kind}")
        if self.kind == "tgi" and self.hedge_ms:
            raise ValueError("`hedge_ms` is for engines whose answers are passed on as they are, not for tgi")
        if self.kind not in REMOTE and self.launch.managed:
            raise ValueError(f"an engine of kind {self.kind} runs in this process: it takes no `launch`")
        if self.launch.sleep != "none" and self.kind != "vllm":
            raise ValueError(f"`launch.sleep` is for engines of kind vllm, not for {self.kind}")
        if self.launch.how == "process" and self.launch.model is not None and self.kind != "vllm":
            raise ValueError(f"`launch.model` starts vLLM; start an engine of kind {self.kind} by a `command`")
        if self.kind not in BATCHING and (self.max_batch is not None or self.max_wait_ms is not None):
            raise ValueError(f"`max_batch` and `max_wait_ms` are for {' and '.join(BATCHING)}, not for {self.kind}")
        return self

    def _check_urls(self) -> None:
        """An engine elsewhere has a URL; one that is started here may be given a free port of this machine."""
        for url in (self.url, *self.urls) if self.launch.how == "process" else ():
            parts = urlsplit(url or "http://127.0.0.1:1")
            if parts.scheme != "http" or parts.hostname != "127.0.0.1" or parts.port is None:
                raise ValueError("a process listens on this machine: give a `url` of http://127.0.0.1:port, or none")
        if self.launch.managed and len(self.urls) > 1:
            raise ValueError("an engine that is started here has one `url`; for several, configure several engines")
        if self.launch.how == "docker" and self.launch.service and not (self.url or self.urls):
            raise ValueError("give the `url` at which the container of the compose `service` is reached")
        if self.kind in REMOTE and not (self.url or self.urls or self.launch.managed):
            raise ValueError(f"an engine of kind {self.kind} needs a `url`")


class ServingTable(_Strict):
    """One of a model's `engines`. served_as: the model's name there; weight: its share of the requests; priority: 0 = the first."""

    name: Name
    served_as: Name | None = None
    weight: float | None = Field(None, gt=0, le=1e6)
    priority: int = Field(0, ge=0, le=1000)


class ModelTable(_Strict):
    """One `[[models]]` table. served_as: the name on a remote engine; source: hub id or local directory.

    engine: what serves it, or engines: all that do; fallbacks: models that step in when none of them can; policy: how a replica
    is chosen, None = as `[routing]` has it.

    task: what a model of a remote engine does, text if nothing is said; for pipelines, the Hugging Face task that is asked of it;
    audio: it does text, and listens to speech in chats; adapter: a LoRA adapter, directory or hub id as its vLLM sees it, that
    is loaded there when it is asked for.
    """

    name: Name
    engine: Name | None = None
    engines: tuple[ServingTable, ...] = ()
    fallbacks: tuple[Name, ...] = ()
    policy: PolicyName | None = None
    served_as: str | None = None
    source: str | None = None
    revision: str | None = None
    aliases: tuple[Name, ...] = ()
    preload: bool = False
    task: Name | None = None
    audio: bool = False
    adapter: str | None = Field(None, min_length=1)
    max_in_flight: int | None = Field(None, ge=1)
    max_queued: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_way(self) -> ModelTable:
        if bool(self.engine) == bool(self.engines):
            raise ValueError("give the `engine` that serves it, or `engines`, where several do")
        return self

    def name_on(self, engine: str) -> str | None:
        """What a remote engine calls it, None where it does not serve it."""
        if self.engine is not None:
            return (self.served_as or self.name) if engine == self.engine else None
        found = next((each for each in self.engines if each.name == engine), None)
        return None if found is None else found.served_as or self.served_as or self.name


class RoutingTable(_Strict):
    """`[routing]`: how a replica is chosen for a request, where a model says nothing else; memory for where prompts were sent."""

    policy: PolicyName = "balanced"
    prefix_mb: float = Field(32, gt=0, le=65536)


class DefaultsTable(_Strict):
    """`[defaults]`: which model serves when a request names none."""

    text: Name | None = None
    transcription: Name | None = None
    translation: Name | None = None


class KeyTable(_Strict):
    """One `[[keys]]` table: an API key, what its requests have without asking and at most, and how much at once."""

    name: str = Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    key: SecretStr | None = Field(None, min_length=1)
    key_env: str | None = None
    priority: Literal["high", "normal", "low"] = "normal"
    weight: float = Field(1.0, ge=0.01, le=100)
    max_in_flight: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_key(self) -> KeyTable:
        if (self.key is None) == (self.key_env is None):
            raise ValueError("give either `key` or `key_env`")
        return self


class FileTable(_Strict):
    """The whole file."""

    keys: tuple[KeyTable, ...] = ()
    engines: tuple[EngineTable, ...] = ()
    models: tuple[ModelTable, ...] = ()
    defaults: DefaultsTable = DefaultsTable()
    routing: RoutingTable = RoutingTable()
