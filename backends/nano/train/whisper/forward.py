"""Whisper's forward pass as training needs it: from any encoder position, with cheap padding, and with attention weights.

transformers' own pass takes 30 s windows alone; most of their positions would be padding here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from transformers import WhisperForConditionalGeneration

from backends.nano.train.common import IGNORED
from backends.nano.train.whisper.audio import MELS
from backends.nano.train.whisper.utterances import POSITIONS
from backends.nano.train.whisper.windows import Batch

GUIDED_HEADS = (0, 1)
"""Heads of the last decoder layer that are taught to look at the word being said; word times are read from them."""


@dataclass(frozen=True)
class Encoded:
    """Encoder output [rows, positions (+ padding), width], how many positions are sound, and the padding's bias."""

    states: torch.Tensor
    positions: int
    bias: torch.Tensor | None


class Attention(torch.autograd.Function):  # type: ignore[misc]  # torch leaves it untyped
    """softmax(q k' + bias) v one head at a time, with the weights kept for the way back.

    On a CPU and with narrow heads two to three times as quick as torch's own, which computes the weights again.
    """

    @staticmethod
    def forward(
        context: torch.autograd.function.FunctionCtx,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        """[rows, heads, positions, width] of `queries` that are scaled already; bias [keys] or none."""
        with torch.autocast("cpu", enabled=False):
            weights = queries.new_empty(*queries.shape[:-1], keys.shape[-2])
            mixed = torch.empty_like(queries)
            for at in np.ndindex(*queries.shape[:2]):
                scores = queries[at] @ keys[at].T
                weights[at] = torch.softmax(scores if bias is None else scores + bias, -1)
                mixed[at] = weights[at] @ values[at]
        context.save_for_backward(queries, keys, values, weights, mixed)
        return mixed

    @staticmethod
    def backward(
        context: torch.autograd.function.FunctionCtx, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        """Gradients of queries, keys and values."""
        queries, keys, values, weights, mixed = context.saved_tensors
        own = (gradient * mixed).sum(-1, keepdim=True)
        to_queries, to_keys, to_values = (torch.empty_like(x) for x in (queries, keys, values))
        for at in np.ndindex(*queries.shape[:2]):
            to_values[at] = weights[at].T @ gradient[at]
            to_scores = (gradient[at] @ values[at].T).sub_(own[at]).mul_(weights[at])
            to_queries[at] = to_scores @ keys[at]
            to_keys[at] = to_scores.T @ queries[at]
        return to_queries, to_keys, to_values, None


def attend(
    attention: torch.nn.Module,
    queries: torch.Tensor,
    keys: torch.Tensor,
    *,
    causal: bool = False,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Multi-head attention with the weights of a Whisper layer."""
    q, k, v = (
        projection(x).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for projection, x in ((attention.q_proj, queries), (attention.k_proj, keys), (attention.v_proj, keys))
    )
    if causal:
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        mixed = Attention.apply(q * attention.head_dim**-0.5, k, v, None if bias is None else bias[0, 0, 0].to(q.dtype))
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))


def attention_weights(
    attention: torch.nn.Module, queries: torch.Tensor, keys: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """What GUIDED_HEADS look at: [heads, rows, queries, keys]."""
    q, k = (
        projection(x).unflatten(-1, (attention.num_heads, -1))[:, :, list(GUIDED_HEADS)].permute(2, 0, 1, 3)
        for projection, x in ((attention.q_proj, queries), (attention.k_proj, keys))
    )
    scores = q @ k.transpose(-1, -2) * attention.head_dim**-0.5
    return torch.softmax(scores if bias is None else scores + bias[0], -1)


def feed_forward(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The second half of a layer, with its residual."""
    return x + layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(x))))


def encode(model: WhisperForConditionalGeneration, batch: Batch) -> Encoded:
    """Encode windows that begin at `batch.offsets`.

    With padding, a few sampled positions of silence stand for all of those up to 30 s: their keys weigh as many times
    more as there are positions for each, at a fraction of the cost.
    """
    encoder = model.model.encoder

    def convolved(frames: torch.Tensor) -> torch.Tensor:
        return F.gelu(encoder.conv2(F.gelu(encoder.conv1(frames)))).transpose(1, 2)

    x = convolved(batch.frames)
    rows, positions = x.shape[:2]
    embedded = encoder.embed_positions.weight
    x = x + embedded[batch.offsets[:, None] + torch.arange(positions)]
    bias = None
    left = POSITIONS - positions
    if batch.padding and left > 4 * batch.padding:
        ended = (batch.frames[:, :, -1] == 0).all(1)
        quietest = batch.frames.amin((1, 2)).masked_fill(ended, 0)[:, None, None].expand(-1, MELS, 10)
        share = left / batch.padding
        drawn = ((torch.arange(batch.padding) + torch.rand(rows, batch.padding)) * share).long().clamp(max=left - 1)
        x = torch.cat([x, convolved(quietest)[:, 2:3] + embedded[positions + drawn]], 1)
        bias = torch.zeros(1, 1, 1, positions + batch.padding)
        bias[..., positions:] = math.log(share)
    for layer in encoder.layers:
        normed = layer.self_attn_layer_norm(x)
        x = feed_forward(layer, x + attend(layer.self_attn, normed, normed, bias=bias))
    return Encoded(encoder.layer_norm(x), positions, bias)


def decode(
    model: WhisperForConditionalGeneration, inputs: torch.Tensor, encoded: Encoded
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Decoder states, and what the guided heads of the last two layers look at."""
    decoder = model.model.decoder
    x = decoder.embed_tokens(inputs) + decoder.embed_positions.weight[: inputs.shape[1]]
    looks = []
    for layer in decoder.layers:
        normed = layer.self_attn_layer_norm(x)
        x = x + attend(layer.self_attn, normed, normed, causal=True)
        normed = layer.encoder_attn_layer_norm(x)
        if layer in decoder.layers[-2:]:
            looks.append(attention_weights(layer.encoder_attn, normed, encoded.states, encoded.bias))
        x = feed_forward(layer, x + attend(layer.encoder_attn, normed, encoded.states, bias=encoded.bias))
    return decoder.layer_norm(x), looks


def guidance(looks: Sequence[torch.Tensor], spans: torch.Tensor) -> torch.Tensor:
    """How little the guided heads look at the spans; the layer below the last gets the same hint, weaker."""
    known = spans[..., 1] > 0
    positions = torch.arange(looks[0].shape[-1])
    first, last = spans[known].unbind(-1)
    inside = (positions >= first[:, None]) & (positions < last[:, None])
    below, top = (-((look[:, known] * inside).sum(-1) + 1e-4).log().mean() for look in looks)
    return top + 0.3 * below


def loss_of(
    model: WhisperForConditionalGeneration, phoneme_head: torch.nn.Module, batch: Batch, smoothing: float = 0.02
) -> torch.Tensor:
    """Cross-entropy of the tokens, plus two hints for training only: guided attention and the phoneme of each position."""
    encoded = encode(model, batch)
    states, looks = decode(model, batch.inputs, encoded)
    taught = batch.labels != IGNORED
    tokens = F.cross_entropy(model.proj_out(states[taught]), batch.labels[taught], label_smoothing=smoothing)
    # Silence is most of what there is: a seventh of it is enough.
    heard = (batch.phonemes > 0) | (torch.rand(batch.phonemes.shape) < 0.15)
    phonemes = F.cross_entropy(phoneme_head(encoded.states[:, : encoded.positions][heard]), batch.phonemes[heard])
    return tokens + 0.3 * guidance(looks, batch.spans) + 0.5 * phonemes
