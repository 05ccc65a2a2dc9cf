"""Rows and configuration make one registry."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backends.base import EngineSpec, ModelSpec
from backends.types import Task
from proxy.registry.models import ModelEntry, Registry
from proxy.registry.rows import TYPES, Model, Source, Status, configured_models, gone, merged, together

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KINDS = ("transformers", "translation", "pipelines")
ENTRY = ModelEntry(name="chat", engine="far", spec=ModelSpec(source="served"), task="text", aliases=("gpt2",))
ENGINES = {
    "far": EngineSpec(name="far", kind="vllm", urls=("http://far",)),
    **{kind: EngineSpec(name=kind, kind=kind) for kind in KINDS},
}
CONFIGURED = Registry(engines=ENGINES, models=(ENTRY,), defaults={"text": "chat"})


def row(
    model_id: str, model_type: str = "text-generation", *, source: Source = "registry", status: Status = "available"
) -> Model:
    return Model(model_id=model_id, name="n", model_type=model_type, added=NOW, source=source, status=status)


@pytest.mark.parametrize(("model_type", "served"), TYPES.items())
def test_each_type_is_served_by_an_engine_of_this_process(model_type: str, served: tuple[str, Task]) -> None:
    entry = merged(CONFIGURED, [row("owner/new", model_type)]).names()["owner/new"]
    assert (entry.engine, entry.task, entry.spec.source) == (*served, "owner/new")
    assert (entry.spec.task is not None) == (entry.task == "pipeline")


def test_an_alias_of_the_configuration_stays_with_its_model() -> None:
    registry = merged(CONFIGURED, [row("gpt2")])
    assert registry.names()["gpt2"] == ENTRY
    assert registry.models == (ENTRY,)


def test_defaults_and_engines_stay() -> None:
    registry = merged(CONFIGURED, [row("a"), row("b")])
    assert (registry.engines, registry.defaults) == (CONFIGURED.engines, CONFIGURED.defaults)
    assert [entry.name for entry in registry.models] == ["chat", "a", "b"]


def test_what_no_engine_serves_is_not_served() -> None:
    bare = replace(CONFIGURED, engines={"far": ENGINES["far"]})
    assert merged(bare, [row("a")]).models == (ENTRY,)


@pytest.mark.parametrize(("model_id", "names"), [("chat", {"chat", "gpt2"}), ("a", {"a"}), ("gpt2", {"gpt2"})])
def test_retired_models_are_named_and_not_served(model_id: str, names: set[str]) -> None:
    """By none of their names; an alias that was registered by itself is retired by itself."""
    wild = replace(CONFIGURED, models=(replace(ENTRY, aliases=("gpt2", "*")),))
    registry = merged(wild, [row("chat"), replace(row(model_id), status="retired")])
    assert registry.retired == names
    assert model_id not in registry.names() or model_id == "gpt2"


def test_configured_models_come_first_with_what_was_noted_of_them() -> None:
    configured = configured_models(CONFIGURED, NOW)
    assert configured["chat"].model_type == "text-generation"
    noted = replace(configured["chat"], usage_count=3)
    assert together(configured, [row("b"), noted, row("a")]) == [noted, row("b"), row("a")]


def test_notes_on_models_that_are_configured_no_more_say_nothing() -> None:
    assert together({}, [row("gone", source="configuration"), row("a")]) == [row("a")]


def test_a_row_that_came_before_its_configuration_is_a_note() -> None:
    (model,) = together(configured_models(CONFIGURED, NOW), [row("chat")])
    assert (model.source, model.name) == ("configuration", "n")


def test_models_made_for_dialogue_are_registered_so() -> None:
    assert configured_models(CONFIGURED, NOW, frozenset({"chat"}))["chat"].model_type == "conversational"


@pytest.mark.parametrize(
    ("after", "left"),
    [
        ([row("a"), row("b")], set()),
        ([row("a", "conversational")], {"b"}),
        ([row("a", "summarization"), row("b")], {"a"}),
        ([row("a"), replace(row("b"), status="retired")], {"b"}),
    ],
)
def test_what_nothing_serves_as_before_is_gone(after: list[Model], left: set[str]) -> None:
    assert gone(merged(CONFIGURED, [row("a"), row("b")]), merged(CONFIGURED, after)) == left
