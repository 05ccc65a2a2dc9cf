"""Backends come and go with the configuration; what is as it was stays."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from backends.base import EngineSpec
from backends.errors import Unavailable
from proxy.lifecycle.engines import Engines, by_url
from tests.support import ScriptedBackend

GPU = EngineSpec(name="gpu", kind="vllm", urls=("http://a", "http://b"))
EARS = EngineSpec(name="ears", kind="whisper")


class Closing(ScriptedBackend):
    """Tells that it was closed."""

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(lambda _: ())
        self.spec = spec
        self.closed = False

    async def close(self) -> None:
        self.closed = True


def create(spec: EngineSpec) -> Closing:
    """A backend, unless it has a bad URL."""
    if "bad" in "".join(spec.urls):
        raise ValueError("bad url")
    return Closing(spec)


def configure(engines: Engines, specs: dict[str, EngineSpec]) -> tuple[str, ...]:
    return engines.configure(specs, engines.replicas_for(specs))


def names(spec: EngineSpec, *before: str, urls: tuple[str, ...] = ()) -> list[str]:
    replicas = [replace(spec, name=name, urls=(url,)) for name, url in zip(before, urls, strict=True)]
    return [each.name for each in by_url(spec, replicas)]


def test_each_url_has_a_name_that_stays_its_own() -> None:
    assert names(replace(GPU, urls=("http://a",))) == ["gpu"]
    assert names(GPU) == ["gpu#1", "gpu#2"]
    assert names(GPU, "gpu", urls=("http://b",)) == ["gpu#1", "gpu"]
    assert names(GPU, "gpu#1", "gpu#2", urls=("http://b", "http://c")) == ["gpu#2", "gpu#1"]
    assert names(replace(GPU, urls=("http://b",)), "gpu#1", "gpu#2", urls=("http://a", "http://b")) == ["gpu#2"]
    assert names(GPU, "gpu#1", "gpu#9", urls=("http://z", "http://a")) == ["gpu#9", "gpu#2"]


def test_an_engine_that_is_not_as_it_was_is_another() -> None:
    before = [replace(each, key="old") for each in by_url(GPU, [])]
    assert [each.name for each in by_url(replace(GPU, urls=("http://b",)), before)] == ["gpu"]


async def test_what_is_as_it_was_keeps_its_backend() -> None:
    engines = Engines({"gpu": GPU}, create)
    one, two = engines.replicas("gpu")
    other = EngineSpec(name="other", kind="tgi", urls=("http://c",))
    assert configure(engines, {"gpu": replace(GPU, urls=("http://b", "http://c")), "other": other}) == ()
    kept, new = engines.replicas("gpu")
    assert kept.backend is two.backend and new.backend is not one.backend
    assert [made.spec.name for made in engines.replicas("other")] == ["other"]
    configure(engines, {"other": other})
    assert engines.replicas("gpu") == ()
    with pytest.raises(Unavailable, match="left the configuration"):
        engines.spec("gpu")


async def test_a_backend_that_cannot_be_made_changes_nothing() -> None:
    engines = Engines({"gpu": GPU}, create)
    before = engines.replicas("gpu")
    with pytest.raises(ValueError, match="bad url"):
        configure(engines, {"new": GPU, "gpu": replace(GPU, urls=("http://bad",))})
    assert engines.replicas("gpu") == before
    assert engines.replicas("new") == ()


async def test_a_pipeline_stays_as_it_is_until_it_is_exchanged() -> None:
    engines = Engines({"ears": EARS, "eyes": replace(EARS, name="eyes")}, create)
    old = await engines.make("ears")
    assert isinstance(old, Closing)
    slow = replace(EARS, device="cpu")
    assert configure(engines, {"ears": slow}) == ("ears",)
    assert await engines.make("ears") is old
    assert (engines.spec("ears"), old.closed) == (EARS, False)
    await engines.exchange("ears")
    new = await engines.make("ears")
    assert isinstance(new, Closing)
    assert (new.spec, engines.spec("ears"), old.closed) == (slow, slow, True)
    assert configure(engines, {}) == ("ears",)
    await engines.exchange("ears")
    with pytest.raises(Unavailable):
        await engines.make("ears")


async def test_a_pipeline_that_was_not_made_is_made_as_configured_by_now() -> None:
    engines = Engines({"ears": EARS}, create)
    assert configure(engines, {"ears": replace(EARS, device="cpu")}) == ()
    made = await engines.make("ears")
    assert isinstance(made, Closing)
    assert made.spec.device == "cpu"


async def test_what_is_being_made_when_the_configuration_changes_is_made_again() -> None:
    begun, go = threading.Event(), threading.Event()
    made: list[Closing] = []

    def slowly(spec: EngineSpec) -> Closing:
        begun.set()
        assert go.wait(10)
        made.append(Closing(spec))
        return made[-1]

    engines = Engines({"ears": EARS}, slowly)
    making = asyncio.create_task(engines.make("ears"))
    await asyncio.to_thread(begun.wait, 10)
    assert configure(engines, {"ears": replace(EARS, device="cpu")}) == ()
    go.set()
    assert await making is made[1]
    assert [(each.spec.device, each.closed) for each in made] == [("auto", True), ("cpu", False)]
