"""What TGI's /metrics say of how busy it is."""

from __future__ import annotations

from backends.base import Gauges
from backends.remote.prometheus import told, total


def read_gauges(text: bytes, engine: str) -> Gauges:
    """Its queue and its batch, and the part of its tokens that the batch may grow to. Raises Broken without a queue and a batch.

    TGI tells of either once it had a first request.
    """
    room = total(text, "tgi_batch_max_total_tokens")
    taken = total(text, "tgi_batch_current_max_tokens")
    return Gauges(
        waiting=told(total(text, "tgi_queue_size"), engine),
        running=told(total(text, "tgi_batch_current_size"), engine),
        kv=min(1.0, max(0.0, taken / room)) if room and taken is not None else None,
        cache_tokens=int(room) if room and room > 0 else None,
    )
