"""Lets frames through at a limited rate."""

from __future__ import annotations

# Cameras jitter. Without leeway a limit of half the camera's rate would let every third frame
# through.
_LEEWAY = 0.2


class RateLimit:
    """Remembers when the next frame is due."""

    def __init__(self) -> None:
        self._due_s = -float("inf")

    def allows(self, now_s: float, rate_hz: float) -> bool:
        """Whether a frame that comes now keeps the rate; if so, it counts.

        Args:
            now_s: seconds that never jump.
            rate_hz: the limit, 0 for none.
        """
        if rate_hz <= 0.0:
            return True
        period_s = 1.0 / rate_hz
        # The limit may have been raised since; at one limit a frame is never due later than this.
        self._due_s = min(self._due_s, now_s + 2.0 * period_s)
        if now_s < self._due_s - _LEEWAY * period_s:
            return False
        # Counted from when it was due, so that early frames do not raise the mean rate.
        self._due_s = max(self._due_s, now_s - period_s) + period_s
        return True
