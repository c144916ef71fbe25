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

"""Image encodings: from the bytes of a ``sensor_msgs/Image`` to 8 bit channels.

Plain encodings of 8 bit become exact views of the message's own bytes, whatever its step. Of wider
channels the 8 highest bits that the camera uses are taken. OpenCV converts YUV and Bayer; an
encoding that sensor_msgs does not know goes to cv_bridge where it is installed.

Sensors of 10, 12 or 14 bits often leave the high bits of 16 at zero, and no field of the message
says so: ``SensorBits`` learns it from the pictures.
"""

from __future__ import annotations

import functools
import re
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:  # files of recordings are read without ROS
    from sensor_msgs.msg import Image


class MessageError(ValueError):
    """A message that cannot be used; names the topic, the field, its value and what is right."""


class PlainEncoding(NamedTuple):
    """Interleaved channels of 8 or 16 bit.

    Attributes:
        channels: ``rgb``, ``bgr``, ``rgba``, ``bgra`` or ``mono``.
        count: number of channels.
        channel_bytes: 1 or 2.
    """

    channels: str
    count: int
    channel_bytes: int = 1


# OpenCV's generic types carry colours in OpenCV's own order.
PLAIN_ENCODINGS = {
    "rgb8": PlainEncoding("rgb", 3),
    "bgr8": PlainEncoding("bgr", 3),
    "rgba8": PlainEncoding("rgba", 4),
    "bgra8": PlainEncoding("bgra", 4),
    "mono8": PlainEncoding("mono", 1),
    "8UC1": PlainEncoding("mono", 1),
    "8UC3": PlainEncoding("bgr", 3),
    "8UC4": PlainEncoding("bgra", 4),
    "rgb16": PlainEncoding("rgb", 3, 2),
    "bgr16": PlainEncoding("bgr", 3, 2),
    "rgba16": PlainEncoding("rgba", 4, 2),
    "bgra16": PlainEncoding("bgra", 4, 2),
    "mono16": PlainEncoding("mono", 1, 2),
    "16UC1": PlainEncoding("mono", 1, 2),
    "16UC3": PlainEncoding("bgr", 3, 2),
    "16UC4": PlainEncoding("bgra", 4, 2),
}

_PACKED_YUV = {
    "yuv422": cv2.COLOR_YUV2BGR_UYVY,
    "uyvy": cv2.COLOR_YUV2BGR_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2BGR_YUY2,
    "yuyv": cv2.COLOR_YUV2BGR_YUY2,
}
# A plane of brightness, and below it a plane of colour with half as many rows and columns.
_TWO_PLANES = {"nv12": cv2.COLOR_YUV2BGR_NV12, "nv21": cv2.COLOR_YUV2BGR_NV21}
_NV24 = "nv24"  # the plane of colour is as wide and high as that of brightness
# OpenCV names a Bayer pattern by the second row's second and third pixel.
_BAYER = {
    "bayer_rggb": cv2.COLOR_BayerBG2BGR,
    "bayer_bggr": cv2.COLOR_BayerRG2BGR,
    "bayer_gbrg": cv2.COLOR_BayerGR2BGR,
    "bayer_grbg": cv2.COLOR_BayerGB2BGR,
}
_BAYER_BITS = ("8", "16")
KNOWN_ENCODINGS = (
    *PLAIN_ENCODINGS,
    *_PACKED_YUV,
    *_TWO_PLANES,
    _NV24,
    *(pattern + bits for pattern in _BAYER for bits in _BAYER_BITS),
)

_WORKING = "publish rgb8, bgr8 or mono8"
_NO_PICTURES = (
    (re.compile(r"8UC2|16UC2"), f"two channels are no colour; {_WORKING}"),
    (re.compile(r"(8|16|32)SC\d*"), f"it has no known black and white; {_WORKING}"),
    (re.compile(r"(32|64)FC\d*"), f"depth or raw values, with no known white; {_WORKING}"),
)


_SENSOR_BITS = (10, 12, 14, 16)
_SAMPLES = 20_000  # pixels of a picture that are looked at
# Of them, so many may be above what the sensor can say: faulty pixels, and what a driver writes
# into some of them, such as a frame counter.
_ABOVE_SHARE = 0.001
_NEWEST = 10  # pictures that are remembered
_TELLING = 3  # of them that must show more bits before these count for good


class SensorBits:
    """Learns from a camera's pictures how many bits it uses; one object for one stream.

    A dark picture does not change the brightness of a camera that is known, and a corrupt one
    changes that of no other picture.
    """

    def __init__(self) -> None:
        self._known = 0  # before there are as many pictures as tell it
        self._newest: deque[int] = deque(maxlen=_NEWEST)

    def of(self, values: np.ndarray) -> int:
        """Take in one picture; return how many bits of its values count.

        Args:
            values: (H, W) or (H, W, C) uint16, in either byte order.
        """
        here = bits_in(values)
        self._newest.append(here)
        used = max(self._newest) if not self._known else max(self._known, here)
        if len(self._newest) >= _TELLING:
            self._known = max(self._known, sorted(self._newest)[-_TELLING])
        return used


def bits_in(values: np.ndarray) -> int:
    """Return 10, 12, 14 or 16: the bits that one picture uses, whatever a few pixels show."""
    # Odd, so that every colour of a Bayer mosaic is looked at.
    step = int((values.shape[0] * values.shape[1] / _SAMPLES) ** 0.5) // 2 * 2 + 1
    sample = values[::step, ::step]
    allowed = int(_ABOVE_SHARE * sample.size)
    return next(
        bits
        for bits in _SENSOR_BITS
        if bits == _SENSOR_BITS[-1] or np.count_nonzero(sample >= 1 << bits) <= allowed
    )


def plain_view(message: Image, topic: str, bits: SensorBits) -> np.ndarray:
    """Return the pixels of a plain encoding, as they lie in the message.

    Args:
        message: with an encoding of ``PLAIN_ENCODINGS``.
        topic: named in errors.
        bits: of the camera.

    Returns:
        (H, W, C) or, for one channel, (H, W) uint8. A view of the message's bytes for 8 bit
        channels; a packed copy for 16 bit channels.

    Raises:
        MessageError: size, step and data do not fit together.
    """
    encoding = PLAIN_ENCODINGS[message.encoding]
    return _channels(message, encoding.count, encoding.channel_bytes, topic, bits)


def converted_to_bgr(message: Image, topic: str, bits: SensorBits) -> np.ndarray:
    """Return the pixels of an encoding that is not plain.

    Returns:
        (H, W, 3) uint8, blue first.

    Raises:
        MessageError: the encoding is no picture's or unknown, or size, step and data do not fit
            together.
    """
    name = message.encoding
    if name in _PACKED_YUV:
        _check_even(message, topic, "width")
        packed = np.ascontiguousarray(_channels(message, 2, 1, topic, bits))
        return cv2.cvtColor(packed, _PACKED_YUV[name])
    if name in _TWO_PLANES:
        _check_even(message, topic, "width", "height")
        bright, colour = _planes(message, message.height // 2, 1, topic)
        return cv2.cvtColor(np.concatenate((bright, colour)), _TWO_PLANES[name])
    if name == _NV24:
        bright, colour = _planes(message, message.height, 2, topic)
        return _bgr_of_nv24(bright, colour.reshape(*bright.shape, 2))
    if bayer_pattern(name):
        channel_bytes = 2 if name.endswith("16") else 1
        return demosaic(_channels(message, 1, channel_bytes, topic, bits), name)
    for pattern, why_not in _NO_PICTURES:
        if pattern.fullmatch(name):
            raise MessageError(f"{topic}: encoding is {name!r}: {why_not}")
    check_layout(message, 1, topic)
    return _bridged(message, topic)


def bayer_pattern(encoding: str) -> str:
    """Return ``bayer_rggb`` for ``bayer_rggb8`` or ``bayer_rggb16``; empty for what is none."""
    pattern = encoding.rstrip("0123456789")
    return pattern if pattern in _BAYER and encoding[len(pattern) :] in _BAYER_BITS else ""


def demosaic(mosaic: np.ndarray, encoding: str) -> np.ndarray:
    """Return the (H, W, 3) uint8 BGR picture of a Bayer mosaic, (H, W) uint8.

    Args:
        mosaic: what the sensor saw.
        encoding: one of the eight of sensor_msgs, ``bayer_rggb8``...
    """
    return cv2.cvtColor(np.ascontiguousarray(mosaic), _BAYER[bayer_pattern(encoding)])


def to_8_bits(values: np.ndarray, bits: SensorBits) -> np.ndarray:
    """Return the 8 highest bits of those that a camera uses.

    Args:
        values: uint16, in the machine's byte order or the other.
        bits: of the camera; takes this picture in.

    Returns:
        uint8 of the same shape, packed; 255 where a value has more bits than the camera.
    """
    high = values >> (bits.of(values) - 8)
    if high.max(initial=0) > 255:  # seldom, and to limit takes longer than to look
        np.minimum(high, 255, out=high)
    return high.astype(np.uint8)


def _channels(
    message: Image, count: int, channel_bytes: int, topic: str, bits: SensorBits
) -> np.ndarray:
    """Return (H, W, count) or (H, W) uint8 of interleaved channels."""
    height, width, step = message.height, message.width, message.step
    pixel_bytes = count * channel_bytes
    check_layout(message, pixel_bytes, topic)
    kind = np.dtype(np.uint8 if channel_bytes == 1 else np.uint16)
    kind = kind.newbyteorder(">" if message.is_bigendian else "<")
    shape, strides = (height, width, count), (step, pixel_bytes, channel_bytes)
    view = np.ndarray(shape, kind, message.data, 0, strides)
    if count == 1:
        view = view[..., 0]
    return view if channel_bytes == 1 else to_8_bits(view, bits)


def _planes(message: Image, rows: int, steps: int, topic: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (H, W) uint8 of brightness and (rows, steps * W) uint8 of colour behind it."""
    height, width, step = message.height, message.width, message.step
    check_layout(message, 1, topic, height + rows * steps)
    bright = np.ndarray((height, width), np.uint8, message.data, 0, (step, 1))
    # Of the colour plane a row is as long as one of brightness, or twice as long.
    shape, strides = (rows, steps * width), (steps * step, 1)
    return bright, np.ndarray(shape, np.uint8, message.data, height * step, strides)


def _bgr_of_nv24(bright: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 BGR of (H, W) brightness and (H, W, 2) colour.

    OpenCV has no conversion for it: every pixel becomes a pair of one that it has.
    """
    pairs = np.stack((np.repeat(bright, 2, axis=1), colour.reshape(len(bright), -1)), axis=-1)
    return np.ascontiguousarray(cv2.cvtColor(pairs, cv2.COLOR_YUV2BGR_YUY2)[:, ::2])


def _check_even(message: Image, topic: str, *sides: str) -> None:
    for side in sides:
        if getattr(message, side) % 2:
            raise MessageError(
                f"{topic}: {side} is {getattr(message, side)}; {message.encoding} holds pixels in "
                "pairs, so it must be even"
            )


def check_layout(message: Image, pixel_bytes: int, topic: str, rows: int = 0) -> None:
    """Hold size, step and data of an image against each other.

    Args:
        message: the image.
        pixel_bytes: bytes of one pixel in its first plane.
        topic: named in errors.
        rows: of all planes, each of ``step`` bytes; 0 where there is but one plane.

    Raises:
        MessageError: they do not fit together.
    """
    height, width, step = message.height, message.width, message.step
    if width == 0 or height == 0:
        raise MessageError(f"{topic}: the image is {width}x{height}; it must have pixels")
    if step < width * pixel_bytes:
        raise MessageError(
            f"{topic}: step is {step} bytes; {width} pixels of {message.encoding} need at least "
            f"{width * pixel_bytes}"
        )
    needed = step * (rows or height)
    if len(message.data) < needed:
        planes = f" and {rows - height} rows of colour" if rows else ""
        raise MessageError(
            f"{topic}: data has {len(message.data)} bytes; step {step} x height {height}{planes} "
            f"needs {needed}"
        )


@functools.cache
def _bridge() -> tuple[object | None, str]:
    """Return cv_bridge's converter, imported when first needed; or None, and why there is none."""
    try:
        from cv_bridge import CvBridge

        return CvBridge(), ""
    except Exception as error:  # built for another numpy it fails with more than ImportError
        return None, str(error)


def _bridged(message: Image, topic: str) -> np.ndarray:
    """Return (H, W, 3) uint8 BGR by cv_bridge."""
    name = message.encoding
    known = f"known without it are {', '.join(KNOWN_ENCODINGS)}"
    bridge, why_not = _bridge()
    if bridge is None:
        raise MessageError(
            f"{topic}: encoding is {name!r} and cv_bridge, which might convert it, cannot be "
            f"imported ({why_not}); {known}"
        )
    try:
        return bridge.imgmsg_to_cv2(message, "bgr8")
    except Exception as error:  # KeyError, TypeError, RuntimeError, cv2.error: as versions go
        raise MessageError(
            f"{topic}: encoding is {name!r}, which cv_bridge cannot convert ({error}); {known}"
        ) from error
