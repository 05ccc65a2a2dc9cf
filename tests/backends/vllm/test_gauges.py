"""vLLM's own words about how busy it is."""

from __future__ import annotations

import pytest

from backends.base import Gauges
from backends.errors import Broken
from backends.vllm.gauges import read_gauges

COUNTS = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="big"} 12.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="big"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="big",reason="capacity"} 3.0
"""


def test_requests_cache_and_adapters_are_told() -> None:
    text = (
        COUNTS
        + b"""vllm:kv_cache_usage_perc{engine="0",model_name="big"} 0.25
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",num_gpu_blocks="27000"} 1.0
vllm:lora_requests_info{max_lora="4",running_lora_adapters="old",waiting_lora_adapters=""} 1.7e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="law,code",waiting_lora_adapters="poems"} 1.8e+09
"""
    )

    assert read_gauges(text, "e") == Gauges(
        waiting=3,
        running=12,
        kv=0.25,
        cache_tokens=432_000,
        adapters=frozenset({"law", "code", "poems"}),
        max_adapters=4,
    )


def test_the_old_name_of_the_cache_is_known_and_ranks_are_taken_together() -> None:
    text = COUNTS + COUNTS.replace(b'engine="0"', b'engine="1"')
    text += b'vllm:gpu_cache_usage_perc{engine="0"} 0.5\nvllm:gpu_cache_usage_perc{engine="1"} 0.7\n'

    read = read_gauges(text, "e")

    assert (read.waiting, read.running, read.kv, read.cache_tokens) == (6, 24, 0.6, None)


@pytest.mark.parametrize(
    "text",
    [b"", b"<html>no such page</html>", b"vllm:num_requests_running 1\n", COUNTS.replace(b"3.0", b"NaN")],
)
def test_without_counts_of_requests_it_says_nothing(text: bytes) -> None:
    with pytest.raises(Broken, match="'e' does not tell at /metrics"):
        read_gauges(text, "e")


def test_what_cannot_be_is_brought_to_what_can() -> None:
    text = b"vllm:num_requests_running -1\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 1.5\n"
    text += (
        b'vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1\nvllm:lora_requests_info{max_lora="0"} 1\n'
    )

    assert read_gauges(text, "e") == Gauges(waiting=0, running=0, kv=1.0)
