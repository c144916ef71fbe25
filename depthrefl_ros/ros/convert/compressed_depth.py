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

"""Depth as image_transport's ``compressedDepth`` has it: a small header, then a 16 bit PNG.

The header is an int32 and two float32, A and B, little-endian. Of 16UC1 the PNG is the image. Of
32FC1 it holds q = A / z + B, cut to whole numbers, and 0 where depth is unknown: steps of
z^2 / A metres, so that what is near is kept finely.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import cv2
import numpy as np

from depthrefl_ros.image_files import png_end
from depthrefl_ros.ros.convert.encodings import MessageError

if TYPE_CHECKING:  # files of recordings are read without ROS
    from sensor_msgs.msg import CompressedImage

HEADER = struct.Struct("<iff")  # method, A, B
METRES = "32FC1; compressedDepth png"
MILLIMETRES = "16UC1; compressedDepth png"
_INVERSE_DEPTH = 0  # the only method that there is
# The depth at which a step is about 1 m: what image_transport's publisher uses by default.
_QUANTIZATION = np.float32(100.0)
_LARGEST = 65535
# Of zlib: 5 takes twice as long for 5 % less.
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def encode_metres(depth_m: np.ndarray, farthest_m: float) -> bytes:
    """Return the data of a message of format ``METRES``.

    Args:
        depth_m: (H, W) float32 metres; NaN and infinite are unknown, as is what is not nearer than
            ``farthest_m``, or so near that 16 bits cannot hold it (0.15 m).
        farthest_m: above 0, metres.
    """
    a = _QUANTIZATION * (_QUANTIZATION + np.float32(1.0))
    b = np.float32(1.0) - a / np.float32(farthest_m)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.rint(a / depth_m + b)
        known = (depth_m < np.float32(farthest_m)) & (steps >= 1.0) & (steps <= _LARGEST)
    steps[~known] = 0.0
    return HEADER.pack(_INVERSE_DEPTH, a, b) + _png(steps.astype(np.uint16))


def encode_millimetres(millimetres: np.ndarray) -> bytes:
    """Return the data of a message of format ``MILLIMETRES``; (H, W) uint16, 0 unknown."""
    return HEADER.pack(_INVERSE_DEPTH, 0.0, 0.0) + _png(millimetres)


def _png(plane: np.ndarray) -> bytes:
    return cv2.imencode(".png", plane, _PNG)[1].tobytes()


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
    end = png_end(data[HEADER.size :])
    plane = None
    if end is not None:
        picture = np.frombuffer(data, np.uint8, end, HEADER.size)
        plane = cv2.imdecode(picture, cv2.IMREAD_UNCHANGED)
    if plane is None or plane.dtype != np.uint16 or plane.ndim != 2:
        raise MessageError(
            f"{described}; {HEADER.size} of a header and a 16 bit PNG of one channel are needed"
        )
    if encoding.strip() == "16UC1":
        metres = plane.astype(np.float32) / np.float32(1000.0)
    else:
        _, a, b = HEADER.unpack_from(data)
        with np.errstate(divide="ignore"):
            metres = np.float32(a) / (plane.astype(np.float32) - np.float32(b))
    metres[plane == 0] = np.nan
    return metres
