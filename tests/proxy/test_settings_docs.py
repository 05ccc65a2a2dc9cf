"""What people read about settings is what the class says."""

from __future__ import annotations

from pathlib import Path

from proxy.settings import Settings, variables
from proxy.settings_docs import env_example, groups, markdown_table

ROOT = Path(__file__).parents[2]


def test_env_example_is_the_settings_class_and_what_the_stacks_add() -> None:
    stacks = (ROOT / "compose" / "stacks.env").read_text(encoding="utf-8")
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == env_example() + stacks, "run `make docs`"


def test_readme_table_is_the_settings_class() -> None:
    assert markdown_table() in (ROOT / "README.md").read_text(encoding="utf-8"), "run `make docs`"


def test_every_setting_is_in_a_group_and_has_a_sentence() -> None:
    assert [name for names in groups().values() for name in names] == list(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert variables()[name] in env_example()
