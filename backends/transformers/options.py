"""A request's sampling options settled against the model's own defaults, or refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from backends.errors import Invalid, Unsupported
from backends.transformers.sampling import Rules
from backends.types import Sampling

_RANGES = {
    "temperature": (0.0, math.inf, "0 or more"),
    "top_p": (math.ulp(0.0), 1.0, "above 0 and at most 1"),
    "top_k": (-1, math.inf, "1 or more, or 0 or -1 for off"),
    "min_p": (0.0, 1.0, "from 0 to 1"),
    "repetition_penalty": (0.01, 100.0, "from 0.01 to 100"),
    "frequency_penalty": (-2.0, 2.0, "from -2 to 2"),
    "presence_penalty": (-2.0, 2.0, "from -2 to 2"),
    "n": (1, 128, "from 1 to 128"),
    "top_logprobs": (0, 20, "from 0 to 20"),
    "seed": (-(2**63), 2**63 - 1, "a 64-bit integer"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What holds for each answer.

    max_tokens: the caller's wish; default_tokens: the model's, where the caller has none; both None = what the context
    leaves. top_logprobs None = no logprobs wanted.
    """

    rules: Rules
    max_tokens: int | None
    default_tokens: int | None
    seed: int | None
    stop: tuple[str, ...]
    n: int
    top_logprobs: int | None


def settle(sampling: Sampling, defaults: Mapping[str, float], vocabulary: int) -> Options:
    """The options in force: the caller's, else the model's.

    defaults: the model's generation_config under its own names, applied as vLLM does (so do_sample does not matter and
    the temperature is 1 where nobody says otherwise). vocabulary: number of token ids. Raises Invalid, Unsupported.
    """
    _check(sampling)
    most = defaults.get("max_new_tokens")
    return Options(
        rules=_rules(sampling, defaults, vocabulary),
        max_tokens=sampling.max_tokens,
        default_tokens=None if most is None else int(most),
        seed=sampling.seed,
        stop=sampling.stop,
        n=sampling.n,
        top_logprobs=sampling.top_logprobs if sampling.logprobs else None,
    )


def room(options: Options, *, prompt: int, context: int, param: str, least: int = 1) -> int:
    """How many tokens an answer may have. All in tokens; param: the field that the prompt came in; least: the fewest.

    Raises Invalid when the prompt leaves no room, and when prompt and max_tokens together exceed the context.
    """
    left = context - prompt
    asked = options.max_tokens
    if left < least:
        raise Invalid(
            f"The prompt has {prompt} tokens and the model's context is {context} tokens; shorten the prompt.",
            param=param,
        )
    if asked is None:
        return left if options.default_tokens is None else min(left, options.default_tokens)
    if asked < least:
        raise Invalid(f"max_tokens is {asked}; it must be at least {least}.", param="max_tokens")
    if asked > left:
        raise Invalid(
            f"max_tokens is {asked} and the prompt has {prompt} tokens, together more than the model's context of "
            f"{context} tokens; ask for at most {left}.",
            param="max_tokens",
        )
    return asked


def room_apart(options: Options, *, most: int, least: int) -> int:
    """The same for a model whose answers take no room of the prompt's, and have at most `most` tokens."""
    asked = options.max_tokens
    if asked is None:
        return most if options.default_tokens is None else min(most, options.default_tokens)
    if not least <= asked <= most:
        raise Invalid(
            f"max_tokens is {asked}; this model's answers have from {least} to {most} tokens.", param="max_tokens"
        )
    return asked


def _check(sampling: Sampling) -> None:
    for name, (low, high, words) in _RANGES.items():
        value = getattr(sampling, name)
        if value is not None and not (low <= value <= high and value < math.inf):
            raise Invalid(f"{name} is {value}; it must be {words}.", param=name)
    if sampling.best_of not in {None, sampling.n}:
        raise Unsupported(
            f"best_of is {sampling.best_of} and n is {sampling.n}: answers are not ranked here; leave best_of out.",
            param="best_of",
        )
    if sampling.top_logprobs and not sampling.logprobs:
        raise Invalid("top_logprobs needs logprobs: true.", param="top_logprobs")
    if "" in sampling.stop:
        raise Invalid("stop has an empty string, which would stop before the first character.", param="stop")


def _rules(sampling: Sampling, defaults: Mapping[str, float], vocabulary: int) -> Rules:
    def settled(name: str, neutral: float) -> float:
        asked = getattr(sampling, name)
        return float(defaults.get(name, neutral) if asked is None else asked)

    return Rules(
        temperature=settled("temperature", 1.0),
        top_p=settled("top_p", 1.0),
        top_k=max(0, int(settled("top_k", 0))),
        min_p=settled("min_p", 0.0),
        repetition_penalty=settled("repetition_penalty", 1.0),
        frequency_penalty=settled("frequency_penalty", 0.0),
        presence_penalty=settled("presence_penalty", 0.0),
        logit_bias=_bias(sampling.logit_bias or {}, vocabulary),
    )


def _bias(asked: Mapping[str, float], vocabulary: int) -> dict[int, float]:
    bias = {}
    for name, value in asked.items():
        if not (name.isascii() and name.isdigit() and len(name) < 10 and int(name) < vocabulary):
            raise Invalid(
                f"logit_bias names token {name!r}; this model's token ids are 0 to {vocabulary - 1}.",
                param="logit_bias",
            )
        if not -100.0 <= value <= 100.0:
            raise Invalid(f"logit_bias for token {name} is {value}; it must be from -100 to 100.", param="logit_bias")
        bias[int(name)] = value
    return bias
