"""The benchmark's own judgement: a wrong answer is never counted as a fast one, and medians hide neither drift nor errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.bench.load import fault_of, request_bytes, run
from tests.bench.mock_engine import TOKENS, Engine
from tests.bench.table import SCENARIOS, Sample, render, summarize

OK = b"http/1.1 200 ok"
WHOLE = f'" word{TOKENS - 1}" "completion_tokens"'.encode()


def sample(peer: str, cpu_us: float, *, errors: int = 0, scenario: str = "json") -> Sample:
    return Sample(
        peer=peer,
        scenario=scenario,
        cpu_us=cpu_us,
        per_second=100,
        p50_ms=1,
        p99_ms=2,
        rss_mb=40,
        errors=errors,
        error="the answer lacks data: [DONE]" if errors else "",
    )


@pytest.fixture
async def engine() -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class TestLoad:
    @pytest.mark.parametrize(
        ("head", "body", "stream", "fault"),
        [
            (OK, WHOLE, False, ""),
            (OK, WHOLE + b"data: [DONE]", True, ""),
            (OK, WHOLE, True, "the answer lacks data: [DONE]"),
            (OK, b" word1", False, f'the answer lacks  word{TOKENS - 1}, "completion_tokens"'),
            (b"http/1.1 404 not found", b"no such model", False, "http/1.1 404 not found: no such model"),
        ],
    )
    def test_an_answer_must_be_whole(self, head: bytes, body: bytes, stream: bool, fault: str) -> None:
        assert fault_of(head, body, stream=stream) == fault

    @pytest.mark.parametrize("stream", [False, True])
    async def test_the_engine_satisfies_the_load(self, engine: str, stream: bool) -> None:
        request = request_bytes("engine", "mock", "", stream=stream, pause_ms=0)
        results = await run(engine, 2, 0.05, request, stream=stream)
        assert results.errors.total() == 0
        assert len(results.latencies) >= 2

    async def test_tokens_come_as_slowly_as_asked(self, engine: str) -> None:
        request = request_bytes("engine", "mock", "", stream=True, pause_ms=2)
        results = await run(engine, 1, 0.01, request, stream=True, pause_ms=2)
        assert results.errors.total() == 0
        assert min(results.latencies) >= 0.002 * TOKENS
        assert min(results.first_tokens) < 0.002 * TOKENS

    async def test_an_engine_that_was_not_told_to_pause_is_found_out(self, engine: str) -> None:
        request = request_bytes("engine", "mock", "", stream=True, pause_ms=0)
        results = await run(engine, 1, 0.01, request, stream=True, pause_ms=5)
        assert set(results.errors) == {"the answer came faster than its tokens"}

    async def test_a_proxy_that_does_not_rename_the_model_is_found_out(self, engine: str) -> None:
        results = await run(
            engine, 1, 0.02, request_bytes("engine", "team", "", stream=False, pause_ms=0), stream=False
        )
        assert results.latencies == []
        assert "404" in results.errors.most_common(1)[0][0]


class TestTable:
    def test_the_median_round_counts_and_every_error(self) -> None:
        rounds = [sample("nginx", 20), sample("nginx", 90, errors=2), sample("nginx", 30)]
        found = summarize(rounds)["nginx", "json"]
        assert (found.cpu_us, found.errors) == (30, 2)

    def test_ratios_are_to_ours_and_who_is_absent_says_why(self) -> None:
        samples = summarize([sample("nginx", 25), sample("switchboard", 50)])
        page = render(samples, ["nginx", "LiteLLM", "switchboard"], SCENARIOS[:1], {"LiteLLM": "not installed"})
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
        assert ["nginx", "25 µs", "40 MB"] in lines
        assert ["nginx", "0.50"] in lines
        assert ["LiteLLM", "not installed", "-"] in lines

    def test_a_run_with_errors_shows_them(self) -> None:
        page = render(summarize([sample("switchboard", 50, errors=3)]), ["switchboard"], SCENARIOS[:1], {})
        assert "50 µs (3 ERRORS)" in page
        assert "switchboard, json: the answer lacks data: [DONE]" in page
