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

"""Images: messages to arrays, and arrays that are a message's own bytes.

A ``uint8[]`` field holds an ``array.array('B')``, and numpy sees the same bytes through a view, so
what is computed into the view is what gets published. ``publish`` serialises before it returns; the
buffer is free again afterwards. The view is taken of the field and not of what was assigned to it:
in some ROS releases assigning copies.

Compressed images are named and described as image_transport's plugins do it. ``compressedDepth`` is
a small header, then a 16 bit PNG. The header is an int32 and two float32, A and B, little-endian.
Of 16UC1 the PNG is the image. Of 32FC1 it holds q = A / z + B, cut to whole numbers, and 0 where
depth is unknown: steps of z^2 / A metres, so that what is near is kept finely.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from typing import TYPE_CHECKING

import cv2
import numpy as np

from depthrefl_ros.image_files import jpeg_end, lacks_rows, png_end
from depthrefl_ros.ros.convert.encodings import (
    PLAIN_ENCODINGS,
    MessageError,
    SensorBits,
    bayer_pattern,
    check_layout,
    converted_to_bgr,
    demosaic,
    plain_view,
    to_8_bits,
)

if TYPE_CHECKING:  # files of recordings are read without ROS
    from sensor_msgs.msg import CompressedImage, Image

__all__ = [
    "METRES_FORMAT",
    "MILLIMETRES_FORMAT",
    "ImageBuffer",
    "MessageError",
    "compressed_depth_to_metres",
    "compressed_image",
    "compressed_image_to_array",
    "depth_image_to_metres",
    "encode_metres",
    "encode_millimetres",
    "image_to_array",
    "write_millimetres",
]

# "rgb8; jpeg compressed bgr8"; drivers that compress themselves write "jpeg" alone.
_FORMAT = re.compile(r"\s*([^;\s]*)\s*(?:;\s*(\w+)(?:\s+compressed\s*(\w*))?)?")
_JPEG_START = b"\xff\xd8"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_IS_BIG_ENDIAN = sys.byteorder == "big"
_MILLIMETRES = 1000.0
_LARGEST_UINT16 = 65535.0
_JPEG_QUALITY = 90
_HEADER = struct.Struct("<iff")  # method, A, B
METRES_FORMAT = "32FC1; compressedDepth png"
MILLIMETRES_FORMAT = "16UC1; compressedDepth png"
_INVERSE_DEPTH = 0  # the only method that there is
# The depth at which a step is about 1 m: what image_transport's publisher uses by default.
_QUANTIZATION = np.float32(100.0)
# Of zlib: 5 takes twice as long for 5 % less.
_PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def image_to_array(
    message: Image, topic: str, bits: SensorBits | None = None
) -> tuple[np.ndarray, str]:
    """Return the pixels of an image message.

    Args:
        message: any encoding that ``encodings`` knows or cv_bridge converts.
        topic: named in errors.
        bits: of the camera, which learns with every picture of 16 bits; None judges by this one.

    Returns:
        (H, W, C) uint8, or (H, W) for mono, and the order of the channels: ``rgb``, ``bgr``,
        ``rgba``, ``bgra`` or ``mono``. Plain 8 bit encodings are views of the message's bytes,
        so the array is good for as long as the message is not written to.

    Raises:
        MessageError: encoding, size, step and data do not make an image.
    """
    bits = bits or SensorBits()
    plain = PLAIN_ENCODINGS.get(message.encoding)
    if plain is not None:
        return plain_view(message, topic, bits), plain.channels
    return converted_to_bgr(message, topic, bits), "bgr"


def compressed_image_to_array(
    message: CompressedImage, topic: str, bits: SensorBits | None = None
) -> tuple[np.ndarray, str]:
    """Return the pixels of a compressed image message (JPEG, PNG and what else OpenCV reads).

    The format says how the picture was made, as compressed_image_transport writes it:
    ``SOURCE; CODEC compressed TARGET``. Without a target the codec was handed the source as it
    is: of a Bayer camera the mosaic, in TIFF also red first.

    Args:
        message: the picture.
        topic: named in errors.
        bits: of the camera, which learns with every picture of 16 bits; None judges by this one.

    Returns:
        (H, W, 3) uint8 and ``bgr``.

    Raises:
        MessageError: the data are empty, cut short or no picture.
    """
    source, codec, target = _FORMAT.match(message.format).groups(default="")
    described = f"{topic}: data of format {message.format!r} has {len(message.data)} bytes"
    if codec.startswith("compressedDepth"):
        raise MessageError(f"{described} of a depth image; a camera's picture is needed")
    is_mosaic = bool(bayer_pattern(source)) and not target
    # ROS pictures are upright as they are sent: EXIF must not turn them.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = _decoded(message, cv2.IMREAD_UNCHANGED if is_mosaic else flags, described)
    if pixels.dtype == np.uint16:
        pixels = to_8_bits(pixels, bits or SensorBits())
    elif pixels.dtype != np.uint8:
        raise MessageError(f"{described} of {pixels.dtype}; 8 or 16 bits are needed")
    if pixels.ndim == 2:
        return demosaic(pixels, source), "bgr"
    is_red_first = target.startswith("rgb") or (codec == "tiff" and source.startswith("rgb"))
    pixels = pixels[..., :3]
    return (cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if is_red_first else pixels), "bgr"


def _decoded(message: CompressedImage, flags: int, described: str) -> np.ndarray:
    data = bytes(message.data)
    if not data:
        raise MessageError(f"{described}; it must hold an encoded picture")
    is_jpeg = data.startswith(_JPEG_START)
    end = jpeg_end(data) if is_jpeg else png_end(data) if data.startswith(_PNG_START) else len(data)
    # Older OpenCV fills the missing part of a JPEG with grey: depth out of nothing.
    if end is None:
        raise MessageError(f"{described} and no end marker: the picture was cut short")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8, end), flags)
    except cv2.error as error:
        raise MessageError(f"{described} that OpenCV refuses: {error}") from error
    if image is None:
        raise MessageError(f"{described} that are no JPEG, PNG or other picture OpenCV can read")
    if is_jpeg and lacks_rows(data[:end], image, flags):
        raise MessageError(f"{described} without the last rows: the picture was cut short")
    return image


def compressed_image(message: Image) -> CompressedImage:
    """Return the same picture with the same header, as JPEG.

    Raises:
        MessageError: an encoding that is no picture, or data that do not fit.
    """
    from sensor_msgs.msg import CompressedImage

    pixels, channels = image_to_array(message, "image")
    if channels in ("rgb", "rgba"):
        code = cv2.COLOR_RGB2BGR if channels == "rgb" else cv2.COLOR_RGBA2BGR
        pixels = cv2.cvtColor(pixels, code)
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    target = "mono8" if channels == "mono" else "bgr8"
    compressed = CompressedImage(header=message.header)
    compressed.format = f"{message.encoding}; jpeg compressed {target}"
    compressed.data.frombytes(jpeg.tobytes())
    return compressed


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
        from sensor_msgs.msg import Image

        step = width * channels * np.dtype(dtype).itemsize
        self.message = Image(height=height, width=width, encoding=encoding, step=step)
        self.message.is_bigendian = int(_IS_BIG_ENDIAN)
        self.message.data = array("B", bytes(height * step))
        shape = (height, width) if channels == 1 else (height, width, channels)
        self.pixels = np.frombuffer(self.message.data, dtype).reshape(shape)


def depth_image_to_metres(message: Image, topic: str) -> np.ndarray:
    """Return the depth of an image message (REP-118).

    Args:
        message: of encoding 32FC1 (metres) or 16UC1 (millimetres, 0 unknown).
        topic: named in errors.

    Returns:
        (H, W) float32 metres; NaN where 16UC1 has 0, and 32FC1 as it is.

    Raises:
        MessageError: another encoding, or size, step and data do not make an image.
    """
    size = {"32FC1": 4, "16UC1": 2, "mono16": 2}.get(message.encoding)
    if size is None:
        raise MessageError(
            f"{topic}: encoding is {message.encoding!r}; a depth image of 16UC1 (millimetres) or "
            "32FC1 (metres) is needed"
        )
    check_layout(message, size, topic)
    kind = np.dtype(np.float32 if size == 4 else np.uint16)
    kind = kind.newbyteorder(">" if message.is_bigendian else "<")
    shape, strides = (message.height, message.width), (message.step, size)
    values = np.ndarray(shape, kind, message.data, 0, strides)
    if size == 4:
        return values.astype(np.float32)
    metres = values.astype(np.float32)
    metres /= np.float32(_MILLIMETRES)  # a factor of 0.001 is not exact: 1500 would not be 1.5
    metres[values == 0] = np.nan
    return metres


def write_millimetres(depth_m: np.ndarray, out: np.ndarray) -> None:
    """Write depth as 16UC1 has it (REP-118): whole millimetres, 0 where it is unknown.

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


def encode_metres(depth_m: np.ndarray, farthest_m: float) -> bytes:
    """Return the data of a message of format ``METRES_FORMAT``.

    Args:
        depth_m: (H, W) float32 metres; NaN and infinite are unknown, as is what is not nearer than
            ``farthest_m``, or so near that 16 bits cannot hold it (0.15 m).
        farthest_m: above 0, metres.
    """
    a = _QUANTIZATION * (_QUANTIZATION + np.float32(1.0))
    b = np.float32(1.0) - a / np.float32(farthest_m)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.rint(a / depth_m + b)
        known = (depth_m < np.float32(farthest_m)) & (steps >= 1.0) & (steps <= _LARGEST_UINT16)
    steps[~known] = 0.0
    return _HEADER.pack(_INVERSE_DEPTH, a, b) + _png(steps.astype(np.uint16))


def encode_millimetres(millimetres: np.ndarray) -> bytes:
    """Return the data of a message of format ``MILLIMETRES_FORMAT``; (H, W) uint16, 0 unknown."""
    return _HEADER.pack(_INVERSE_DEPTH, 0.0, 0.0) + _png(millimetres)


def _png(plane: np.ndarray) -> bytes:
    return cv2.imencode(".png", plane, _PNG_OPTIONS)[1].tobytes()


def compressed_depth_to_metres(message: CompressedImage, topic: str) -> np.ndarray:
    """Return the depth of a ``compressedDepth`` message.

    Args:
        message: of 16UC1 (millimetres) or 32FC1, as PNG.
        topic: named in errors.

    Returns:
        (H, W) float32 metres, NaN where unknown.

    Raises:
        MessageError: another format, or data that do not decode.
    """
    described = f"{topic}: data of format {message.format!r} has {len(message.data)} bytes"
    encoding, _, method = message.format.partition(";")
    method = method.replace("compressedDepth", "").strip()
    if encoding.strip() not in ("16UC1", "32FC1") or method not in ("", "png"):
        raise MessageError(f"{described}; 16UC1 or 32FC1 as png is needed")
    data = bytes(message.data)
    end = png_end(data[_HEADER.size :])
    plane = None
    if end is not None:
        picture = np.frombuffer(data, np.uint8, end, _HEADER.size)
        plane = cv2.imdecode(picture, cv2.IMREAD_UNCHANGED)
    if plane is None or plane.dtype != np.uint16 or plane.ndim != 2:
        raise MessageError(
            f"{described}; {_HEADER.size} of a header and a 16 bit PNG of one channel are needed"
        )
    if encoding.strip() == "16UC1":
        metres = plane.astype(np.float32) / np.float32(_MILLIMETRES)
    else:
        _, a, b = _HEADER.unpack_from(data)
        with np.errstate(divide="ignore"):
            metres = np.float32(a) / (plane.astype(np.float32) - np.float32(b))
    metres[plane == 0] = np.nan
    return metres
