"""docs/health.md says what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from backends.base import HealthRules, Timeouts
from proxy.registry.config import read_registry
from proxy.routing.health import ALONE_EVERY
from proxy.routing.retries import PER_SECOND, RATIO
from proxy.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "health.md").read_text(encoding="utf-8")


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "switchboard.toml"
    path.write_text(example)
    registry = read_registry(path, Settings())
    assert len(registry.engines["gpu"].urls) == 2
    assert registry.engines["gpu"].health == HealthRules()


def test_every_setting_has_its_row_and_its_default() -> None:
    rows = dict(re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", PAGE, re.MULTILINE))
    told = {
        name.strip("` "): value.strip()
        for names, values in rows.items()
        for name, value in zip(names.split(","), values.split(","), strict=len(names.split(",")) > 1)
    }
    for field in fields(HealthRules):
        default = field.default
        said = told[field.name]
        if default is None:
            assert said == "as its requests' timeouts"
        else:
            assert said == (str(default).lower() if isinstance(default, bool) else f"{default:g}")


def test_the_figures_in_the_text_are_the_codes() -> None:
    words = {1 / RATIO: "a fifth", PER_SECOND: "one a second", ALONE_EVERY: "every five seconds"}
    assert (1 / RATIO, PER_SECOND, ALONE_EVERY) == (5, 1, 5)
    assert all(word in PAGE for word in words.values())
    limits = Timeouts()
    assert f"`connect` ({limits.connect:g}), `first_byte` ({limits.first_byte:g}) and `idle` ({limits.idle:g})" in PAGE
