"""Counting never stands in an answer's way."""

from __future__ import annotations

from proxy.observability.call import Call
from proxy.observability.metrics import Metrics


def test_negative_token_counts_from_an_engine_count_as_none() -> None:
    metrics = Metrics({})
    metrics.record(Call("id", "POST", "/", model="m", engine="e", prompt_tokens=-5, completion_tokens=-7))
    metrics.record(Call("id", "POST", "/", model="m", engine="e", prompt_tokens=2, completion_tokens=3))
    text = metrics.render().decode()
    assert 'switchboard_tokens_total{engine="e",kind="prompt",model="m"} 2.0' in text
    assert 'switchboard_tokens_total{engine="e",kind="completion",model="m"} 3.0' in text


def test_an_answer_that_failed_after_its_head_is_told_from_a_sound_one() -> None:
    metrics = Metrics({})
    for status, error in ((200, None), (200, "cut off"), (502, "refused")):
        metrics.record(Call("id", "POST", "/", model="m", engine="e", status=status, error=error))
    assert 'switchboard_broken_answers_total{engine="e",model="m"} 1.0' in metrics.render().decode()
