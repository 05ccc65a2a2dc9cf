"""Where a window ends that cannot hold all the sound that is left."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backends.whisper.model import FRAMES_PER_SECOND

# How far before its latest end a window may end, and how long a quiet place is: less than most pauses between words.
EARLIER, QUIET = 2 * FRAMES_PER_SECOND, 6


def window_size(features: npt.NDArray[np.float32], longest: int) -> int:
    """How many frames of the sound that is left the next window holds: all of it, or else `longest` at most.

    features: log-mel [bands, frames] of 10 ms. A window cut out of longer speech ends in the quietest place of its last two
    seconds, so that no word is cut in two if that can be helped.
    """
    left = int(features.shape[1])
    if left <= longest:
        return left
    loudness = features[:, longest - EARLIER : longest].mean(axis=0)
    quiet = np.convolve(loudness, np.full(QUIET, 1 / QUIET), mode="valid")
    latest = len(quiet) - 1 - int(np.argmin(quiet[::-1]))
    return longest - EARLIER + latest + QUIET // 2
