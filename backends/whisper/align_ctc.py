"""Where a wav2vec2 model hears each character, by whisperX's CTC alignment. Needs whisperX: import on first use."""

from __future__ import annotations

from pathlib import Path

import torch
from whisperx.alignment import backtrack, get_trellis, load_align_model, merge_repeats

from backends.errors import Unavailable
from backends.inprocess.audio import SAMPLE_RATE, Samples
from backends.whisper.align import Span

# The least that wav2vec2's convolutions take.
SHORTEST = 400


class Ctc:
    """A loaded model. whisperX's own `align` is not used: it downloads a sentence splitter, and segments stay whole here."""

    def __init__(self, directory: Path, language: str, device: str, setting: str) -> None:
        """Raises Unavailable naming the setting when the directory holds no whole model."""
        try:
            self._model, metadata = load_align_model(language, device, model_name=str(directory), model_cache_only=True)
        except ValueError as error:
            raise Unavailable(f"The model that {setting} names cannot be loaded; its log says why.") from error
        self._device = device
        self._codes: dict[str, int] = metadata["dictionary"]
        self._blank = next((code for char, code in self._codes.items() if char in {"[pad]", "<pad>"}), 0)

    def find(self, samples: Samples, text: str) -> list[Span] | None:
        """One span for each character; those the model does not know match whatever is said. None: they do not fit."""
        scores = self._scores(samples)
        wildcard = scores.shape[1]
        tokens = [self._codes.get(char, wildcard) for char in text]
        if len(tokens) > len(scores):
            return None
        scores = torch.cat([scores, self._loudest(scores)], dim=1)
        trellis = get_trellis(scores, tokens, self._blank)
        path = backtrack(trellis, scores, tokens, self._blank)
        if path is None:
            return None
        seconds = len(samples) / SAMPLE_RATE / len(scores)
        return [Span(mark.start * seconds, mark.end * seconds, mark.score) for mark in merge_repeats(path, text)]

    def _scores(self, samples: Samples) -> torch.Tensor:
        """Log-probabilities, (frames, characters)."""
        waveform = torch.tensor(samples)
        waveform = torch.nn.functional.pad(waveform, (0, max(0, SHORTEST - len(waveform))))
        with torch.inference_mode():
            logits = self._model(waveform[None].to(self._device)).logits
            return torch.log_softmax(logits, dim=-1)[0].cpu()

    def _loudest(self, scores: torch.Tensor) -> torch.Tensor:
        """(frames, 1): the score of the likeliest character of each frame."""
        spoken = scores.clone()
        spoken[:, self._blank] = -torch.inf
        return spoken.max(dim=1, keepdim=True).values
