"""What is to be ready before anyone asks."""

from __future__ import annotations

from dataclasses import replace

from proxy.lifecycle.preloading import preload, preloaded
from proxy.registry.models import Registry, Target
from tests.proxy.lifecycle.engine_rig import engine_rig, launch, model

A, B = model("a"), model("b")
BOTH = replace(A, preload=True, targets=(Target(engine="a", spec=A.spec), Target(engine="b", spec=B.spec)))


def test_a_model_is_to_be_ready_on_each_of_its_engines() -> None:
    registry = Registry(models=(BOTH, B))
    assert [entry.engine for entry in preloaded(registry, ())] == ["a", "b"]
    assert [entry.engine for entry in preloaded(registry, {"a"})] == ["b"], "what is drained loads nothing"
    assert not preloaded(registry, {"a", "b"})


async def test_each_engine_of_a_preloaded_model_is_started() -> None:
    async with engine_rig({"a": launch(), "b": launch()}) as rig:
        await preload(rig.manager, preloaded(Registry(models=(BOTH,)), ()))
        assert rig.manager.is_ready(A)
        assert rig.manager.is_ready(B)
