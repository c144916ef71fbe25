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

"""The robot's other sensors: their newest messages, stored by the executor for the worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time as Stamp
from sensor_msgs.msg import Image, Imu, PointCloud2, Range
from std_msgs.msg import Header

from depthrefl_ros.geometry.scale import GROUND, MOTION, RANGE, REFERENCE_DEPTH, REFERENCE_POINTS
from depthrefl_ros.ros.convert.clouds import cloud_to_points
from depthrefl_ros.ros.convert.images import MessageError, depth_image_to_metres
from depthrefl_ros.ros.parameters import Parameters

IMU = "imu"
SENSOR_TYPES = {
    IMU: Imu,
    RANGE: Range,
    REFERENCE_POINTS: PointCloud2,
    REFERENCE_DEPTH: Image,
}
_DEPTHS = 5  # depth images kept, to find the one of the image's stamp
_CLOUDS = 5  # likewise
_IMU_READINGS = 50  # kept to be averaged: vibration cancels
_IMU_S = 1.0  # readings that are further from the newest tell how the camera leaned once


def seconds_of(stamp: Stamp) -> float:
    """Return a message's stamp in seconds."""
    return stamp.sec + 1e-9 * stamp.nanosec


def needed_sensors(anchors: Sequence[str]) -> frozenset[str]:
    """Return the topics of ``SENSOR_TYPES`` that some anchors of the scale need."""
    return frozenset(IMU if one == GROUND else one for one in anchors if one != MOTION)


def told(error: Exception) -> str:
    """Return an error that nobody expected, for people."""
    return f"{type(error).__name__}: {error}"


def _nearest(messages: Sequence[Any], stamp: Stamp) -> Any:
    """Return the message with a header that is nearest to a time, of several as near the newest."""
    wanted_s = seconds_of(stamp)
    return min(
        reversed(messages),
        key=lambda one: abs(seconds_of(one.header.stamp) - wanted_s),
        default=None,
    )


class Sensors:
    """Stores the newest messages of the robot's other sensors.

    ``take`` and ``keep_only`` are the executor's; what reads is the worker's.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget what all sensors said."""
        self.keep_only(frozenset())

    def keep_only(self, topics: frozenset[str]) -> None:
        """Forget what the sensors said that are not among these topics."""
        if IMU not in topics:
            self._imu: deque[Imu] = deque(maxlen=_IMU_READINGS)
        if RANGE not in topics:
            self._range: Range | None = None
        if REFERENCE_POINTS not in topics:
            self._clouds: deque[PointCloud2] = deque(maxlen=_CLOUDS)
            self._points: tuple[PointCloud2 | None, np.ndarray] = (None, np.zeros((0, 3)))
        if REFERENCE_DEPTH not in topics:
            self._depths: deque[Image] = deque(maxlen=_DEPTHS)

    def take(self, topic: str, message: Imu | Range | PointCloud2 | Image) -> None:
        """Store a sensor's message.

        Args:
            topic: one of ``SENSOR_TYPES``.
            message: of its type.
        """
        if topic == IMU:
            self._imu.append(message)
        elif topic == RANGE:
            self._range = message
        elif topic == REFERENCE_DEPTH:
            self._depths.append(message)
        else:
            self._clouds.append(message)

    def acceleration(self) -> tuple[Header | None, np.ndarray, str]:
        """Return the mean of the IMU's readings of the last second, finite and of one frame.

        Returns:
            The newest of their headers, or None where there are none; the mean (3,), m/s2; and a
            doubt where some were not finite, else nothing.
        """
        found = [(one.header, one.linear_acceleration) for one in list(self._imu)]
        readings = [(header, np.array((a.x, a.y, a.z))) for header, a in found]
        finite = [(header, reading) for header, reading in readings if np.isfinite(reading).all()]
        doubt = ""
        if len(finite) < len(readings):
            bad = len(readings) - len(finite)
            doubt = f"{bad} of {len(readings)} imu readings are not finite: not used"
        if not finite:
            return None, np.zeros(3), doubt
        newest = finite[-1][0]
        newest_s = seconds_of(newest.stamp)
        recent = [one for one in finite if abs(seconds_of(one[0].stamp) - newest_s) <= _IMU_S]
        of_frame = [reading for header, reading in recent if header.frame_id == newest.frame_id]
        return newest, np.mean(of_frame, axis=0), doubt

    def pop_range(self) -> Range | None:
        """Return the ranger's message if there is one since the last call."""
        message, self._range = self._range, None
        return message

    def cloud(self, stamp: Stamp) -> PointCloud2 | None:
        """Return the cloud of reference points that is nearest to a time, or None."""
        return _nearest(list(self._clouds), stamp)

    def points_of(self, cloud: PointCloud2) -> np.ndarray:
        """Return the (n, 3) metres of a cloud in its own frame, read once.

        Raises:
            MessageError: it cannot be read.
        """
        if self._points[0] is not cloud:
            self._points = (cloud, cloud_to_points(cloud, REFERENCE_POINTS))
        return self._points[1]

    def reference_depth(
        self, header: Header, size: tuple[int, int], parameters: Parameters
    ) -> np.ndarray | None:
        """Return what a depth camera saw beside an image.

        Looked for when the network is done: a depth image often comes a little after the picture
        of the same stamp, and no frame waits for it.

        Args:
            header: of the image, as it came.
            size: (width, height) of the image, pixels.
            parameters: the node's.

        Returns:
            (H, W) float32 metres of the image's pixels, NaN where unknown; None where no depth
            image ever came.

        Raises:
            MessageError: there is none of the image's moment, or it is not aligned with it.
        """
        depths = list(self._depths)
        if not depths:
            return None
        tolerance_s = parameters.inputs.reference_depth_tolerance_s
        message = _nearest(depths, header.stamp)
        ahead_s = seconds_of(message.header.stamp) - seconds_of(header.stamp)
        if abs(ahead_s) > tolerance_s:
            raise MessageError(
                f"{REFERENCE_DEPTH} is {abs(ahead_s):.2f} s {'newer' if ahead_s > 0 else 'older'} "
                f"than the image: not used (reference_depth_tolerance is {tolerance_s:g} s)"
            )
        theirs, frames = message.header.frame_id, {header.frame_id, parameters.optical_frame_id}
        found = (message.width, message.height)
        if found != size or theirs not in frames:
            raise MessageError(
                f"{REFERENCE_DEPTH} is {found[0]}x{found[1]} in frame {theirs!r}, the image is "
                f"{size[0]}x{size[1]} in {header.frame_id!r}: not used; take the depth topic that "
                "the driver aligns with the image"
            )
        try:
            depth_m = depth_image_to_metres(message, REFERENCE_DEPTH)
        except MessageError:
            raise
        except Exception as error:  # whatever a bad message raises, it must not cost the frame
            raise MessageError(f"{REFERENCE_DEPTH} cannot be read: {told(error)}") from error
        with np.errstate(invalid="ignore"):
            depth_m[~((depth_m > 0.0) & (depth_m < np.inf))] = np.nan
        return depth_m
