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

"""Clouds: messages to points, and points to messages.

The bytes of an organised cloud are written in place, as those of an image (``images``).
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING

import numpy as np

from depthrefl_ros.ros.convert.encodings import MessageError

if TYPE_CHECKING:  # files of recordings are read without ROS
    from sensor_msgs.msg import PointCloud2

_FLOAT32, _FLOAT64 = 7, 8  # of PointField
_FIELD_TYPES = {_FLOAT32: "f4", _FLOAT64: "f8"}
_FLOAT_BYTES = 4
_IS_BIG_ENDIAN = sys.byteorder == "big"


def cloud_to_points(message: PointCloud2, topic: str) -> np.ndarray:
    """Return the points of a cloud.

    Args:
        message: any cloud with x, y and z as FLOAT32 or FLOAT64, in either endianness.
        topic: named in errors.

    Returns:
        (n, 3) float32, in metres, NaN where the cloud has none.

    Raises:
        MessageError: x, y or z is missing or of another type, or size, steps and data do not make
            a cloud.
    """
    shape = rows, columns = message.height, message.width
    if rows == 0 or columns == 0:
        return np.empty((0, 3), np.float32)
    strides = (message.row_step, message.point_step)
    places = [_place(message, name, topic) for name in "xyz"]  # checked before memory is taken
    points = np.empty((*shape, 3), np.float32)
    for axis, (dtype, offset) in enumerate(places):
        points[..., axis] = np.ndarray(shape, dtype, message.data, offset, strides)
    return points.reshape(-1, 3)


def _place(message: PointCloud2, name: str, topic: str) -> tuple[np.dtype, int]:
    """Return the type of a field and its offset in a point, bytes; all points have it."""
    rows, columns = message.height, message.width
    row_step, point_step = message.row_step, message.point_step
    fields = {field.name: field for field in message.fields}
    field = fields.get(name)
    kind = _FIELD_TYPES.get(field.datatype) if field else None
    if kind is None:
        found = f"of type {field.datatype}" if field else f"missing among {sorted(fields)}"
        raise MessageError(
            f"{topic}: field {name!r} is {found}; FLOAT32 (7) or FLOAT64 (8) is needed"
        )
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    end = field.offset + dtype.itemsize
    if point_step < end:
        raise MessageError(
            f"{topic}: point_step is {point_step} bytes; a point whose {name!r} is at "
            f"{field.offset} needs at least {end}"
        )
    if rows > 1 and row_step < columns * point_step:
        raise MessageError(
            f"{topic}: row_step is {row_step} bytes; {columns} points of point_step {point_step} "
            f"need at least {columns * point_step}"
        )
    needed = (rows - 1) * row_step + (columns - 1) * point_step + end
    if len(message.data) < needed:
        raise MessageError(
            f"{topic}: data has {len(message.data)} bytes; {columns}x{rows} points of "
            f"point_step {point_step} and row_step {row_step} need {needed}"
        )
    return dtype, field.offset


class CloudBuffer:
    """An organised PointCloud2 of float32 fields, and the array that its bytes are.

    Args:
        height: rows of pixels.
        width: columns of pixels.
        fields: their names, in order.

    Attributes:
        message: what is published; the header is the caller's to set.
        points: (H, W, fields) float32, written in place: x, y, z in metres, NaN for no point; the
            ``rgb`` field is the colour's four bytes b, g, r, a.
    """

    def __init__(self, height: int, width: int, fields: tuple[str, ...] = ("x", "y", "z", "rgb")):
        self.message = _empty_cloud(height, width, fields)
        self.message.is_dense = False  # pixels without a believed depth are NaN
        self.message.data = array("B", bytes(height * self.message.row_step))
        shape = (height, width, len(fields))
        self.points = np.frombuffer(self.message.data, np.float32).reshape(shape)


def cloud_message(points: np.ndarray, fields: tuple[str, ...]) -> PointCloud2:
    """Return a PointCloud2 without rows, whose number of points changes from frame to frame.

    Args:
        points: (n, fields) float32; all are finite.
        fields: their names, in order.
    """
    message = _empty_cloud(1, len(points), fields)
    message.is_dense = True
    data = array("B")
    data.frombytes(np.ascontiguousarray(points, np.float32).tobytes())
    message.data = data
    return message


def _empty_cloud(height: int, width: int, fields: tuple[str, ...]) -> PointCloud2:
    from sensor_msgs.msg import PointCloud2, PointField

    message = PointCloud2(height=height, width=width, is_bigendian=_IS_BIG_ENDIAN)
    message.fields = [
        PointField(name=name, offset=_FLOAT_BYTES * i, datatype=_FLOAT32, count=1)
        for i, name in enumerate(fields)
    ]
    message.point_step = _FLOAT_BYTES * len(fields)
    message.row_step = width * message.point_step
    return message
