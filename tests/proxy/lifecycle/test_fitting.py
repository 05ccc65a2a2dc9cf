"""Models for which there is no room: refused, or made room for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from backends.errors import NoDevice, OutOfMemory
from proxy.lifecycle import pressure
from proxy.lifecycle.places import Compute
from tests.proxy.lifecycle.rig import Machine, Rig, entry, used

Rigged = Callable[..., Rig]

A, B, D = (entry(name) for name in "abd")


class Facts:
    """A catalog that knows how much `a` needs."""

    def memory_mb(self, source: str) -> float | None:
        return 9_500.0 if source == "/models/a" else None

    def smaller(self, source: str, fits_mb: float) -> tuple[str, ...]:
        return ("tiny",)


async def facts() -> Facts:
    return Facts()


async def test_a_model_that_cannot_fit_is_refused_before_it_is_read(rigged: Rigged) -> None:
    rig = rigged(facts=facts)
    for _ in range(2):
        with pytest.raises(OutOfMemory) as refused:
            await rig.manager.check(A)
        assert (refused.value.required_mb, refused.value.available_mb) == (9500, 9000)
        with pytest.raises(OutOfMemory):
            await rig.manager.ensure_ready(A)
    assert refused.value.alternatives == ("tiny",)
    assert "load a" not in rig.backend.log
    failed = rig.news[-1]
    assert (failed.error_code, failed.required_mb) == ("INSUFFICIENT_MEMORY", 9500)  # type: ignore[attr-defined]


async def test_what_is_loaded_or_loading_is_not_asked_whether_it_fits(rigged: Rigged) -> None:
    rig = rigged(facts=facts, machine=Machine(others=0.0))
    rig.backend.go.clear()
    rig.manager.load(A)
    await rig.until(lambda: bool(rig.backend.log))
    rig.machine.others = 9_000.0
    await rig.manager.check(A)
    rig.backend.go.set()
    await rig.until(lambda: rig.place(A).open)
    await rig.manager.check(A)
    with pytest.raises(NoDevice):
        await rig.manager.check(A, Compute(compute_type="int8"))


async def test_spare_models_go_to_make_a_large_one_fit(rigged: Rigged) -> None:
    rig = rigged(facts=facts, machine=Machine(others=300.0, each=100.0))
    await used(rig, "b", "c", "d")
    async with rig.manager.use(D):
        await rig.manager.check(A)
        assert rig.machine.loaded == {"/models/b", "/models/c", "/models/d"}, "to ask is not to load"
        await rig.manager.ensure_ready(A)
        assert rig.machine.loaded == {"/models/a", "/models/c", "/models/d"}
    assert rig.news[-1].kind == "model.load.completed"


async def test_models_go_while_memory_is_short(rigged: Rigged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "SECONDS", 0.01)
    rig = rigged()
    await used(rig, "a", "b")
    async with rig.manager.use(B):
        rig.machine.others = 9_000.0
        await rig.until(lambda: rig.machine.loaded == {"/models/b"})
        await asyncio.sleep(0.05)
        assert rig.place(B).open
        rig.machine.others = 1_000.0
    await asyncio.sleep(0.05)
    assert rig.place(B).open
