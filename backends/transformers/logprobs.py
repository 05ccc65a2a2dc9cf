"""Log-probabilities as the model gave them, before any sampling rule."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from backends.types import TokenLogprob


def token_logprob(logits: Tensor, token: int, top: int, spell: Callable[[int], str]) -> TokenLogprob:
    """The log-probability of token and of the `top` likeliest tokens. logits: raw, float32 [vocabulary]."""
    logprobs = logits.log_softmax(-1)
    best = logprobs.topk(top)
    alternatives = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return TokenLogprob(
        spell(token), float(logprobs[token]), tuple((spell(other), value) for other, value in alternatives), token
    )
