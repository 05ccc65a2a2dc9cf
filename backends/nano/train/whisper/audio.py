"""Sound as numbers: resampling, coloured noise, and log-mel frames as Whisper computes them."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor

RATE = 16000
HOP = 160
WINDOW = 400
MELS = 80
FLOOR = -10.0  # log10 of the least power

Samples = NDArray[np.float32]
LogMel = NDArray[np.float32]


@cache
def resampling_kernel(up: int, down: int) -> tuple[torch.Tensor, int]:
    """One low-pass filter per output phase [up, 1, width], and its reach in input samples: a sinc under Kaiser's window."""
    half = 10 * max(up, down)
    reach = -(-half // up)
    taps = np.arange(-half, half + 1)
    prototype = np.sinc(taps / max(up, down)) * np.kaiser(len(taps), 5.0)
    prototype *= up / prototype.sum()
    at = down * np.arange(up)[:, None] - up * (np.arange(down + 2 * reach)[None] - reach)
    kernel = np.where(np.abs(at) <= half, prototype[np.clip(at, -half, half) + half], 0.0)
    return torch.tensor(kernel, dtype=torch.float32)[:, None], reach


def resampled(samples: Samples, rate: int) -> Samples:
    """`samples` of `rate` Hz at 16 kHz."""
    divisor = int(np.gcd(rate, RATE))
    up, down = RATE // divisor, rate // divisor
    kernel, reach = resampling_kernel(up, down)
    steps = -(-len(samples) // down)
    padded = np.pad(samples, (reach, steps * down - len(samples) + reach))
    phases = torch.nn.functional.conv1d(torch.from_numpy(padded)[None, None], kernel, stride=down)
    resampled_length = -(-len(samples) * up // down)
    result: Samples = phases[0].T.reshape(-1)[:resampled_length].numpy()
    return result


def noise(random: np.random.RandomState, length: int, kind: int) -> Samples:
    """Noise of standard deviation 1: white, pink, brown or bluish for `kind` 0 to 3."""
    white = random.standard_normal(length).astype(np.float32)
    if kind == 0:
        return white
    spectrum = np.fft.rfft(white)
    spectrum *= np.maximum(np.arange(len(spectrum)), 20.0) ** (0.0, -0.5, -1.0, 0.3)[kind]
    coloured = np.fft.irfft(spectrum, length)
    unit: Samples = (coloured / (coloured.std() + 1e-9)).astype(np.float32)
    return unit


@cache
def mel_filters() -> torch.Tensor:
    """Whisper's filter bank [80, 201]."""
    return torch.tensor(WhisperFeatureExtractor().mel_filters.T, dtype=torch.float32)


def log_mel(samples: Samples) -> LogMel:
    """log10 mel power [80, frames of 10 ms], before Whisper clamps and scales it."""
    spectrum = torch.stft(torch.from_numpy(samples), WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True)
    power = mel_filters() @ spectrum[..., :-1].abs() ** 2
    frames: LogMel = torch.log10(power.clamp_min(1e-10)).numpy()
    return frames


def scaled(frames: LogMel) -> LogMel:
    """Log-mel frames as Whisper's encoder takes them: 80 dB of range, about -1 to 1."""
    loudest: np.float32 = frames.max()
    unit: LogMel = (np.maximum(frames, loudest - np.float32(8)) + np.float32(4)) / np.float32(4)
    return unit
