"""From a model's logits to the next token: bias, penalties, temperature, min-p, top-k, top-p, and the draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from backends.errors import Broken

GREEDY_BELOW = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How tokens are chosen, every value settled. top_k 0 = off; logit_bias: token id -> what is added to its logit."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    @property
    def penalise(self) -> bool:
        """Whether earlier tokens matter."""
        return (self.repetition_penalty, self.frequency_penalty, self.presence_penalty) != (1.0, 0.0, 0.0)


class History:
    """The tokens that penalties are about. counts: how often the answer has each; seen: which the prompt or it has."""

    def __init__(self, prompt: Sequence[int], vocabulary: int, device: str) -> None:
        self.counts = torch.zeros(vocabulary, device=device)
        self.seen = torch.zeros(vocabulary, device=device, dtype=torch.bool)
        self.seen[torch.tensor(prompt, device=device, dtype=torch.long)] = True

    def add(self, token: int) -> None:
        """Take in a token of the answer."""
        self.counts[token] += 1
        self.seen[token] = True


def penalise(logits: Tensor, rules: Rules, history: History) -> Tensor:
    """The logits [vocabulary] less what earlier tokens cost.

    Frequency and presence as OpenAI defines them, repetition as CTRL does (arXiv:1909.05858).
    """
    if rules.repetition_penalty != 1.0:
        weakened = torch.where(logits > 0, logits / rules.repetition_penalty, logits * rules.repetition_penalty)
        logits = torch.where(history.seen, weakened, logits)
    return logits - rules.frequency_penalty * history.counts - rules.presence_penalty * (history.counts > 0)


def distribution(logits: Tensor, rules: Rules) -> Tensor:
    """The probabilities [vocabulary] to draw from at a temperature above zero; what the rules cut off has exactly 0.

    min-p is measured on the whole distribution, top-p on what top-k leaves; the likeliest token always stays.
    """
    scaled = logits / rules.temperature
    if rules.min_p > 0.0:
        scaled = scaled.masked_fill(scaled < scaled.max() + math.log(rules.min_p), -math.inf)
    if 0 < rules.top_k < scaled.numel():
        scaled = scaled.masked_fill(scaled < scaled.topk(rules.top_k).values[-1], -math.inf)
    probabilities = scaled.softmax(-1)
    if rules.top_p < 1.0:
        ordered, places = probabilities.sort(descending=True, stable=True)
        ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= rules.top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, places, ordered)
        probabilities = probabilities / probabilities.sum()
    return probabilities


class Sampler:
    """Chooses the tokens of one answer: its rules, its own random numbers, and the tokens so far."""

    def __init__(self, rules: Rules, prompt: Sequence[int], *, vocabulary: int, seed: int | None, device: str) -> None:
        self._rules = rules
        self._random = torch.Generator(device)
        if seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(seed)
        self._biased = torch.tensor(list(rules.logit_bias), device=device, dtype=torch.long)
        self._bias = torch.tensor(list(rules.logit_bias.values()), device=device, dtype=torch.float32)
        self._history = History(prompt, vocabulary, device) if rules.penalise else None

    def pick(self, logits: Tensor) -> int:
        """The next token's id, remembered for the penalties. logits: float32 [vocabulary]. Raises Broken on NaN."""
        if bool(logits.isnan().any()):
            raise Broken("The model computed NaN instead of a next token; load it with compute_type float32.")
        if self._rules.logit_bias:
            logits = logits.index_add(-1, self._biased, self._bias)
        if self._history is not None:
            logits = penalise(logits, self._rules, self._history)
        if self._rules.temperature < GREEDY_BELOW:
            token = int(logits.argmax())
        else:
            token = int(torch.multinomial(distribution(logits, self._rules), 1, generator=self._random))
        if self._history is not None:
            self._history.add(token)
        return token
