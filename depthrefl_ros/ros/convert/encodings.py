"""Image encodings: from the bytes of a ``sensor_msgs/Image`` to 8 bit channels.

Plain encodings become exact views of the message's own bytes, whatever its step and byte order;
of 16 bit channels the high byte is taken (``>> 8``). YUV, Bayer and the rest go through
cv_bridge. It is handed only what all of its versions get right (packed rows of 8 bit), and where
it is missing or does not know an encoding that OpenCV does, OpenCV converts.
"""

from __future__ import annotations

import functools
import sys
from array import array
from typing import NamedTuple

import cv2
import numpy as np
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
}

# OpenCV names a Bayer pattern by the second row's second and third pixel.
_YUV_TO_BGR = {
    "yuv422": cv2.COLOR_YUV2BGR_UYVY,
    "uyvy": cv2.COLOR_YUV2BGR_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2BGR_YUY2,
    "yuyv": cv2.COLOR_YUV2BGR_YUY2,
}
_BAYER_TO_BGR = {
    "bayer_rggb8": cv2.COLOR_BayerBG2BGR,
    "bayer_bggr8": cv2.COLOR_BayerRG2BGR,
    "bayer_gbrg8": cv2.COLOR_BayerGR2BGR,
    "bayer_grbg8": cv2.COLOR_BayerGB2BGR,
}
_BAYER_16 = {name[:-1] + "16": name for name in _BAYER_TO_BGR}
KNOWN_ENCODINGS = (*PLAIN_ENCODINGS, *_YUV_TO_BGR, *_BAYER_TO_BGR, *_BAYER_16)


def plain_view(message: Image, topic: str) -> np.ndarray:
    """The pixels of a plain encoding, as they lie in the message.

    Args:
        message: with an encoding of ``PLAIN_ENCODINGS``.
        topic: named in errors.

    Returns:
        (H, W, C) or, for one channel, (H, W) uint8. A view of the message's bytes for 8 bit
        channels; a packed copy of the high bytes for 16 bit channels.

    Raises:
        MessageError: size, step and data do not fit together.
    """
    encoding = PLAIN_ENCODINGS[message.encoding]
    return _channel_view(message, encoding.count, encoding.channel_bytes, topic)


def converted_to_bgr(message: Image, topic: str) -> np.ndarray:
    """The pixels of an encoding that is not plain.

    Returns:
        (H, W, 3) uint8, blue first.

    Raises:
        MessageError: the encoding is unknown to cv_bridge and to OpenCV, or size, step and data
            do not fit together.
    """
    name = message.encoding
    if name in _YUV_TO_BGR:
        if message.width % 2:
            raise MessageError(
                f"{topic}: width is {message.width}; {name} holds pixels in pairs, so it must "
                "be even"
            )
        packed, code = _channel_view(message, 2, 1, topic), _YUV_TO_BGR[name]
    elif name in _BAYER_TO_BGR or name in _BAYER_16:
        packed = _channel_view(message, 1, 2 if name in _BAYER_16 else 1, topic)
        name = _BAYER_16.get(name, name)
        code = _BAYER_TO_BGR[name]
    else:
        return _bridged(message, topic)
    packed = np.ascontiguousarray(packed)
    try:
        return _bridged(_packed_message(message, name, packed), topic)
    except MessageError:
        return cv2.cvtColor(packed, code)


def _channel_view(message: Image, count: int, channel_bytes: int, topic: str) -> np.ndarray:
    """The high (or only) byte of each channel: (H, W, count) or (H, W) uint8."""
    height, width, step = message.height, message.width, message.step
    pixel_bytes = count * channel_bytes
    check_layout(message, pixel_bytes, topic)
    raw = np.frombuffer(message.data, np.uint8)
    if channel_bytes == 1:
        strides, first = (step, pixel_bytes, 1), 0
    else:
        strides, first = (step, pixel_bytes, 2), 0 if message.is_bigendian else 1
    view = np.ndarray((height, width, count), np.uint8, raw, first, strides)
    if count == 1:
        view = view[..., 0]
    return view if channel_bytes == 1 else np.ascontiguousarray(view)


def check_layout(message: Image, pixel_bytes: int, topic: str) -> None:
    """Holds size, step and data of an image against each other.

    Args:
        message: the image.
        pixel_bytes: bytes of one pixel.
        topic: named in errors.

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
    if len(message.data) < step * height:
        raise MessageError(
            f"{topic}: data has {len(message.data)} bytes; step {step} x height {height} needs "
            f"{step * height}"
        )


def _packed_message(message: Image, encoding: str, packed: np.ndarray) -> Image:
    """The same image with packed rows: old versions of cv_bridge ignore ``step``."""
    copy = Image(header=message.header, height=message.height, width=message.width)
    copy.encoding = encoding
    copy.is_bigendian = int(sys.byteorder == "big")
    copy.step = packed.nbytes // message.height
    copy.data = array("B", packed.tobytes())
    return copy


@functools.cache
def _bridge() -> tuple[object | None, str]:
    """cv_bridge's converter, imported when it is first needed; or None, and why there is none."""
    try:
        from cv_bridge import CvBridge

        return CvBridge(), ""
    except Exception as error:  # built for another numpy it fails with more than ImportError
        return None, str(error)


def _bridged(message: Image, topic: str) -> np.ndarray:
    """(H, W, 3) uint8 BGR by cv_bridge."""
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
