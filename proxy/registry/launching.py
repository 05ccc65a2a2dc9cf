"""`[engines.launch]`: how an engine is started here, checked and made a value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backends.launch import PORT, Container, Launch, Process
from proxy.settings import MOST_MB

Text = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

OF_PROCESS = frozenset({"command", "python", "log"})
OF_DOCKER = frozenset(
    {"socket", "service", "project", "image", "gpus", "shm_mb", "volumes", "labels", "network", "port"}
)
# A container that is found, not made, is as its own configuration says.
OF_MADE = frozenset(
    {"image", "model", "args", "env", "env_from", "gpus", "shm_mb", "volumes", "labels", "network", "port"}
)
ENTRY = ("-m", "vllm.entrypoints.openai.api_server")


class LaunchTable(BaseModel):
    """`[engines.launch]`. Times in seconds, memory in MB."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    how: Literal["static", "process", "docker"] = "static"
    device: Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda|cuda:\d{1,3})$")] = "auto"
    idle_seconds: float | None = Field(None, gt=0)
    sleep: Literal["none", 1, 2] = "none"
    stop_after_seconds: float | None = Field(None, gt=0)
    memory_mb: float | None = Field(None, gt=0, le=MOST_MB)
    start_seconds: float = Field(900.0, gt=0)
    stop_seconds: float = Field(30.0, ge=0)
    evict_cost: float | None = Field(None, ge=0)
    model: Text | None = None
    args: tuple[Text, ...] = ()
    env: dict[Variable, Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]] = {}
    env_from: tuple[Variable, ...] = ()
    command: tuple[Text, ...] = ()
    python: Text | None = None
    log: Text | None = None
    socket: Annotated[str, StringConstraints(pattern=r"^(unix|tcp|http|https)://.+$")] = "unix:///var/run/docker.sock"
    service: Text | None = None
    project: Text | None = None
    image: Text | None = None
    gpus: Literal["all"] | tuple[Text, ...] = ()
    shm_mb: int | None = Field(None, gt=0)
    volumes: tuple[Annotated[str, StringConstraints(pattern=r"^[^:\x00]+:[^:\x00]+(:[a-z,]+)?$")], ...] = ()
    labels: dict[Text, str] = {}
    network: Text | None = None
    port: int = Field(8000, ge=1, le=65535)

    @model_validator(mode="after")
    def _fits_how(self) -> LaunchTable:
        said = self.model_fields_set - {"how"}
        if self.how == "static" and said:
            raise ValueError(f'`{min(said)}` is for an engine that is started here; say `how = "process"` or "docker"')
        if self.how == "process":
            self._refuse(said & OF_DOCKER, 'is for `how = "docker"`')
            self._check_process()
        if self.how == "docker":
            self._refuse(said & OF_PROCESS, 'is for `how = "process"`')
            self._check_docker(said)
        if self.stop_after_seconds is not None and (self.sleep == "none" or self.idle_seconds is None):
            raise ValueError("`stop_after_seconds` is for engines that sleep: give `idle_seconds` and `sleep`, too")
        if self.sleep != "none" and self.idle_seconds is None:
            raise ValueError("an engine sleeps when it was idle: give `idle_seconds`, too")
        return self

    @property
    def managed(self) -> bool:
        """Whether the engine is started and stopped here."""
        return self.how != "static"

    def _check_process(self) -> None:
        if bool(self.command) == (self.model is not None):
            raise ValueError("give a `model` for vLLM to serve, or a whole `command`")
        if self.command and (self.args or self.python):
            raise ValueError("`args` and `python` go with `model`; a `command` is whole")
        if self.command and not any(PORT in part for part in self.command):
            raise ValueError(f"`command` must have `{PORT}` where the port to listen on belongs")

    def _check_docker(self, said: set[str]) -> None:
        if self.service is not None:
            self._refuse(
                said & OF_MADE, "is for containers made here; that of a compose `service` is as compose made it"
            )
        elif self.image is None:
            raise ValueError("give an `image`, or the compose `service` whose container to start")
        elif self.project is not None:
            raise ValueError("`project` goes with `service`")

    def _refuse(self, fields: set[str], why: str) -> None:
        if fields:
            raise ValueError(f"`{min(fields)}` {why}")


def launch_of(
    table: LaunchTable, kind: str, key: str | None, names: tuple[str, ...], *, adapters: bool, base: Path
) -> Launch | None:
    """The value; None for an engine that is only watched. names: of the models it serves itself; adapters: it takes others, too.

    base: where relative paths start. Raises KeyError with the name of a variable that the environment has not.
    """
    if not table.managed:
        return None
    vllm = kind == "vllm" and (table.model is not None or table.image is not None)
    env = {**{name: os.environ[name] for name in table.env_from}, **table.env}
    if kind == "vllm":
        env = {**_for_vllm(table, key, adapters=adapters), **env}
    options = [*table.args]
    if vllm:
        options += ["--enable-lora"] if adapters and "--enable-lora" not in table.args else []
        options += ["--served-model-name", *names] if names and "--served-model-name" not in table.args else []
    return Launch(
        by=_process(table, options, env, base) if table.how == "process" else _container(table, options, env, base),
        flags=vllm,
        device=_device(table, env),
        idle=table.idle_seconds,
        sleep=0 if table.sleep == "none" else table.sleep,
        stop_after=table.stop_after_seconds,
        start=table.start_seconds,
        grace=table.stop_seconds,
        memory_mb=table.memory_mb,
        evict_cost=table.evict_cost,
    )


def _device(table: LaunchTable, env: Mapping[str, str]) -> str:
    """Where the engine holds its memory, as far as what it is started with says so; the first of several GPUs."""
    if table.device != "auto":
        return table.device
    if table.image is not None:
        first = "cpu" if not table.gpus else "auto" if table.gpus == "all" else table.gpus[0]
    else:
        first = env.get("CUDA_VISIBLE_DEVICES", "auto").split(",")[0].strip() or "cpu"
    return f"cuda:{first}" if first.isdigit() else "cpu" if first in ("cpu", "-1") else "auto"


def _for_vllm(table: LaunchTable, key: str | None, *, adapters: bool) -> dict[str, str]:
    """What vLLM is told by its environment."""
    env = {} if key is None else {"VLLM_API_KEY": key}
    if adapters:
        env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    if table.sleep != "none":
        env["VLLM_SERVER_DEV_MODE"] = "1"
    return env


def _process(table: LaunchTable, options: list[str], env: Mapping[str, str], base: Path) -> Process:
    command = table.command
    if table.model is not None:
        python = _path(table.python or "python", base)
        listening = ("--host", "127.0.0.1", "--port", PORT)
        command = (python, *ENTRY, "--model", local(table.model, base), *listening, *options)
    log = None if table.log is None else base / Path(table.log).expanduser()
    return Process(command=(_path(command[0], base), *command[1:]), env=env, log=log)


def _container(table: LaunchTable, options: list[str], env: Mapping[str, str], base: Path) -> Container:
    if table.service is not None:
        return Container(socket=table.socket, service=table.service, project=table.project)
    model = () if table.model is None else ("--model", table.model)
    return Container(
        socket=table.socket,
        image=table.image,
        command=(*model, *options),
        env=env,
        gpus=("all",) if table.gpus == "all" else table.gpus,
        shm_mb=table.shm_mb,
        volumes=tuple(_volume(volume, base) for volume in table.volumes),
        labels=table.labels,
        network=table.network,
        port=table.port,
    )


def local(source: str, base: Path) -> str:
    """A directory, relative ones seen from the file's own; anything else is a hub id."""
    directory = base / Path(source).expanduser()
    return str(directory.resolve()) if directory.is_dir() else source


def _path(program: str, base: Path) -> str:
    """A program: a name to be looked for, or a path. Not resolved: a virtual environment's interpreter is a link."""
    return program if "/" not in program else str(base.absolute() / Path(program).expanduser())


def _volume(volume: str, base: Path) -> str:
    """A named volume, or a directory of this machine, where a relative one starts with a dot as in compose files."""
    source, _, rest = volume.partition(":")
    return f"{(base / source).resolve()}:{rest}" if source.startswith(".") else volume
