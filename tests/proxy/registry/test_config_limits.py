"""`max_in_flight` and `max_queued` of engines and models, and API keys with a name: what a file may say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.caller import Caller, Priority, digest
from proxy.registry.config import ConfigError, load_registry, read_registry
from proxy.registry.diff import diff
from proxy.settings import Settings

GOOD = """\
[[engines]]
name = "gpu"
kind = "vllm"
url = "http://10.0.0.1:8000"
max_in_flight = 64

[[engines]]
name = "transformers"
kind = "transformers"
max_in_flight = 0

[[models]]
name = "llama"
engine = "gpu"
max_in_flight = 8
max_queued = 0

[[keys]]
name = "app"
key = "sk-app-secret"
priority = "high"
weight = 2.5

[[keys]]
name = "nightly"
key_env = "NIGHTLY_KEY"
priority = "low"
max_in_flight = 4
"""
PLAIN = Settings.model_validate({"api_keys": "sk-plain"})


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NIGHTLY_KEY", "sk-nightly-secret")
    path = tmp_path / "switchboard.toml"
    path.write_text(GOOD)
    return path


def test_limits_and_keys_are_read(config: Path) -> None:
    registry = load_registry(Settings.model_validate({"config": config}))
    assert registry.limits == {"gpu": 64, "transformers": 0}
    assert (registry.models[0].max_in_flight, registry.models[0].max_queued) == (8, 0)
    assert registry.keys["app"].caller == Caller("app", Priority.HIGH, Priority.HIGH, 2.5)
    assert registry.keys["nightly"].caller == Caller("nightly", Priority.LOW, Priority.LOW, 1.0, 4)
    assert registry.keys["nightly"].key == digest("sk-nightly-secret")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("max_in_flight = 64", "max_in_flight = -1", r":5: engines\.0\.max_in_flight: "),
        ("max_in_flight = 64", "max_inflight = 1", r":5: engines\.0\.max_inflight: Extra inputs"),
        ("max_in_flight = 8", "max_in_flight = 0", r":15: models\.0\.max_in_flight: "),
        ("max_queued = 0", "max_queued = -1", r":16: models\.0\.max_queued: "),
        ('priority = "high"', 'priority = "urgent"', r":21: keys\.0\.priority: "),
        ("weight = 2.5", "weight = 0", r":22: keys\.0\.weight: "),
        ("weight = 2.5", "weight = nan", r":22: keys\.0\.weight: "),
        ("weight = 2.5", "wait = 1", r":22: keys\.0\.wait: Extra inputs"),
        ('name = "app"', 'name = "#1"', r":19: keys\.0\.name: "),
        ('name = "nightly"', 'name = "app"', r":25: keys\.1\.name: another key is named 'app'"),
        ("NIGHTLY_KEY", "NO_KEY", r":26: keys\.1\.key_env: the environment has no NO_KEY"),
        ('key_env = "NIGHTLY_KEY"', 'key = ""', r":26: keys\.1\.key: "),
        ('key_env = "NIGHTLY_KEY"', 'key = "sk- secret"', r":26: keys\.1\.key: .*without white space"),
        ('key_env = "NIGHTLY_KEY"', 'key = "schlüssel-secret"', r":26: keys\.1\.key: .*in ASCII"),
        ('key_env = "NIGHTLY_KEY"', 'key = "sk-app-secret"', r":26: keys\.1\.key: the same key is named 'app', too"),
        ('key_env = "NIGHTLY_KEY"', 'key = "sk-plain"', r":26: keys\.1\.key: the same key is in SWITCHBOARD_API_KEYS"),
        ('key_env = "NIGHTLY_KEY"', "", r":24: keys\.1: give either `key` or `key_env`"),
        ('key_env = "NIGHTLY_KEY"', 'key_env = "NIGHTLY_KEY"\nkey = "secret"', r":24: keys\.1: give either"),
    ],
)
def test_what_is_wrong_is_refused_with_line_and_field_and_no_secret(
    config: Path, old: str, new: str, complaint: str
) -> None:
    assert old in GOOD
    config.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=complaint) as refused:
        read_registry(config, PLAIN)
    assert "secret" not in str(refused.value)


def test_a_model_of_this_process_queues_only_behind_a_limit(config: Path) -> None:
    config.write_text(GOOD.replace('engine = "gpu"\nmax_in_flight = 8', 'engine = "transformers"'))
    with pytest.raises(ConfigError, match=r":15: models\.0\.max_queued: needs `max_in_flight`"):
        read_registry(config, PLAIN)


def test_keys_are_shown_nowhere(config: Path) -> None:
    old = read_registry(config, PLAIN)
    config.write_text(GOOD.replace("sk-app-secret", "sk-new-secret").replace('"low"', '"normal"').replace("64", "32"))
    new = read_registry(config, PLAIN)
    words = diff(old, new).words()
    assert words == [
        "limit of engine gpu: 64 -> 32",
        "key app: key: (not shown) -> (not shown)",
        "key nightly: caller.priority: low -> normal; caller.highest: low -> normal",
    ]
    shown = repr(old) + str(old.keys)
    assert "secret" not in shown and digest("sk-app-secret").hex() not in shown
