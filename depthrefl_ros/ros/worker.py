# Copyright 2026 depthrefl_ros contributors
# SPDX-License-Identifier: Apache-2.0
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""One thread that always works on the newest item, and says how long it has been at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Cameras jitter. Without leeway a limit of half the camera's rate would let every third frame
# through.
_LEEWAY = 0.2


class NewestWorker(Generic[Item]):
    """Runs ``process`` in a thread of its own; a newer item replaces one that waits.

    Args:
        process: called in the thread, one item at a time; must not raise.
        name: of the thread.
    """

    def __init__(self, process: Callable[[Item], None], name: str):
        self._process = process
        self._changed = threading.Condition()
        self._waiting: Item | None = None
        self._stopping = False
        self._busy_since_s: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def busy_s(self) -> float:
        """Seconds that the present item has taken so far; 0 between items."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def submit(self, item: Item) -> Item | None:
        """Leave an item to the thread without blocking.

        Returns:
            The item that was waiting and will now never be processed, or None.
        """
        with self._changed:
            superseded, self._waiting = self._waiting, item
            self._changed.notify()
        return superseded

    def stop(self, timeout_s: float) -> tuple[bool, Item | None]:
        """End the thread after the item it works on.

        Args:
            timeout_s: longest wait for that item, seconds.

        Returns:
            Whether the thread has ended, and the item that was waiting and will now never be
            processed, or None.
        """
        with self._changed:
            self._stopping = True
            left, self._waiting = self._waiting, None
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive(), left

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._waiting is not None)
                if self._stopping:
                    return
                item, self._waiting = self._waiting, None
                self._busy_since_s = time.monotonic()
            try:
                self._process(item)
            finally:
                self._busy_since_s = None


class RateLimit:
    """Lets frames through at a limited rate."""

    def __init__(self) -> None:
        self._due_s = -float("inf")

    def allows(self, now_s: float, rate_hz: float) -> bool:
        """Return whether a frame that comes now keeps the rate; if so, it counts.

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
