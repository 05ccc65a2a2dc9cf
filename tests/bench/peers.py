"""The systems that are compared: how each is started in front of the same engine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

KEY = "sk-bench-0123456789abcdef0123456789abcdef"
ALIAS = "team-model"

_NGINX = """
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 100000000;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""

_LITELLM = """
model_list:
  - model_name: mock
    litellm_params: {{model: openai/mock, api_base: "http://127.0.0.1:{engine}/v1", api_key: none}}
general_settings: {{master_key: {key}}}
"""

_SWITCHBOARD = """
[[engines]]
name = "engine"
kind = "vllm"
url = "http://127.0.0.1:{engine}"

[[models]]
name = "mock"
engine = "engine"
aliases = ["{alias}"]
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a system is started. port: its own; engine: the engine's, 0 = none; spare: for what else it insists on serving."""

    directory: Path
    port: int
    engine: int
    spare: int
    switchboard_python: str


@dataclass(frozen=True, slots=True)
class Start:
    """How to start a system."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """A system under test. start: writes its configuration into the place; missing: why it cannot run here, or empty."""

    name: str
    start: Callable[[Place], Start]
    missing: Callable[[], str]
    version: Callable[[], str]
    ready: str = "/health"
    model: str = "mock"
    key: str = ""


def _nginx(place: Place) -> Start:
    # Started by root, its worker would be another user, who may not enter the directory.
    user = "user root;" if Path(place.directory).owner() == "root" else ""
    text = _NGINX.format(user=user, directory=place.directory, port=place.port, engine=place.engine)
    config = write(place, "nginx.conf", text)
    return Start((_nginx_path(), "-p", str(place.directory), "-c", config, "-g", "daemon off;"))


def _bare_aiohttp(place: Place) -> Start:
    return Start((sys.executable, "-m", "tests.bench.bare_aiohttp", str(place.port), str(place.engine)))


def _rust_router(module: str) -> Callable[[Place], Start]:
    def start(place: Place) -> Start:
        listen = ("--host", "127.0.0.1", "--port", str(place.port), "--prometheus-port", str(place.spare))
        workers = (
            "--worker-urls",
            f"http://127.0.0.1:{place.engine}",
            "--policy",
            "round_robin",
            "--log-level",
            "error",
        )
        return Start((sys.executable, "-m", module, *listen, *workers))

    return start


def _litellm(place: Place) -> Start:
    config = write(place, "litellm.yaml", _LITELLM.format(engine=place.engine, key=KEY))
    command = (
        _script("litellm"),
        "--config",
        config,
        "--host",
        "127.0.0.1",
        "--port",
        str(place.port),
        "--num_workers",
        "1",
    )
    return Start(command, {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"})


def _switchboard(**settings: str) -> Callable[[Place], Start]:
    def start(place: Place) -> Start:
        config = write(place, "switchboard.toml", _SWITCHBOARD.format(engine=place.engine, alias=ALIAS))
        environment = {
            "SWITCHBOARD_CONFIG": config,
            "SWITCHBOARD_LISTEN": f"127.0.0.1:{place.port}",
            "SWITCHBOARD_API_KEYS": KEY,
            "SWITCHBOARD_DATA": str(place.directory / "data"),
            **settings,
        }
        return Start((place.switchboard_python, "-m", "proxy", "serve"), environment)

    return start


PEERS = (
    Peer(
        "nginx",
        _nginx,
        missing=lambda: "" if _nginx_path() else "not installed",
        version=lambda: "Debian's",
    ),
    Peer(
        "vllm-router",
        _rust_router("vllm_router.launch_router"),
        missing=lambda: not_installed("vllm-router"),
        version=lambda: version("vllm-router"),
    ),
    Peer(
        "sglang-router",
        _rust_router("sglang_router.launch_router"),
        missing=lambda: not_installed("sglang-router"),
        version=lambda: version("sglang-router"),
    ),
    Peer(
        "bare aiohttp",
        _bare_aiohttp,
        missing=lambda: not_installed("aiohttp"),
        version=lambda: version("aiohttp"),
    ),
    Peer(
        "LiteLLM",
        _litellm,
        missing=lambda: not_installed("litellm"),
        version=lambda: version("litellm"),
        ready="/health/liveliness",
        key=KEY,
    ),
    Peer(
        "switchboard",
        _switchboard(),
        missing=lambda: "",
        version=lambda: "this tree",
        model=ALIAS,
        key=KEY,
    ),
    Peer(
        "switchboard, no rounds",
        _switchboard(SWITCHBOARD_STREAM_ROUND_MS="0"),
        missing=lambda: "",
        version=lambda: "this tree",
        model=ALIAS,
        key=KEY,
    ),
)


def write(place: Place, name: str, text: str) -> str:
    """Write a file into the place. Returns its path."""
    path = place.directory / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def _nginx_path() -> str:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or ""


def _script(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def not_installed(distribution: str) -> str:
    """ "not installed", or empty when it is."""
    try:
        version(distribution)
    except PackageNotFoundError:
        return "not installed"
    return ""
