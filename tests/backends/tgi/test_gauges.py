"""TGI's own words about how busy it is."""

from __future__ import annotations

import pytest

from backends.base import EngineSpec, Gauges
from backends.errors import Broken
from backends.tgi.backend import TgiBackend
from backends.tgi.gauges import read_gauges
from tests.engines.tgi_double import TgiDouble


def test_queue_batch_and_tokens_are_told() -> None:
    text = b"# TYPE tgi_queue_size gauge\ntgi_queue_size 4\ntgi_batch_current_size 32\n"
    text += b"tgi_batch_current_max_tokens 30000\ntgi_batch_max_total_tokens 40000\n"

    assert read_gauges(text, "e") == Gauges(waiting=4, running=32, kv=0.75, cache_tokens=40_000)


def test_before_its_first_request_it_says_nothing() -> None:
    with pytest.raises(Broken, match="'e' does not tell"):
        read_gauges(b"tgi_request_count 0\n", "e")


async def test_a_tgi_is_asked_over_its_own_socket() -> None:
    async with TgiDouble() as engine:
        backend = TgiBackend(EngineSpec(name="t", kind="tgi", urls=(engine.url,)))

        assert await backend.gauges() == Gauges(waiting=0, running=0)

        await backend.close()
