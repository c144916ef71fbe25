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

"""What the live view listens to: each topic as reliably as its publishers offer at the moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from depthrefl_ros.ros.subscriptions import image_profile, offer_on


@dataclass(frozen=True)
class _Opened:
    """A subscription, and what it was made with."""

    kind: type
    profile: QoSProfile
    subscription: Any


class LiveSubscriptions:
    """Subscriptions that follow what is wanted and what the publishers offer.

    A publisher may come after the viewers: before it, nobody knows how reliable it will be, and
    best effort loses large images. So its topic is then subscribed to anew.

    Args:
        node: that subscribes.
    """

    def __init__(self, node: Node):
        self._node = node
        self._opened: dict[str, _Opened] = {}

    def follow(self, wanted: Mapping[str, tuple[type, Callable[[Any], None]]]) -> None:
        """Listen to these topics and no others; to be called again and again.

        Args:
            wanted: type and callback by topic; the callback of a topic stays the first one.
        """
        for topic in self._opened.keys() - wanted.keys():
            self._close(topic)
        for topic, (kind, callback) in wanted.items():
            opened = self._opened.get(topic)
            offer = offer_on(self._node, topic)
            if opened is not None and opened.kind is kind and not offer.publishers:
                continue
            profile = image_profile(offer, "auto")
            if opened is not None:
                if (opened.kind, opened.profile) == (kind, profile):
                    continue
                self._close(topic)
            subscription = self._node.create_subscription(kind, topic, callback, profile)
            self._opened[topic] = _Opened(kind, profile, subscription)

    def _close(self, topic: str) -> None:
        self._node.destroy_subscription(self._opened.pop(topic).subscription)
