"""Everything that the environment decides: one sentence a field; `.env.example` and the README's table come from here."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from proxy.address import Address, is_loopback

MOST_MB = 1e9  # a petabyte: who writes more, or inf, meant something else
MIN_SECRET_BYTES = 32  # as many as SHA-256 has (RFC 7518, section 3.2)
ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
ALIGN_MODEL = re.compile("WHISPERX_ALIGN_MODEL_[A-Z]{2,3}")
DATABASE_URL = re.compile(r"sqlite:///.+|postgres(ql)?(\+asyncpg)?://.+")


class SettingsError(Exception):
    """The environment asks for something that cannot be; the message names the variable."""


def _data_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "switchboard"


class Settings(BaseSettings):
    """Read once at start. `SWITCHBOARD_*`, and the names that speech clients and whisperX's users already set."""

    model_config = SettingsConfigDict(
        env_prefix="SWITCHBOARD_", env_nested_delimiter="_", frozen=True, populate_by_name=True
    )

    # Listening
    listen: Annotated[tuple[Address, ...], NoDecode] = Field(
        (Address("127.0.0.1", 8080),),
        description="Where to listen: `host:port`, IPv6 as `[::1]:8080`, several comma-separated; anything but loopback "
        "needs API keys.",
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Keys that clients send as `Authorization: Bearer KEY`, comma-separated; none = open on loopback.",
    )
    admin_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Keys for `/admin` (reload, drain), comma-separated; none = closed, but on loopback without API keys.",
    )
    open_without_keys: bool = Field(
        False,
        description="Say `true` to listen beyond loopback without keys: everyone who reaches the port may use it.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Web sites besides this server's own whose pages may open WebSockets, as `https://host[:port]`, "
        "comma-separated.",
    )
    jwt_secret: SecretStr | None = Field(
        None, description="Secret (32 bytes or more) that users' tokens for `/api/ai` are signed with, by HS256."
    )
    jwt_jwks: str | None = Field(
        None,
        min_length=1,
        description="Or the public keys that sign them, by RS256 or ES256: a JWKS file, or its https URL.",
    )
    jwt_audience: str | None = Field(
        None, min_length=1, description="The `aud` that tokens must have, if they must have one."
    )
    jwt_issuer: str | None = Field(
        None, min_length=1, description="The `iss` that tokens must have, if they must have one."
    )
    drain_seconds: float = Field(30.0, ge=0, description="How long running requests may go on after SIGTERM.")

    # Engines and models
    config: Path | None = Field(
        None, description="TOML file with engines and models; without it `switchboard.toml` is read if it exists."
    )
    data: Path = Field(
        default_factory=_data_home, description="Directory for converted models and the database (switchboard.sqlite3)."
    )
    database_url: SecretStr | None = Field(
        None,
        description="Database for all replicas: `postgresql://user:password@host/name`, or another file as `sqlite:///path`.",
    )
    load_wait_seconds: float = Field(
        120.0, ge=0, description="How long a request waits for its model to load before it gets 503 and Retry-After."
    )
    load_timeout_seconds: float = Field(
        3600.0, ge=0, description="How long a model of this process may take to load, download included (0 = any time)."
    )
    lx_model_cache_size: int = Field(
        3,
        ge=1,
        alias="LX_MODEL_CACHE_SIZE",
        description="Most models of this process loaded at once, beside those that the configuration preloads.",
    )
    lx_auto_unload_timeout_ms: float = Field(
        300000.0,
        ge=0,
        alias="LX_AUTO_UNLOAD_TIMEOUT_MS",
        description="How long a model that is not preloaded stays loaded unused (0 = for good).",
    )
    eviction: Literal["lru", "lfu", "ttl"] = Field(
        "lru",
        description="Which model makes room: the least recently used, the least often used (lfu), or the first loaded (ttl).",
    )
    memory_pressure: float = Field(
        0.8, gt=0, le=1, description="Share of the memory in use beyond which models that nobody uses are unloaded."
    )
    memory_budget_mb: float | None = Field(
        None,
        gt=0,
        le=MOST_MB,
        description="MB of GPU memory that models and engines started here may hold together (empty = all; without a GPU, of RAM).",
    )

    stream_round_ms: float = Field(
        20.0,
        ge=0,
        le=1000,
        description="How long, at most, events of fast streams wait for each other while 16 or more pass at once; 0 = never.",
    )

    # How much at once
    max_in_flight: int | None = Field(
        None,
        ge=0,
        description="Most requests at once for each replica of an engine elsewhere (TGI 128, others 256; 0 = any number).",
    )
    max_queued: int | None = Field(
        None,
        ge=0,
        description="Most requests that wait for one engine (as many as it serves at once); more are refused.",
    )
    queue_seconds: float = Field(
        30.0,
        gt=0,
        description="How long a request may wait for an engine that is full before it gets 503 and Retry-After.",
    )
    max_queued_mb: float = Field(
        256.0, gt=0, le=MOST_MB, description="Most memory for the bodies of waiting requests, in MB."
    )

    # Limits
    max_connections: int = Field(4096, ge=1, description="Most connections open at once; more are answered 503.")
    head_seconds: float = Field(
        20.0, gt=0, description="How long a client may take to send a request's head before it is dropped."
    )
    body_seconds: float = Field(
        30.0, gt=0, description="How long a request's body may stand still before it is answered 408."
    )
    max_body_mb: float = Field(32.0, gt=0, le=MOST_MB, description="Largest JSON body accepted, in MB.")
    max_audio_mb: float = Field(200.0, gt=0, le=MOST_MB, description="Largest audio upload accepted, in MB.")
    max_audio_seconds: float = Field(7200.0, gt=0, description="Longest audio accepted, in seconds after decoding.")
    max_queued_seconds: float = Field(
        36000.0, gt=0, description="Most audio that may wait for a speech engine of this process, in seconds."
    )
    max_queued_characters: int = Field(
        1_000_000, ge=1, description="Most text that may wait for a translation engine of this process, in characters."
    )

    max_caption_streams: int = Field(16, ge=1, description="Most audio streams captioned live at once.")
    max_caption_seconds: float = Field(14400.0, gt=0, description="Longest live audio stream captioned, in seconds.")

    # Sessions
    session_idle_seconds: float = Field(
        86400.0, gt=0, description="How long a session of the models API is kept after it was last named."
    )
    max_sessions: int = Field(1000, ge=1, description="Most sessions that one API key may have.")

    # Chats
    chat_days: float = Field(
        365.0, ge=0, le=36500, description="Days that a chat is kept after it was last written to; 0 = for ever."
    )
    max_chats: int = Field(
        1000,
        ge=1,
        description="Most chats that one user has; a new one takes the place of the one written to longest ago.",
    )

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line written."
    )
    log_format: Literal["json", "console"] = Field("json", description="One JSON object a line, or lines for people.")

    # Speech and translation in this process
    lx_asr_model: str = Field(
        "openai/whisper-tiny.en",
        alias="LX_ASR_MODEL",
        description="Whisper that serves when a request names no model (unset, `/asr` has openai/whisper-small).",
    )
    lx_asr_compute: str = Field(
        "default", alias="LX_ASR_COMPUTE", description="Whisper's arithmetic: default, int8, float16, float32."
    )
    lx_mt_provider: Literal["nllb", "m2m100"] = Field(
        "nllb", alias="LX_MT_PROVIDER", description="Which of the two translation models serves by default."
    )
    lx_nllb_model: str = Field(
        "facebook/nllb-200-distilled-600M", alias="LX_NLLB_MODEL", description="The NLLB translation model."
    )
    lx_m2m_model: str = Field("facebook/m2m100_418M", alias="LX_M2M_MODEL", description="The M2M100 translation model.")
    lx_mt_compute_type: str = Field(
        "default", alias="LX_MT_COMPUTE_TYPE", description="Translation's arithmetic: default, int8, float16, float32."
    )
    lx_device: Literal["cpu", "cuda", "auto"] = Field(
        "auto", alias="LX_DEVICE", description="Where models of this process run; `cuda` refuses to start without CUDA."
    )
    max_batch: int | None = Field(
        None,
        ge=1,
        description="Most half minutes (speech: 16) or sentences (translation: 32) computed in one call of a model.",
    )
    max_wait_ms: float | None = Field(
        None, ge=0, description="How long the first of them waits for others (speech: 5 ms, translation: 0)."
    )
    isolation: Literal["thread", "process"] = Field(
        "thread",
        description="How models of this process run: in `thread`s of it, or each engine in a supervised child `process`.",
    )
    align_models: dict[str, str] = Field(
        {},
        alias="WHISPERX_ALIGN_MODEL",
        json_schema_extra={"key": "EN"},
        description="wav2vec2 model (directory or hub id) that times English words on request; so `_DE` for German, ...",
    )
    diarization_model: str | None = Field(
        None,
        alias="DIARIZATION_MODEL",
        description="pyannote pipeline (directory or hub id) that says who speaks, on request.",
    )

    @field_validator("listen", mode="before")
    @classmethod
    def _read_addresses(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(Address.read(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("api_keys", "admin_keys", "allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_origins")
    @classmethod
    def _origins_are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin} is no origin: write https://host or https://host:port, in lower case")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not DATABASE_URL.fullmatch(value.get_secret_value()):
            raise ValueError("write postgresql://user:password@host/name or sqlite:///path")
        return value

    @field_validator("listen")
    @classmethod
    def _somewhere(cls, value: tuple[Address, ...]) -> tuple[Address, ...]:
        if not value:
            raise ValueError("name at least one address, as 127.0.0.1:8080")
        if twice := [address for address in value if address.port and value.count(address) > 1]:
            raise ValueError(f"{twice[0]} is there twice")
        return value

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the door."""
        return all(address.loopback for address in self.listen)


def load_settings() -> Settings:
    """Read and check the environment. Raises SettingsError naming the variable, the value and the way out."""
    _refuse_unknown(os.environ)
    try:
        settings = Settings()
    except ValidationError as error:
        lines = [f"{_variable(str(item['loc'][0]))}: {item['msg']}{_shown(item)}" for item in error.errors()]
        raise SettingsError("\n".join(lines)) from None
    _refuse_weak_tokens(settings)
    return settings


def refuse_open_door(settings: Settings, *, keyed: bool) -> None:
    """Other machines come in by keys, or because somebody said so. keyed: the configuration file has keys. Raises SettingsError."""
    if not (settings.loopback or settings.api_keys or keyed or settings.open_without_keys):
        reachable = ", ".join(str(address) for address in settings.listen if not address.loopback)
        raise SettingsError(
            f"SWITCHBOARD_LISTEN: {reachable} is reachable from other machines, and SWITCHBOARD_API_KEYS is empty. "
            "Set keys, listen on 127.0.0.1, or say SWITCHBOARD_OPEN_WITHOUT_KEYS=true."
        )


def _shown(error: ErrorDetails) -> str:
    """What was set, unless it is a secret."""
    field = Settings.model_fields.get(str(error["loc"][0]))
    return "" if field is not None and "SecretStr" in repr(field.annotation) else f" (got {error['input']!r})"


def variables() -> dict[str, str]:
    """Field name -> environment variable; of a mapping, the variable of one of its keys."""
    return {name: _variable_of(name, field) for name, field in Settings.model_fields.items()}


def _variable_of(name: str, field: FieldInfo) -> str:
    variable = field.alias or f"SWITCHBOARD_{name.upper()}"
    extra = field.json_schema_extra
    return f"{variable}_{extra['key']}" if isinstance(extra, dict) else variable


def _variable(name: str) -> str:
    return variables().get(name, name)


def _refuse_weak_tokens(settings: Settings) -> None:
    secret, keys = settings.jwt_secret, settings.jwt_jwks
    if secret is not None and keys is not None:
        raise SettingsError(
            "SWITCHBOARD_JWT_SECRET and SWITCHBOARD_JWT_JWKS are both set: tokens are checked one way. Unset one."
        )
    if secret is not None and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise SettingsError(
            f"SWITCHBOARD_JWT_SECRET is shorter than {MIN_SECRET_BYTES} bytes: it can be guessed. Make one: openssl rand -hex 32"
        )
    if keys is not None and "://" in keys and not _fetched_safely(keys):
        raise SettingsError(
            f"SWITCHBOARD_JWT_JWKS={keys} is not an https URL: whoever stands between could choose the keys. Use https, or a file."
        )
    if secret is None and keys is None and (settings.jwt_audience or settings.jwt_issuer):
        raise SettingsError(
            "SWITCHBOARD_JWT_AUDIENCE or SWITCHBOARD_JWT_ISSUER is set, and nothing to check tokens with: "
            "set SWITCHBOARD_JWT_SECRET or SWITCHBOARD_JWT_JWKS."
        )


def _fetched_safely(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = set(variables().values())
    for name in environment:
        if name.startswith(("SWITCHBOARD_", "LX_", "WHISPERX_")) and not (name in known or ALIGN_MODEL.fullmatch(name)):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{name} is not a setting.{hint}")
