"""Messages that go out: those of one size written in place, one message object used again.

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
_FLOAT_BYTES = 4
_MILLIMETRES = 1000.0
_LARGEST_UINT16 = 65535.0


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


def write_millimetres(depth_m: np.ndarray, out: np.ndarray) -> None:
    """Depth as 16UC1 has it (REP-118): whole millimetres, 0 where it is unknown.

    Args:
        depth_m: (H, W) float32 metres; NaN, infinite and more than 65.535 m give 0.
        out: (H, W) uint16 that is written.
    """
    millimetres = depth_m * np.float32(_MILLIMETRES)
    with np.errstate(invalid="ignore"):
        np.rint(millimetres, out=millimetres)
        is_known = (millimetres > 0.0) & (millimetres <= _LARGEST_UINT16)
    millimetres[~is_known] = 0.0
    np.copyto(out, millimetres, casting="unsafe")


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
    """A PointCloud2 without rows, whose number of points changes from frame to frame.

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
    message = PointCloud2(height=height, width=width, is_bigendian=_IS_BIG_ENDIAN)
    message.fields = [
        PointField(name=name, offset=_FLOAT_BYTES * i, datatype=PointField.FLOAT32, count=1)
        for i, name in enumerate(fields)
    ]
    message.point_step = _FLOAT_BYTES * len(fields)
    message.row_step = width * message.point_step
    return message
