"""When a caption under way is worth another look."""

from __future__ import annotations

FIRST_SECONDS = 0.5
"""Of speech before the first look."""
GROWTH_SECONDS = 0.4
"""Of audio between two."""
INTERVAL_SECONDS = 0.5
"""On the clock between two: nobody reads faster, and each look costs a transcription."""


def look_in(voiced: float, grown: float, since: float) -> float | None:
    """Seconds until an utterance should be looked at; None = not before more of it was heard.

    voiced: seconds that it has lasted; grown: of audio since the last look; since: on the clock since that look ended.

    >>> look_in(2.0, 1.0, 0.2), look_in(2.0, 0.1, 9.0), look_in(0.3, 0.3, 9.0)
    (0.3, None, None)
    """
    if voiced < FIRST_SECONDS or grown < GROWTH_SECONDS:
        return None
    return max(0.0, INTERVAL_SECONDS - since)
