"""`[engines.health]` and `hedge_ms` of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.base import EngineSpec, HealthRules
from proxy.registry.config import ConfigError, read_registry
from proxy.settings import Settings

ENGINE = """
[[engines]]
name = "gpu"
kind = "vllm"
url = "http://gpu:8000"
"""


def engine(tmp_path: Path, text: str) -> EngineSpec:
    path = tmp_path / "switchboard.toml"
    path.write_text(text)
    return read_registry(path, Settings()).engines["gpu"]


def test_without_a_word_the_defaults_hold(tmp_path: Path) -> None:
    assert engine(tmp_path, ENGINE).health == HealthRules()
    assert engine(tmp_path, ENGINE).hedge_ms == 0


def test_what_is_said_holds(tmp_path: Path) -> None:
    said = engine(tmp_path, f"{ENGINE}hedge_ms = 250\n[engines.health]\nfailures = 5\nsilence = 20\nidentity = false\n")
    assert said.health == HealthRules(failures=5, silence=20.0, identity=False)
    assert said.hedge_ms == 250


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("failures = 0", "health.failures"),
        ("first_pause = 0", "health.first_pause"),
        ("longest_pause = 0.5", "shorter than `first_pause`"),
        ("silence = 0", "health.silence"),
        ("silence = nan", "health.silence"),
        ("check = 0", "health.check"),
        ("patience = 1", "health.patience: Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        engine(tmp_path, f"{ENGINE}[engines.health]\n{line}\n")


def test_only_what_is_passed_on_can_be_hedged(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="passed on as they are, not for tgi"):
        engine(tmp_path, ENGINE.replace("vllm", "tgi") + "hedge_ms = 5\n")


@pytest.mark.parametrize("line", ["hedge_ms = 5", "[engines.health]\nfailures = 5"])
def test_engines_of_this_process_take_neither(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match="for engines elsewhere, not for whisper"):
        engine(tmp_path, f'[[engines]]\nname = "whisper"\nkind = "whisper"\n{line}\n')
