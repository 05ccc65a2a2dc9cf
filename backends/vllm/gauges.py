"""What vLLM's /metrics say of how busy it is."""

from __future__ import annotations

from backends.base import Gauges
from backends.remote.prometheus import samples, told, total


def read_gauges(text: bytes, engine: str) -> Gauges:
    """Over all its data-parallel ranks: sums, and their mean use of the cache. Raises Broken without counts of requests."""
    used = [
        value
        for name in ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")  # the second until 0.10
        for _, value in samples(text, name)
    ]
    most, adapters = _adapters(text)
    return Gauges(
        waiting=told(total(text, "vllm:num_requests_waiting"), engine),
        running=told(total(text, "vllm:num_requests_running"), engine),
        kv=min(1.0, max(0.0, sum(used) / len(used))) if used else None,
        cache_tokens=_cache_tokens(text),
        adapters=adapters,
        max_adapters=most,
    )


def _cache_tokens(text: bytes) -> int | None:
    """The cache's blocks times the tokens of each."""
    sizes = [
        int(labels["block_size"]) * int(labels["num_gpu_blocks"])
        for labels, _ in samples(text, "vllm:cache_config_info")
        if labels.get("block_size", "").isdecimal() and labels.get("num_gpu_blocks", "").isdecimal()
    ]
    return sum(sizes) or None


def _adapters(text: bytes) -> tuple[int, frozenset[str]]:
    """How many LoRA adapters can be in use at once, and which are. Each state has a series; its value is the time it was seen."""
    latest = max(samples(text, "vllm:lora_requests_info"), key=lambda sample: sample[1], default=None)
    if latest is None or not (most := latest[0].get("max_lora", "")).isdecimal():
        return 0, frozenset()
    names = f"{latest[0].get('running_lora_adapters', '')},{latest[0].get('waiting_lora_adapters', '')}"
    return int(most), frozenset(name.strip() for name in names.split(",") if name.strip())
