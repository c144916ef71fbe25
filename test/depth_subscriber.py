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

"""image_transport's subscriber of ``compressedDepth``, written from the format alone."""

import struct
import zlib

import numpy as np


def png_rows(png: bytes) -> np.ndarray:
    """Return (H, W) uint16 of a 16 bit grey PNG, by the PNG specification alone."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, packed = 8, b""
    while place < len(png):
        (length,), kind = struct.unpack_from(">I", png, place), png[place + 4 : place + 8]
        content = png[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, height, bits, colour, *_, interlaced = struct.unpack(">IIBBBBB", content)
            assert (bits, colour, interlaced) == (16, 0, 0)
        elif kind == b"IDAT":
            packed += content
        place += 12 + length
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + 2 * width)
    out = np.zeros((height + 1, 2 * width + 2), np.int64)  # a row and a pixel of zeros before
    for number, (method, *values) in enumerate(rows.tolist(), 1):
        for column, value in enumerate(values, 2):
            left, above = out[number, column - 2], out[number - 1, column]
            corner = out[number - 1, column - 2]
            guess = left + above - corner
            paeth = min((left, above, corner), key=lambda one: abs(guess - one))
            predicted = (0, left, above, (left + above) // 2, paeth)[method]
            out[number, column] = (value + predicted) % 256
    return (out[1:, 2::2] * 256 + out[1:, 3::2]).astype(np.uint16)


def subscriber(data: bytes, encoding: str) -> np.ndarray:
    """Return what compressed_depth_image_transport's subscriber hands on of such a message."""
    _method, a, b = struct.unpack("<iff", data[:12])
    plane = png_rows(data[12:])
    if encoding == "16UC1":
        return plane
    metres = np.full(plane.shape, np.nan, np.float32)
    metres[plane > 0] = np.float32(a) / (plane[plane > 0].astype(np.float32) - np.float32(b))
    return metres
