"""What TGI cannot do on any route, refused by name."""

from __future__ import annotations

from typing import Final

from backends.errors import Invalid, Unsupported
from backends.types import Sampling

MAX_STOPS: Final = 4  # TGI's --max-stop-sequences, and OpenAI's own limit
SEEDS: Final = 2**64


def check_sampling(sampling: Sampling) -> None:
    """Raises Unsupported or Invalid for what TGI would refuse, misread or ignore. Neutral values pass: they ask for nothing."""
    if sampling.presence_penalty:
        # TGI's chat route would take it for a repetition penalty of p + 2.
        raise Unsupported(_cannot("a presence_penalty: use frequency_penalty"), param="presence_penalty")
    if sampling.logit_bias:
        raise Unsupported(_cannot("a logit_bias"), param="logit_bias")
    if sampling.min_p:
        raise Unsupported(_cannot("min_p: use top_p"), param="min_p")
    if len(sampling.stop) > MAX_STOPS:
        raise Invalid(f"At most {MAX_STOPS} stop sequences are possible, not {len(sampling.stop)}.", param="stop")
    if "" in sampling.stop:
        raise Invalid("A stop sequence cannot be empty.", param="stop")
    if sampling.seed is not None and not 0 <= sampling.seed < SEEDS:
        raise Invalid(f"seed must lie between 0 and {SEEDS - 1}, and is {sampling.seed}.", param="seed")


def is_greedy(sampling: Sampling) -> bool:
    """Whether the likeliest token is always taken. TGI knows no temperature 0: it wants none, and nothing else that samples."""
    return sampling.temperature == 0


def seed_of(sampling: Sampling, sample: int) -> int | None:
    """Sample number `sample` gets its own seed, or all would be the same text."""
    return None if sampling.seed is None else (sampling.seed + sample) % SEEDS


def narrow_top_p(top_p: float | None) -> float | None:
    """top_p, or None for 1: TGI refuses the value that changes nothing."""
    return None if top_p == 1 else top_p


def _cannot(what: str) -> str:
    return f"This model's engine (TGI) cannot honour {what}."
