"""SIGINT and SIGTERM end a process in good order, however often they come."""

from __future__ import annotations

import signal


class StopSignals:
    """From now on the first SIGINT or SIGTERM sets ``requested``, and more change nothing.

    Two SIGINTs in a row are common: Ctrl-C goes to the whole process group, and ``ros2 launch``
    passes its own on. rclpy's handlers would let the second one interrupt the shutdown.

    Attributes:
        requested: the process has been asked to end.
    """

    _NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested = False
        for number in self._NUMBERS:
            signal.signal(number, self._request)

    def ignore(self) -> None:
        """To be called last: the interpreter puts other handlers back to killing, this it keeps."""
        for number in self._NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def _request(self, _number: int, _frame: object) -> None:
        self.requested = True
