"""Messages that go out, each written in place: one message object and one buffer, used again.

A ``uint8[]`` field holds an ``array.array('B')``, and numpy sees the same bytes through a view, so
what is computed into the view is what gets published. ``publish`` serialises before it returns; the
buffer is free again afterwards. The view is taken of the field and not of what was assigned to it:
in some ROS releases assigning copies.
"""

from __future__ import annotations

import sys
from array import array

import numpy as np
from sensor_msgs.msg import Image, PointCloud2, PointField

_IS_BIG_ENDIAN = sys.byteorder == "big"


class ImageBuffer:
    """An image message and the array that its bytes are.

    Args:
        height: pixels.
        width: pixels.
        encoding: ``32FC1``, ``bgr8`` or another, as it goes into the message.
        dtype: of one channel.
        channels: 1 gives an array (H, W), more give (H, W, channels).

    Attributes:
        message: what is published; the header is the caller's to set.
        pixels: (H, W[, channels]), written in place.
    """

    def __init__(self, height: int, width: int, encoding: str, dtype: type, channels: int = 1):
        step = width * channels * np.dtype(dtype).itemsize
        self.message = Image(height=height, width=width, encoding=encoding, step=step)
        self.message.is_bigendian = int(_IS_BIG_ENDIAN)
        self.message.data = array("B", bytes(height * step))
        shape = (height, width) if channels == 1 else (height, width, channels)
        self.pixels = np.frombuffer(self.message.data, dtype).reshape(shape)


class CloudBuffer:
    """An organised PointCloud2 of x, y, z and rgb, and the array that its bytes are.

    Args:
        height: rows of pixels.
        width: columns of pixels.

    Attributes:
        message: what is published; the header is the caller's to set.
        points: (H, W, 4) float32, written in place: x, y, z in metres, NaN for no point, and the
            colour's four bytes b, g, r, a in the fourth.
    """

    POINT_STEP = 16

    def __init__(self, height: int, width: int):
        self.message = PointCloud2(height=height, width=width, point_step=self.POINT_STEP)
        self.message.fields = [
            PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
            for index, name in enumerate(("x", "y", "z", "rgb"))
        ]
        self.message.row_step = width * self.POINT_STEP
        self.message.is_bigendian = _IS_BIG_ENDIAN
        self.message.is_dense = False  # pixels without a believed depth are NaN
        self.message.data = array("B", bytes(height * width * self.POINT_STEP))
        self.points = np.frombuffer(self.message.data, np.float32).reshape(height, width, 4)
