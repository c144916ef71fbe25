"""Images: messages to arrays, and arrays that are a message's own bytes.

A ``uint8[]`` field holds an ``array.array('B')``, and numpy sees the same bytes through a view, so
what is computed into the view is what gets published. ``publish`` serialises before it returns; the
buffer is free again afterwards. The view is taken of the field and not of what was assigned to it:
in some ROS releases assigning copies.
"""

from __future__ import annotations

import sys
from array import array

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from depthrefl_ros.ros.convert.encodings import (
    PLAIN_ENCODINGS,
    MessageError,
    check_layout,
    converted_to_bgr,
    plain_view,
)

__all__ = [
    "ImageBuffer",
    "MessageError",
    "compressed_image_to_array",
    "image_to_array",
    "write_millimetres",
]

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_IS_BIG_ENDIAN = sys.byteorder == "big"
_MILLIMETRES = 1000.0
_LARGEST_UINT16 = 65535.0


def image_to_array(message: Image, topic: str) -> tuple[np.ndarray, str]:
    """The pixels of an image message.

    Args:
        message: any encoding that ``encodings`` knows or cv_bridge converts.
        topic: named in errors.

    Returns:
        (H, W, C) uint8, or (H, W) for mono, and the order of the channels: ``rgb``, ``bgr``,
        ``rgba``, ``bgra`` or ``mono``. Plain 8 bit encodings are views of the message's bytes,
        so the array is good for as long as the message is not written to.

    Raises:
        MessageError: encoding, size, step and data do not make an image.
    """
    plain = PLAIN_ENCODINGS.get(message.encoding)
    if plain is not None:
        return plain_view(message, topic), plain.channels
    check_layout(message, 1, topic)
    return converted_to_bgr(message, topic), "bgr"


def compressed_image_to_array(message: CompressedImage, topic: str) -> tuple[np.ndarray, str]:
    """The pixels of a compressed image message (JPEG, PNG and what else OpenCV reads).

    Returns:
        (H, W, 3) uint8 and ``bgr``.

    Raises:
        MessageError: the data are empty, cut short or no picture.
    """
    data = np.frombuffer(message.data, np.uint8)
    described = f"{topic}: data of format {message.format!r} has {data.size} bytes"
    if data.size == 0:
        raise MessageError(f"{described}; it must hold an encoded picture")
    head = data[:2].tobytes()
    # Older OpenCV fills the missing part of a JPEG with grey: depth out of nothing.
    if head == _JPEG_START and _JPEG_END not in data.tobytes():
        raise MessageError(f"{described} and no JPEG end marker: the picture was cut short")
    try:
        # ROS pictures are upright as they are sent; EXIF must not turn them.
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise MessageError(f"{described} that OpenCV refuses: {error}") from error
    if image is None:
        raise MessageError(f"{described} that are no JPEG, PNG or other picture OpenCV can read")
    return image, "bgr"


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
