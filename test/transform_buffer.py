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

"""What tf2's Python package would know, where it is not installed."""

from __future__ import annotations

import math

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.time import Time

from depthrefl_ros.geometry.pose import Pose


def transform(shift=(0.0, 0.0, 0.0), turn=(0.0, 0.0, 0.0, 1.0)) -> TransformStamped:
    message = TransformStamped()
    vector, quaternion = message.transform.translation, message.transform.rotation
    vector.x, vector.y, vector.z = shift
    quaternion.x, quaternion.y, quaternion.z, quaternion.w = turn
    return message


def quaternion(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """Return x, y, z, w of a rotation (3, 3), by the largest of the four (Shepperd 1978)."""
    trace = np.trace(rotation)
    # 4 q q^T without its fourth row and column, which the antisymmetric part gives.
    square = rotation + rotation.T + (1.0 - trace) * np.eye(3)
    x, y, z = (rotation[j, i] - rotation[i, j] for i, j in ((1, 2), (2, 0), (0, 1)))
    products = np.block([[square, np.array([[x], [y], [z]])], [np.array([[x, y, z]]), 1.0 + trace]])
    largest = products[np.diag(products).argmax()]
    return tuple((largest / np.linalg.norm(largest)).tolist())


def transform_of(pose: Pose) -> TransformStamped:
    return transform(tuple(pose.translation.tolist()), quaternion(pose.rotation))


class TransformBuffer:
    """Answers like tf2_ros.Buffer: known transforms from a first to a last time, else an error."""

    def __init__(self, known: dict, last_s: float = math.inf):
        self.known, self.last_s = known, last_s
        self.was_cleared = self.was_unregistered = False

    def open(self, _node):
        """Stand in for ``open_tf2_buffer``."""
        return self, self._unregister

    def _unregister(self):
        self.was_unregistered = True

    def lookup_transform(self, target_frame, source_frame, time):
        assert isinstance(time, Time)  # what the documentation asks for
        if (target_frame, source_frame) not in self.known:
            raise LookupError(f'"{target_frame}" passed to lookupTransform does not exist.')
        if time.nanoseconds * 1e-9 > self.last_s:
            raise ValueError(
                f"Lookup would require extrapolation into the future. Requested {time.nanoseconds} "
                f"but the latest data is at time {self.last_s}"
            )
        found = self.known[target_frame, source_frame]
        stamp_s = time.nanoseconds * 1e-9 or min(self.last_s, 1e9)  # 0 is the newest
        found.header.stamp.sec, found.header.stamp.nanosec = int(stamp_s), int(stamp_s % 1 * 1e9)
        return found

    def clear(self):
        self.was_cleared = True
