"""Which requests kill workers: known by what they ask, so that they are known again when they are sent again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

# A request that was there when so many workers died is not run again.
DEADLY = 2


class Suspects:
    """Counts deaths by request. A death is blamed on those in flight that saw one before, else on all in flight."""

    def __init__(self, remembered: int = 1024) -> None:
        self._remembered = remembered
        self._deaths: OrderedDict[str, int] = OrderedDict()

    def suspected(self, request: str) -> bool:
        """Whether the request was there when a worker died, and has not ended well since."""
        return request in self._deaths

    def convicted(self, request: str) -> bool:
        """Whether it is not to be run again."""
        return self._deaths.get(request, 0) >= DEADLY

    def died(self, in_flight: Collection[str]) -> None:
        """A worker died while these ran."""
        for request in [known for known in in_flight if known in self._deaths] or in_flight:
            self._deaths[request] = self._deaths.get(request, 0) + 1
            self._deaths.move_to_end(request)
        while len(self._deaths) > self._remembered:
            self._deaths.popitem(last=False)

    def cleared(self, request: str) -> None:
        """It ended, and its worker lives."""
        self._deaths.pop(request, None)
