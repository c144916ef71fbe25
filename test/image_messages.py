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

"""Small pictures, and messages of them."""

from array import array

import numpy as np
from sensor_msgs.msg import Image

TOPIC = "/camera/image_raw"
HEIGHT, WIDTH = 6, 8


def image_message(encoding, pixels, step=None, big_endian=False):
    """Return an Image with rows of ``pixels`` bytes padded to ``step`` with a byte of no pixel."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    step = step or rows.shape[1]
    padded = np.full((rows.shape[0], step), 255, np.uint8)
    padded[:, : rows.shape[1]] = rows
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=step)
    message.is_bigendian = int(big_endian)
    message.data = array("B", padded.tobytes())
    return message


def random_pixels(*shape):
    return np.random.default_rng(7).integers(0, 255, shape, np.uint8)


def bayer_mosaic(pattern, colour_bgr, dtype=np.uint8):
    """Return what a sensor of this pattern sees of one even colour."""
    plane = {"r": colour_bgr[2], "g": colour_bgr[1], "b": colour_bgr[0]}
    mosaic = np.empty((HEIGHT, WIDTH), dtype)
    for index, letter in enumerate(pattern):
        mosaic[index // 2 :: 2, index % 2 :: 2] = plane[letter]
    return mosaic
