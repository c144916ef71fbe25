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

"""As much of tf2_ros as the node uses, for machines without it; its message is not on PyPI.

Transforms come one by one as geometry_msgs/TransformStamped on /tf and /tf_static. As in tf2 a
moving link is interpolated between the two nearest times and never extrapolated; a static one holds
at any time.
"""

from __future__ import annotations

import bisect

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile


class TransformException(Exception):
    pass


class LookupException(TransformException):
    pass


class ExtrapolationException(TransformException):
    pass


class Buffer:
    def __init__(self):
        self._moving: dict[tuple[str, str], list[tuple[int, np.ndarray]]] = {}
        self._static: dict[tuple[str, str], np.ndarray] = {}

    def set_transform(self, message: TransformStamped, is_static: bool) -> None:
        pair = (message.header.frame_id, message.child_frame_id)
        shift, turn = message.transform.translation, message.transform.rotation
        numbers = np.array([turn.x, turn.y, turn.z, turn.w, shift.x, shift.y, shift.z])
        if is_static:
            self._static[pair] = numbers
        else:
            stamp = message.header.stamp
            history = self._moving.setdefault(pair, [])
            bisect.insort(history, (stamp.sec * 10**9 + stamp.nanosec, numbers), key=lambda x: x[0])
            del history[:-500]

    def lookup_transform(self, target: str, source: str, time) -> TransformStamped:
        pair = (target, source)
        if pair in self._static:
            return _message(self._static[pair], time.nanoseconds)
        history = list(self._moving.get(pair, ()))
        if not history:
            raise LookupException(f'"{target}" passed to lookupTransform does not exist.')
        wanted = time.nanoseconds or history[-1][0]
        if wanted > history[-1][0]:
            raise ExtrapolationException("Lookup would require extrapolation into the future.")
        if wanted < history[0][0]:
            raise ExtrapolationException("Lookup would require extrapolation into the past.")
        after = bisect.bisect_left(history, wanted, key=lambda entry: entry[0])
        if history[after][0] == wanted:
            return _message(history[after][1], wanted)
        (start, first), (end, second) = history[after - 1], history[after]
        share = (wanted - start) / (end - start)
        numbers = (1.0 - share) * first + share * second
        numbers[:4] /= np.linalg.norm(numbers[:4])
        return _message(numbers, wanted)

    def clear(self) -> None:
        self._moving.clear()


class TransformListener:
    def __init__(self, buffer: Buffer, node):
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._node = node
        self._subscriptions = [
            node.create_subscription(
                TransformStamped, "/tf", lambda one: buffer.set_transform(one, False), 100
            ),
            node.create_subscription(
                TransformStamped, "/tf_static", lambda one: buffer.set_transform(one, True), latched
            ),
        ]

    def unregister(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


def _message(numbers: np.ndarray, nanoseconds: int) -> TransformStamped:
    message = TransformStamped()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 10**9)
    shift, turn = message.transform.translation, message.transform.rotation
    turn.x, turn.y, turn.z, turn.w, shift.x, shift.y, shift.z = map(float, numbers)
    return message
