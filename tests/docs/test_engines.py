"""docs/engines.md says what is so: its tables are configurations, its settings exist, its numbers are the real ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.http.waiting import EVERY_SECONDS, FIRST_SECONDS, comment
from proxy.lifecycle.containers import DIGEST, ENGINE
from proxy.lifecycle.ports import container_name
from proxy.lifecycle.resting import LONGEST_PAUSE, STABLE_SECONDS, Failures
from proxy.lifecycle.scheduler import PATIENCE
from proxy.registry.config import read_registry
from proxy.registry.launching import LaunchTable
from proxy.settings import Settings, variables

GUIDE = (Path(__file__).parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")
TABLES = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_token")


@pytest.mark.parametrize("number", range(len(TABLES)))
def test_every_table_is_a_configuration(tmp_path: Path, number: int) -> None:
    text = TABLES[number]
    if "[[engines]]" not in text:
        text = TABLES[0] + text
    path = tmp_path / "switchboard.toml"
    path.write_text(text)
    registry = read_registry(path, Settings())
    assert any(engine.launch for engine in registry.engines.values())


def test_the_settings_and_fields_are_there() -> None:
    named = set(re.findall(r"`(SWITCHBOARD_[A-Z_]+)`", GUIDE))
    assert named <= set(variables().values())
    fields = set(re.findall(r"^(\w+) = ", "".join(TABLES), re.MULTILINE))
    assert fields - {"name", "kind", "url", "engine", "served_as", "adapter"} <= set(LaunchTable.model_fields)


def test_what_is_said_of_comments() -> None:
    assert (FIRST_SECONDS, EVERY_SECONDS) == (1, 5)
    assert "a comment after a second and every five seconds from then on" in GUIDE
    for percent in (None, 40):
        assert comment(percent).decode() in GUIDE


def test_what_is_said_of_failures() -> None:
    failures, pauses = Failures(), []
    for _ in range(4):
        failures = failures.another(0.0, 0.0)
        pauses.append(failures.wait(0.0))
    assert pauses == [0, 2, 4, 8]
    assert "only after 2 s, then 4, 8, ... up to 5 minutes" in GUIDE
    assert (LONGEST_PAUSE, STABLE_SECONDS) == (300, 60)


def test_what_is_said_of_turns_and_containers() -> None:
    assert f"who has waited for {PATIENCE:g} seconds" in GUIDE
    assert f"`{ENGINE}`" in GUIDE
    assert f"`{DIGEST}`" in GUIDE
    assert f"`{container_name('llama')}`" in GUIDE
