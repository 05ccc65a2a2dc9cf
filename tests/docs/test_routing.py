"""What docs/routing.md shows of configuration is accepted as it stands, and what it shows of refusals is what is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.registry.config import ConfigError, read_registry
from proxy.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")
TOML = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
REFUSALS = [line for line in PAGE.splitlines() if line.startswith("switchboard.toml:")]
SEVERAL = next(block for block in TOML if "fallbacks" in block)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the example takes from its environment."""
    monkeypatch.setenv("RENTED_KEY", "k")


def read(tmp_path: Path, text: str) -> Path:
    """Read a file of this text; its path."""
    path = tmp_path / "switchboard.toml"
    path.write_text(text)
    read_registry(path, Settings(data=tmp_path))
    return path


def test_the_files_are_accepted(tmp_path: Path) -> None:
    first, several, policies = TOML

    for text in (first, several, first.partition("[[models]]")[0] + policies):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (SEVERAL.replace('{ name = "new"', '{ name = "newer"'), REFUSALS[0]),
        (SEVERAL.replace('name = "small"\n', 'name = "small"\nfallbacks = ["llama"]\n', 1), REFUSALS[1]),
    ],
)
def test_refusals_read_as_shown(tmp_path: Path, changed: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, changed)

    assert str(error.value).replace(f"{tmp_path}/", "") == line
