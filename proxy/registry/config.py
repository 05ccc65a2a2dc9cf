"""The configuration file: engines and models as TOML, checked whole, refused with file, line and field."""

from __future__ import annotations

import os
import tomllib
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from backends import REMOTE
from backends.base import EngineSpec, ModelSpec, Timeouts
from backends.errors import BackendError
from backends.launch import Launch
from backends.pipelines.tasks import find
from backends.types import Task
from proxy.caller import PRIORITIES, ApiKey, Caller, digest
from proxy.registry.healthy import HealthTable
from proxy.registry.launching import launch_of, local
from proxy.registry.models import ModelEntry, PolicyName, Registry
from proxy.registry.schema import DefaultsTable, EngineTable, FileTable, KeyTable, ModelTable, base_of
from proxy.registry.serving import check_fallbacks, engines_of, targets_of
from proxy.registry.toml_lines import Location, Refused, line_of
from proxy.settings import Settings

TASKS: dict[str, Task] = {"whisper": "transcription", "translation": "translation", "pipelines": "pipeline"}
REMOTE_TASKS: dict[str | None, Task] = {None: "text", "text": "text", "transcription": "transcription"}

HEARING = ("vllm", "openai_compatible")

LOCAL = ("device", "compute_type", "max_batch", "max_wait_ms")


class ConfigError(Exception):
    """The file is refused; each line of the message reads `file:line: field: what is wrong`."""


def load_registry(settings: Settings) -> Registry:
    """Engines and models from the settings' file, and default models for speech and translation. Raises ConfigError."""
    path = configuration(settings)
    if path.is_file():
        return _with_default_models(replace(read_registry(path, settings), file=path), settings)
    if settings.config is not None:
        raise ConfigError(f"{path}: no such file (SWITCHBOARD_CONFIG names it)")
    return _with_default_models(Registry(engines=_builtin_engines(settings)), settings)


def configuration(settings: Settings) -> Path:
    """The configuration file, which need not exist where the settings name none."""
    return settings.config or Path("switchboard.toml")


def read_registry(path: Path, settings: Settings) -> Registry:
    """The registry that a file describes, without defaults of its own. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
        file = FileTable.model_validate(_parse(path, text))
        return _build(file, path.parent, settings)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        found = [(item["loc"], item["msg"].removeprefix("Value error, ")) for item in error.errors()]
        raise ConfigError("\n".join(_located(path, text, where, message) for where, message in found)) from error
    except Refused as error:
        raise ConfigError(_located(path, text, error.where, error.message)) from error


def _parse(path: Path, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    except RecursionError:
        raise ConfigError(f"{path}: arrays or tables are too deep in one another") from None


def _located(path: Path, text: str, where: Location, message: str) -> str:
    return f"{path}:{line_of(text, where)}: {'.'.join(map(str, where)) or 'file'}: {message}"


def _build(file: FileTable, base: Path, settings: Settings) -> Registry:
    engines = _engines(file, base, settings)
    _refuse_shared_names(file.models)
    models = tuple(
        _model(model, number, engines, file.routing.policy, base) for number, model in enumerate(file.models)
    )
    check_fallbacks(models)
    return Registry(
        engines=engines,
        models=models,
        defaults=_defaults(file.defaults, models),
        limits={table.name: table.max_in_flight for table in file.engines if table.max_in_flight is not None},
        keys=_keys(file.keys, settings),
        prefix_bytes=int(file.routing.prefix_mb * 2**20),
        drained=frozenset(table.name for table in file.engines if table.drain),
    )


def _builtin_engines(settings: Settings) -> dict[str, EngineSpec]:
    """The engines of this process; they need no table, and a table of the same name and kind overrides one."""
    compute = {"whisper": settings.lx_asr_compute, "translation": settings.lx_mt_compute_type}
    return {
        kind: _local_engine(kind, kind, settings.lx_device, compute.get(kind, "default"), settings)
        for kind in ("transformers", "whisper", "translation", "pipelines")
    }


def _local_engine(name: str, kind: str, device: str, compute_type: str, settings: Settings) -> EngineSpec:
    return EngineSpec(
        name=name,
        kind=kind,
        device=device,
        compute_type=compute_type,
        data=settings.data,
        max_audio_seconds=settings.max_audio_seconds,
        max_queued_seconds=settings.max_queued_seconds,
        max_queued_characters=settings.max_queued_characters,
        max_batch=settings.max_batch,
        max_wait_ms=settings.max_wait_ms,
        isolation=settings.isolation,
        align_models={code: local(model, Path()) for code, model in settings.align_models.items() if model},
        diarization_model=local(settings.diarization_model, Path()) if settings.diarization_model else None,
    )


def _engines(file: FileTable, base: Path, settings: Settings) -> dict[str, EngineSpec]:
    builtin = _builtin_engines(settings)
    engines = dict(builtin)
    seen: set[str] = set()
    for number, table in enumerate(file.engines):
        if table.name in seen:
            raise Refused(("engines", number, "name"), f"another engine is named {table.name!r}")
        if table.name in builtin and table.kind != table.name:
            raise Refused(("engines", number, "name"), f"{table.name!r} is the built-in engine of that kind")
        seen.add(table.name)
        engine = _engine(table, number, settings)
        engines[table.name] = replace(engine, launch=_launch(engine, number, file, base))
    return engines


def _engine(table: EngineTable, number: int, settings: Settings) -> EngineSpec:
    if table.kind not in REMOTE:
        said = {field: getattr(table, field) for field in LOCAL if getattr(table, field) is not None}
        return replace(_builtin_engines(settings)[table.kind], name=table.name, **said)
    key = table.key
    if table.key_env is not None:
        key = os.environ.get(table.key_env)
        if not key:
            raise Refused(("engines", number, "key_env"), f"the environment has no {table.key_env}")
    urls = (table.url,) if table.url else table.urls
    return EngineSpec(
        name=table.name,
        kind=table.kind,
        urls=tuple(map(base_of, urls)),
        key=key,
        timeouts=Timeouts(
            connect=table.timeouts.connect, first_byte=table.timeouts.first_byte, idle=table.timeouts.idle
        ),
        round_ms=settings.stream_round_ms,
        health=(table.health or HealthTable()).rules(),
        hedge_ms=table.hedge_ms,
    )


def _launch(engine: EngineSpec, number: int, file: FileTable, base: Path) -> Launch | None:
    """How the engine is started here, to serve the models that the file gives it."""
    served = [(model, name) for model in file.models if (name := model.name_on(engine.name)) is not None]
    names = tuple(dict.fromkeys(name for model, name in served if model.adapter is None))
    adapters = any(model.adapter is not None for model, _ in served)
    try:
        return launch_of(file.engines[number].launch, engine.kind, engine.key, names, adapters=adapters, base=base)
    except KeyError as error:
        where = ("engines", number, "launch", "env_from")
        raise Refused(where, f"the environment has no {error.args[0]}") from error


def _keys(tables: tuple[KeyTable, ...], settings: Settings) -> dict[str, ApiKey]:
    """The API keys of the file, by name; what is kept of them is no secret."""
    keys: dict[str, ApiKey] = {}
    seen = {digest(key.get_secret_value()): "in SWITCHBOARD_API_KEYS" for key in settings.api_keys}
    for number, table in enumerate(tables):
        if table.name in keys:
            raise Refused(("keys", number, "name"), f"another key is named {table.name!r}")
        field = "key_env" if table.key is None else "key"
        secret = os.environ.get(table.key_env or "") if table.key is None else table.key.get_secret_value()
        if not secret:
            raise Refused(("keys", number, field), f"the environment has no {table.key_env}")
        if not secret.isascii() or secret.split() != [secret]:
            raise Refused(("keys", number, field), "headers carry it: write it in ASCII, without white space")
        digested = digest(secret)
        if digested in seen:
            raise Refused(("keys", number, field), f"the same key is {seen[digested]}, too")
        seen[digested] = f"named {table.name!r}"
        priority = PRIORITIES[table.priority]
        caller = Caller(table.name, priority, priority, table.weight, table.max_in_flight)
        keys[table.name] = ApiKey(caller, digested)
    return keys


def _refuse_shared_names(tables: tuple[ModelTable, ...]) -> None:
    seen: set[str] = set()
    for number, table in enumerate(tables):
        for field, names in (("name", (table.name,)), ("aliases", table.aliases)):
            for name in names:
                if name in seen:
                    raise Refused(("models", number, field), f"{name!r} is already a model or an alias")
                seen.add(name)


def _model(
    table: ModelTable, number: int, engines: dict[str, EngineSpec], policy: PolicyName, base: Path
) -> ModelEntry:
    serving = engines_of(table, number, engines)
    for engine in serving:
        _refuse_unfit(table, number, engine)
    if table.preload and not any(_comes(table, engine) for engine in serving):
        raise Refused(
            ("models", number, "preload"), "nothing is loaded here: its engine is there, or is not, by itself"
        )
    engine, remote = serving[0], serving[0].kind in REMOTE
    source = table.name_on(engine.name) or table.name if remote else local(table.source or table.name, base)
    spec = ModelSpec(
        source=source,
        revision=table.revision,
        task=_pipeline_task(table, number, engine),
        adapter=None if table.adapter is None else local(table.adapter, base),
        name=table.name,
    )
    return ModelEntry(
        name=table.name,
        engine=engine.name,
        spec=spec,
        task=TASKS.get(engine.kind) or REMOTE_TASKS[table.task],
        aliases=table.aliases,
        preload=table.preload,
        audio=table.audio,
        targets=targets_of(table, number, spec),
        fallbacks=table.fallbacks,
        policy=table.policy or policy,
        max_in_flight=table.max_in_flight,
        max_queued=table.max_queued,
    )


def _comes(table: ModelTable, engine: EngineSpec) -> bool:
    """Whether the engine, or the model on it, is loaded or started here."""
    return engine.kind not in REMOTE or engine.launch is not None or table.adapter is not None


def _refuse_unfit(table: ModelTable, number: int, engine: EngineSpec) -> None:
    """What a model says of itself must fit each of its engines."""
    remote = engine.kind in REMOTE
    if remote and (table.source or table.revision):
        field = "source" if table.source else "revision"
        raise Refused(("models", number, field), f"is for models in this process; a {engine.kind} takes `served_as`")
    if not remote and table.policy:
        message = "is for models on engines elsewhere, which may have several replicas"
        raise Refused(("models", number, "policy"), message)
    if not remote and (table.served_as or any(each.served_as for each in table.engines)):
        raise Refused(("models", number, "served_as"), "is for remote engines; a model in this process takes `source`")
    if table.adapter is not None and engine.kind != "vllm":
        raise Refused(("models", number, "adapter"), f"is for engines of kind vllm, not {engine.kind}")
    _refuse_hearing(table, number, engine)
    if table.max_queued is not None and not (remote or table.max_in_flight):
        raise Refused(("models", number, "max_queued"), "needs `max_in_flight`: without it nothing waits here")


def _refuse_hearing(table: ModelTable, number: int, engine: EngineSpec) -> None:
    """Only engines that take audio over OpenAI's API may be said to do so."""
    for field, hears in (("task", table.task == "transcription"), ("audio", table.audio)):
        if hears and engine.kind not in HEARING:
            raise Refused(
                ("models", number, field), f"is for engines of kind {' and '.join(HEARING)}, not {engine.kind}"
            )
    if engine.kind == "pipelines":
        return
    if table.task not in REMOTE_TASKS:
        raise Refused(("models", number, "task"), f"{table.task!r} is none of text, transcription")
    if table.task == "text" and engine.kind in TASKS:
        raise Refused(("models", number, "task"), f"a {engine.kind} engine does {TASKS[engine.kind]}")
    if table.audio and table.task == "transcription":
        raise Refused(("models", number, "audio"), "is for models that chat; this one transcribes")


def _pipeline_task(table: ModelTable, number: int, engine: EngineSpec) -> str | None:
    """The Hugging Face task of a pipeline; None = whichever a request asks for."""
    if engine.kind != "pipelines":
        return None
    if table.task is None:
        if table.preload:
            raise Refused(("models", number, "preload"), "needs a `task`: a pipeline is made for one")
        return None
    try:
        return find(table.task).name
    except BackendError as error:
        raise Refused(("models", number, "task"), error.message) from error


def _defaults(table: DefaultsTable, models: tuple[ModelEntry, ...]) -> dict[Task, str]:
    defaults: dict[Task, str] = {}
    tasks = {model.name: model.task for model in models}
    wanted: list[tuple[Task, str | None]] = [
        ("text", table.text),
        ("transcription", table.transcription),
        ("translation", table.translation),
    ]
    for task, name in wanted:
        if name is None:
            continue
        if tasks.get(name) != task:
            raise Refused(("defaults", task), f"no model named {name!r} does {task}")
        defaults[task] = name
    return defaults


def _with_default_models(registry: Registry, settings: Settings) -> Registry:
    """Add the contracts' own default models where the file names none, or where the environment names one."""
    translation = "lx_nllb_model" if settings.lx_mt_provider == "nllb" else "lx_m2m_model"
    choices: list[tuple[Task, str, str, set[str]]] = [
        ("transcription", "whisper", settings.lx_asr_model, {"lx_asr_model"}),
        ("translation", "translation", getattr(settings, translation), {translation, "lx_mt_provider"}),
    ]
    defaults, known = dict(registry.defaults), registry.names()
    added, assumed = [], set[Task]()
    for task, engine, source, fields in choices:
        if not fields & settings.model_fields_set:
            if task in defaults:
                continue
            assumed.add(task)
        if source not in known:
            added.append(
                ModelEntry(name=source, engine=engine, spec=ModelSpec(source=local(source, Path())), task=task)
            )
        defaults[task] = known[source].name if source in known else source
    models = (*registry.models, *added)
    return replace(registry, models=models, defaults=defaults, assumed=frozenset(assumed))
