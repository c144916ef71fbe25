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

"""Images as JPEG, as image_transport's compressed plugin names and describes them."""

from __future__ import annotations

import cv2
from sensor_msgs.msg import CompressedImage, Image

from depthrefl_ros.ros.convert.images import image_to_array

QUALITY = 90


def compressed_image(message: Image) -> CompressedImage:
    """Return the same picture with the same header, as JPEG.

    Raises:
        MessageError: an encoding that is no picture, or data that do not fit.
    """
    pixels, channels = image_to_array(message, "image")
    if channels in ("rgb", "rgba"):
        code = cv2.COLOR_RGB2BGR if channels == "rgb" else cv2.COLOR_RGBA2BGR
        pixels = cv2.cvtColor(pixels, code)
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    target = "mono8" if channels == "mono" else "bgr8"
    compressed = CompressedImage(header=message.header)
    compressed.format = f"{message.encoding}; jpeg compressed {target}"
    compressed.data.frombytes(jpeg.tobytes())
    return compressed
