"""A stream of audio from the messages that carry it to the captions that come of it."""

from __future__ import annotations

from backends.inprocess.executor import Executor
from proxy.captions.asking import Models
from proxy.captions.audio import Inlet, pcm, webm
from proxy.captions.hearing import Hearing
from proxy.captions.stream import Stream
from proxy.captions.wiring import Wiring


class Live:
    """One stream: fed by one side, run by another."""

    def __init__(self, wiring: Wiring, max_seconds: float, *, decoding: Executor, computing: Executor) -> None:
        self._wiring = wiring
        self._decoding = decoding
        self._inlet = Inlet()
        self._hearing = Hearing(computing, max_seconds)
        models = Models(wiring.plan, wiring.run, computing)
        self._stream = Stream(wiring.name, self._hearing, models, wiring.tell, wiring.fail)

    @property
    def seconds(self) -> float:
        """Of audio heard."""
        return self._hearing.seconds

    async def feed(self, data: bytes) -> None:
        """More audio. Waits while there is much that was not heard yet; after the end it goes nowhere."""
        await self._inlet.put(data)

    def end(self) -> None:
        """There is no more audio: what was said last becomes final."""
        self._inlet.end()

    async def run(self) -> bool:
        """Until the audio ends and all is told; False when it was cut off for being too long.

        Raises ApiError or BackendError when it cannot go on.
        """
        inlet = self._inlet
        try:
            return await self._stream.run(pcm(inlet) if self._wiring.format == "pcm16" else webm(inlet, self._decoding))
        finally:
            inlet.close()
