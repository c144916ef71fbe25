"""One thread that always works on the newest item."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


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
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> Item | None:
        """Leaves an item to the thread without blocking.

        Returns:
            The item that was waiting and will now never be processed, or None.
        """
        with self._changed:
            superseded, self._waiting = self._waiting, item
            self._changed.notify()
        return superseded

    def stop(self) -> Item | None:
        """Ends the thread after the item it works on.

        Returns:
            The item that was waiting and will now never be processed, or None.
        """
        with self._changed:
            self._stopping = True
            left, self._waiting = self._waiting, None
            self._changed.notify()
        self._thread.join()
        return left

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._waiting is not None)
                if self._stopping:
                    return
                item, self._waiting = self._waiting, None
            self._process(item)
