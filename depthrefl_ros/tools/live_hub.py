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

"""The hub of the live page: what the node gave, handed to every viewer as fast as it takes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Protocol

MAX_VIEWERS = 16
LINGER_S = 2.0  # the node is listened to for so long after the last viewer: pages are reloaded


class Viewer(Protocol):
    """One open page, as the hub knows it.

    Attributes:
        is_ready: whether it has drawn what it got.
        seen: number of the last frame that it got.
    """

    is_ready: bool
    seen: int

    def tell(self, news: dict[str, Any]) -> None:
        """Send news."""

    def send(self, data: bytes | str) -> None:
        """Send a message; a connection that is going away costs nothing."""

    def close(self, code: int, reason: str) -> None:
        """End the connection with a WebSocket's code and the reason in words."""


class Hub:
    """Hands what the node gave to every viewer, each as fast as it takes it.

    A viewer gets the next frame when it has drawn the last one: behind a slow line the picture is
    seldom, not old.

    Args:
        greeting: the first message to a new viewer.
        on_watched: told whether anybody looks.
        on_set: gets parameter and value from a viewer; None where nobody may set anything.
    """

    def __init__(
        self,
        greeting: dict[str, Any],
        on_watched: Callable[[bool], None],
        on_set: Callable[[str, Any], None] | None,
    ):
        self._greeting, self._on_watched, self._on_set = greeting, on_watched, on_set
        self._viewers: set[Viewer] = set()
        self._frame: bytes | None = None
        self._frame_number = 0
        self._status: dict[str, Any] | None = None
        self._values: dict[str, Any] = {}
        self._is_watched = False

    def take_frame(self, frame: bytes) -> None:
        """Take the newest frame; viewers that are ready get it now."""
        self._frame, self._frame_number = frame, self._frame_number + 1
        for viewer in list(self._viewers):
            self._feed(viewer)

    def take_news(self, news: dict[str, Any]) -> None:
        """Take news for everybody; what is current is kept for those who come later."""
        if news["kind"] == "status":
            if self._status is not None and self._status["node"] != news["node"]:
                self._values.clear()
                self._frame = None
            self._status = news
        elif news["kind"] == "values":
            self._values.update(news["values"])
        self._tell_all(news)

    def join(self, viewer: Viewer) -> None:
        """Take in a viewer and tell it all that is current."""
        self._viewers.add(viewer)
        viewer.tell(self._greeting)
        if self._status is not None:
            viewer.tell(self._status)
        if self._values:
            viewer.tell({"kind": "values", "values": self._values})
        if not self._is_watched:
            self._is_watched, self._frame = True, None
            self._on_watched(True)
        self._feed(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Let a viewer go; the node is left alone soon after the last one."""
        self._viewers.discard(viewer)
        if not self._viewers:
            asyncio.get_running_loop().call_later(LINGER_S, self._rest)

    @property
    def has_viewers(self) -> bool:
        """Whether anybody looks."""
        return bool(self._viewers)

    @property
    def is_full(self) -> bool:
        """Whether no more viewers are taken."""
        return len(self._viewers) >= MAX_VIEWERS

    def hear(self, viewer: Viewer, asked: dict[str, Any]) -> None:
        """Do what a viewer asks for."""
        if asked.get("kind") == "ready":
            viewer.is_ready = True
            self._feed(viewer)
        elif asked.get("kind") == "set" and self._on_set is not None:
            self._on_set(str(asked.get("name")), asked.get("value"))

    def close(self) -> None:
        """Say goodbye to all viewers."""
        for viewer in list(self._viewers):
            viewer.close(1001, "the view has ended")

    def _rest(self) -> None:
        if not self._viewers and self._is_watched:
            self._is_watched = False
            self._on_watched(False)

    def _feed(self, viewer: Viewer) -> None:
        if viewer.is_ready and self._frame is not None and viewer.seen < self._frame_number:
            viewer.is_ready, viewer.seen = False, self._frame_number
            viewer.send(self._frame)

    def _tell_all(self, news: dict[str, Any]) -> None:
        text = json.dumps(news, allow_nan=False)
        for viewer in list(self._viewers):
            viewer.send(text)
