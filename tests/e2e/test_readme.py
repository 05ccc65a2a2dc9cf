"""`make run` and the README, word for word, as a newcomer would type them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.hello import hello
from proxy.registry.config import load_registry
from proxy.settings import Settings
from tests.e2e.readme import ROOT, at_port, blocks, curl_lines

SECONDS = 60.0


@pytest.fixture(scope="module")
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def made(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`make run PORT=...`, with its output in the returned file; ended by Ctrl-C."""
    output = tmp_path_factory.mktemp("run") / "output"
    environment = {**os.environ, "SWITCHBOARD_DATA": str(output.parent / "data")}
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["make", "run", f"PORT={port}"],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            _until_ready(port, output)
            yield output
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(SECONDS)
    assert "stopped" in output.read_text(), "Ctrl-C stops it cleanly"


def _until_ready(port: int, output: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(output.read_text())


def run(command: str) -> str:
    """What a shell line prints."""
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=True)
    return done.stdout


def test_it_says_where_it_listens_and_the_lines_of_the_readme(made: Path, port: int) -> None:
    output = made.read_text()
    assert f"listens on http://127.0.0.1:{port}" in output
    lines = [at_port(line, port) for line, _ in curl_lines()]
    assert len(lines) == 3
    for line in lines:
        assert line in output


def test_each_line_answers_as_the_readme_says(made: Path, port: int) -> None:
    (chat, shown_chat), *others = curl_lines()
    events = re.findall(r"^data: (.*)$", run(at_port(chat, port).replace("curl ", "curl -sS ")), re.MULTILINE)
    shown = re.findall(r"^data: (.*)$", shown_chat, re.MULTILINE)
    assert events[-1] == shown[-1] == "[DONE]"
    for ours, theirs in ((events[0], shown[0]), (events[1], shown[1]), (events[-2], shown[-2])):
        assert _timeless(ours) == _timeless(theirs)
    text = "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events[:-1])
    assert text == "The capital of France is Paris."
    for line, answer in others:
        assert run(at_port(line, port).replace("curl ", "curl -sS ")) == answer


def _timeless(event: str) -> dict[str, object]:
    """An event without what differs each time."""
    return {key: value for key, value in json.loads(event).items() if key not in ("id", "created")}


def test_the_python_example(made: Path, port: int) -> None:
    (example,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", at_port(example, port)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stdout == "1, 2, 3, 4, 5.Maria bought the yellow box at the hotel.\n"


def test_the_toml_example_is_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", "k")
    (example,) = blocks("toml")
    (tmp_path / "switchboard.toml").write_text(example)
    registry = load_registry(Settings.model_validate({"config": tmp_path / "switchboard.toml"}))
    assert [entry.name for entry in registry.models if entry.task == "text"] == ["llama", "mistral", "pythia"]
    assert registry.engines["gpu"].key == "k"


async def test_with_keys_the_lines_carry_one() -> None:
    profile = ROOT / "backends" / "nano" / "switchboard.toml"
    registry = await asyncio.to_thread(load_registry, Settings.model_validate({"config": profile}))
    text = hello("http://127.0.0.1:1", registry, keyed=True)
    assert text.count('-H "Authorization: Bearer $KEY"') == text.count("curl ") == 3
