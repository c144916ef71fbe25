"""Log messages that may repeat thirty times a second."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """Says whether it is time to speak of something again.

    Args:
        period_s: seconds of silence after each time.
        clock: seconds that never jump.
    """

    def __init__(self, period_s: float = 5.0, clock: Callable[[], float] = time.monotonic):
        self._period_s = period_s
        self._clock = clock
        self._spoken_s: dict[str, float] = {}

    def allows(self, kind: str) -> bool:
        """Whether nothing of this kind was allowed in the last period; if so, now it is."""
        now = self._clock()
        if now - self._spoken_s.get(kind, -float("inf")) < self._period_s:
            return False
        self._spoken_s[kind] = now
        return True
