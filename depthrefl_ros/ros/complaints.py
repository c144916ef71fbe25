"""What is wrong with frames and their surroundings, told in diagnostics and, throttled, the log."""

from __future__ import annotations

from depthrefl_ros.ros.diagnostics import ERROR, WARN, Diagnostics
from depthrefl_ros.ros.throttle import Throttle


class Complaints:
    """Tells of what may come up again with every frame.

    Args:
        diagnostics: told every time.
        logger: of the node; told once a while for each kind.
    """

    def __init__(self, diagnostics: Diagnostics, logger):
        self._diagnostics, self._logger = diagnostics, logger
        self._throttle = Throttle()

    def warn(self, kind: str, message: str) -> None:
        """Something is not as it should be.

        Args:
            kind: short name; a later problem of the same kind takes its place.
            message: for people.
        """
        self._diagnostics.problem(kind, message, WARN)
        if self._throttle.allows(kind):
            self._logger.warning(message)

    def error(self, kind: str, message: str, details: str) -> None:
        """Something failed that should not fail; ``details`` are for the log."""
        self._diagnostics.problem(kind, message, ERROR)
        if self._throttle.allows(kind):
            self._logger.error(details)
