"""How likely each moment of a stream is speech, by the detector that finds speech in files, too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model

from backends.inprocess.audio import Samples

STEP = 512
"""Samples that are judged at a time."""
CONTEXT = 64
STATE = (1, 1, 128)


class Detector:
    """Listens to one stream. Made and used off the event loop: it computes, and its first one reads the model."""

    def __init__(self) -> None:
        self._session = get_vad_model().session
        self._h: npt.NDArray[np.float32] = np.zeros(STATE, np.float32)
        self._c: npt.NDArray[np.float32] = np.zeros(STATE, np.float32)
        self._before: Samples = np.zeros(CONTEXT, np.float32)

    def probabilities(self, samples: Samples) -> list[float]:
        """Of each step, after all that came before. samples: whole steps."""
        steps = samples.reshape(-1, STEP)
        ends = np.concatenate([self._before[None], steps[:-1, -CONTEXT:]])
        told = {"input": np.concatenate([ends, steps], 1), "h": self._h, "c": self._c}
        output, self._h, self._c = self._session.run(None, told)
        self._before = steps[-1, -CONTEXT:]
        return [float(probability) for probability in np.ravel(output)]
