"""Two configurations, and what lies between them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import EngineSpec, ModelSpec, Timeouts
from backends.types import Task
from proxy.registry.diff import Changes, diff
from proxy.registry.models import ModelEntry, Registry

KEY = "sk-very-secret"
GPU = EngineSpec(name="gpu", kind="vllm", urls=("http://one", "http://two"), key=KEY)
CHAT = ModelEntry(name="chat", engine="gpu", spec=ModelSpec(source="llama"), task="text", aliases=("gpt-4o",))
OLD = Registry(engines={"gpu": GPU}, models=(CHAT,), defaults={"text": "chat"})

NAMES = st.sampled_from("abcd")
SPECS = st.builds(
    EngineSpec,
    name=st.just("e"),
    kind=st.sampled_from(["vllm", "tgi"]),
    urls=st.lists(st.sampled_from(["http://1", "http://2"]), max_size=2).map(tuple),
    key=st.sampled_from([None, KEY, f"{KEY}-2"]),
    timeouts=st.builds(Timeouts, idle=st.sampled_from([1.0, 2.0])),
    align_models=st.dictionaries(st.sampled_from(["de", "fr"]), st.sampled_from([KEY, "b"])),
)
ENTRIES = st.lists(
    st.builds(
        ModelEntry,
        name=NAMES,
        engine=NAMES,
        spec=st.builds(ModelSpec, source=NAMES, revision=st.sampled_from([None, "main"])),
        task=st.just("text"),
        aliases=st.lists(NAMES, max_size=2).map(tuple),
    ),
    max_size=3,
    unique_by=lambda entry: entry.name,
).map(tuple)
TASKS: list[Task] = ["text", "translation"]
REGISTRIES = st.builds(
    Registry,
    engines=st.dictionaries(NAMES, SPECS, max_size=3),
    models=ENTRIES,
    defaults=st.dictionaries(st.sampled_from(TASKS), NAMES),
)


def _defaults(registry: Registry) -> dict[str, object]:
    return dict(registry.defaults.items())


@given(REGISTRIES, REGISTRIES)
def test_what_is_not_told_is_equal_and_what_is_told_is_not(old: Registry, new: Registry) -> None:
    found = diff(old, new)
    kinds: list[tuple[Changes, dict[str, object], dict[str, object]]] = [
        (found.engines, dict(old.engines), dict(new.engines)),
        (found.models, {each.name: each for each in old.models}, {each.name: each for each in new.models}),
        (found.defaults, _defaults(old), _defaults(new)),
    ]
    for changes, before, after in kinds:
        assert set(changes.added) == set(after) - set(before)
        assert set(changes.removed) == set(before) - set(after)
        assert set(changes.changed) == {name for name in before if name in after and before[name] != after[name]}
    assert bool(found) == bool(found.words())


@given(REGISTRIES, REGISTRIES)
def test_there_and_back(old: Registry, new: Registry) -> None:
    there, back = diff(old, new), diff(new, old)
    assert set(there.engines.added) == set(back.engines.removed)
    assert set(there.models.changed) == set(back.models.changed)
    assert not diff(new, new)


@given(REGISTRIES, REGISTRIES)
def test_no_secret_is_told(old: Registry, new: Registry) -> None:
    assert KEY not in str(diff(old, new).words())


def test_nothing_is_none() -> None:
    assert not Changes()
    assert diff(OLD, OLD).words() == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (replace(GPU, key="another"), "key: (not shown) -> (not shown)"),
        (replace(GPU, key=None), "key: (not shown) -> none"),
        (replace(GPU, urls=("http://one",)), "urls: http://one, http://two -> http://one"),
        (replace(GPU, timeouts=Timeouts(idle=5)), "timeouts.idle: 60.0 -> 5"),
        (replace(GPU, align_models={"de": "a"}), "align_models.de: none -> (not shown)"),
    ],
)
def test_fields_are_told_as_they_were_and_are(spec: EngineSpec, said: str) -> None:
    assert diff(OLD, replace(OLD, engines={"gpu": spec})).engines.changed == {"gpu": (said,)}


def test_draining_is_told_of_the_engine() -> None:
    assert diff(OLD, replace(OLD, drained=frozenset({"gpu"}))).words() == ["engine gpu: drain: false -> true"]


def test_words() -> None:
    speech = ModelEntry(name="ears", engine="speech", spec=ModelSpec(source="tiny"), task="transcription", preload=True)
    new = Registry(
        engines={"gpu": GPU, "speech": EngineSpec(name="speech", kind="whisper")},
        models=(replace(CHAT, aliases=(), preload=True), speech),
        defaults={"transcription": "ears"},
    )
    assert diff(OLD, new).words() == [
        "engine speech: added",
        "model ears: added",
        "model chat: aliases: gpt-4o -> none; preload: false -> true",
        "default transcription: added",
        "default text: removed",
    ]
    assert diff(OLD, replace(OLD, defaults={"text": "other"})).words() == ["default text: chat -> other"]
