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

"""One moment of a running node as a browser gets it: pictures, distances, the view from above."""

from __future__ import annotations

import bisect
import json
import struct
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.preview import colour_depth
from depthrefl_ros.ros.convert.encodings import SensorBits
from depthrefl_ros.ros.convert.images import compressed_image_to_array, image_to_array
from depthrefl_ros.tools.occupancy import CELL_M

MAX_WIDTH = 640  # of pictures, pixels
QUALITY = 80  # of JPEG
RELAYED_BYTES = 200_000  # a camera's own JPEG up to this size goes out as it is
LEGEND_STEPS = 32
DISTANCES_WIDTH = 64  # of the grid of distances under a pointer
BEYOND_MM = 65535  # out of range; 0 is unknown
MAX_RAYS = 400
_STEPS_M = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 80, 120)
_FEWEST = 50  # pixels with depth that say anything about its range
_HOLD = 1.15  # the colours' range shrinks only where the depth leaves this much room


def picture_jpeg(
    message: Image | CompressedImage, topic: str, bits: SensorBits | None = None
) -> bytes:
    """Return a camera's picture as JPEG, at most ``MAX_WIDTH`` wide unless it came as a small JPEG.

    Args:
        message: the picture.
        topic: named in errors.
        bits: of the camera; None judges by this picture.

    Raises:
        MessageError: the message holds no picture.
    """
    if isinstance(message, CompressedImage):
        data = bytes(message.data)
        if (
            len(data) <= RELAYED_BYTES
            and data.startswith(b"\xff\xd8")
            and "bayer" not in (message.format)
        ):
            return data
        pixels, channels = compressed_image_to_array(message, topic, bits)
    else:
        pixels, channels = image_to_array(message, topic, bits)
    if pixels.shape[1] > MAX_WIDTH:
        height = max(1, round(pixels.shape[0] * MAX_WIDTH / pixels.shape[1]))
        pixels = cv2.resize(pixels, (MAX_WIDTH, height), interpolation=cv2.INTER_AREA)
    if channels in ("rgb", "rgba"):
        code = cv2.COLOR_RGB2BGR if channels == "rgb" else cv2.COLOR_RGBA2BGR
        pixels = cv2.cvtColor(pixels, code)
    elif channels == "bgra":
        pixels = pixels[..., :3]
    return _jpeg(pixels)


def depth_of(message: Image) -> np.ndarray:
    """Return the (H, W) float32 metres of the node's ``depth/image``; a view of its bytes."""
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


def depth_jpeg(depth_m: np.ndarray, near_m: float, far_m: float) -> bytes:
    """Return depth (H, W), metres, as a coloured JPEG of at most ``MAX_WIDTH`` columns."""
    every = -(-depth_m.shape[1] // MAX_WIDTH)  # depths are not averaged: edges stay edges
    return _jpeg(colour_depth(depth_m[::every, ::every], near_m, far_m))


def legend_colours() -> list[str]:
    """Return the colours of depth from nearest to farthest, evenly in its logarithm, for CSS."""
    metres = 10.0 ** np.linspace(0.0, 1.0, LEGEND_STEPS, dtype=np.float32)
    colours = colour_depth(metres[None], 1.0, 10.0)[0, :, ::-1]
    return ["#{:02x}{:02x}{:02x}".format(*map(int, colour)) for colour in colours]


def distances_mm(depth_m: np.ndarray) -> np.ndarray:
    """Return every n-th depth as (h, w) little-endian uint16 millimetres.

    0 is unknown, ``BEYOND_MM`` out of range; the least distance is 1.
    """
    every = -(-depth_m.shape[1] // DISTANCES_WIDTH)
    start = every // 2
    thin = depth_m[start::every, start::every]
    with np.errstate(invalid="ignore"):
        millimetres = np.clip(np.nan_to_num(thin, nan=0.0, posinf=1e6, neginf=0.001), 0, 1e6) * 1e3
    limited = np.clip(millimetres, 0, BEYOND_MM)
    limited[(limited < 1) & ~np.isnan(thin)] = 1
    return np.ascontiguousarray(limited.astype("<u2"))


class ColourRange:
    """Nearest and farthest metres of the colours: round numbers that change seldom.

    Attributes:
        near_m: nearest.
        far_m: farthest.
    """

    def __init__(self) -> None:
        self.near_m, self.far_m = 0.5, 5.0

    def follow(self, depth_m: np.ndarray) -> tuple[float, float]:
        """Take in a depth image (H, W), metres; return the range to colour it with."""
        known = depth_m[::4, ::4]
        known = known[np.isfinite(known) & (known > 0)]
        if known.size >= _FEWEST:
            near, far = (float(value) for value in np.percentile(known, (2, 98)))
            if near < self.near_m or near > _HOLD * _next(self.near_m):
                # Not the last one: whatever lies beyond it has the colour of what is farthest.
                place = min(max(0, bisect.bisect_right(_STEPS_M, near) - 1), len(_STEPS_M) - 2)
                self.near_m = _STEPS_M[place]
            if far > self.far_m or far * _HOLD < _previous(self.far_m):
                place = bisect.bisect_left(_STEPS_M, far)
                self.far_m = _STEPS_M[min(place, len(_STEPS_M) - 1)]
            self.far_m = max(self.far_m, _next(_next(self.near_m)))
        return self.near_m, self.far_m


def _next(step: float) -> float:
    return _STEPS_M[min(_STEPS_M.index(step) + 1, len(_STEPS_M) - 1)]


def _previous(step: float) -> float:
    return _STEPS_M[max(_STEPS_M.index(step) - 1, 0)]


def cloud_xyz(message: PointCloud2) -> np.ndarray:
    """Return the (n, 3) float32 metres of one of the node's obstacle clouds."""
    count = message.width * message.height
    rows = np.frombuffer(message.data, np.float32).reshape(count, message.point_step // 4)
    return rows[:, :3]


def cloud_confidence(message: PointCloud2) -> float | None:
    """Return the median confidence of an obstacle cloud's points; None of an empty cloud."""
    place = next((one.offset for one in message.fields if one.name == "confidence"), None)
    if place is None or not message.width:
        return None
    rows = np.frombuffer(message.data, np.float32).reshape(-1, message.point_step // 4)
    return float(np.nanmedian(rows[:, place // 4]))


def from_above(
    marking: PointCloud2 | None, clearing: PointCloud2 | None, base_from_camera: Pose
) -> dict[str, Any]:
    """Return what Nav2 gets, seen from above, in the base frame.

    Args:
        marking: ``points/marking``, or None.
        clearing: ``points/clearing``, or None.
        base_from_camera: where the camera stands.

    Returns:
        ``marks``: cells of ``CELL_M`` as whole numbers ahead and to the left, one after the
        other; ``ends``: of cleared rays, ``camera``: where they begin, both in centimetres.
    """
    marks, ends = np.zeros((0, 2), int), np.zeros((0, 2), int)
    if marking is not None and marking.width:
        points = base_from_camera.apply(cloud_xyz(marking))
        marks = np.unique(np.floor(points[:, :2] / CELL_M).astype(int), axis=0)
    if clearing is not None and clearing.width:
        points = base_from_camera.apply(cloud_xyz(clearing))
        every = -(-len(points) // MAX_RAYS)
        ends = np.round(100.0 * points[::every, :2]).astype(int)
    camera = np.round(100.0 * base_from_camera.translation[:2]).astype(int)
    return {
        "marks": marks.ravel().tolist(),
        "ends": ends.ravel().tolist(),
        "camera": camera.tolist(),
    }


def packed(head: dict[str, Any], **parts: bytes) -> bytes:
    """Return one binary message: the head's length (uint32, big-endian), the head, the parts.

    Args:
        head: JSON; gets ``parts``, the parts' names and lengths in their order.
        parts: what follows it.
    """
    lengths = {name: len(part) for name, part in parts.items()}
    text = json.dumps({**head, "parts": lengths}, allow_nan=False).encode()
    return b"".join([struct.pack(">I", len(text)), text, *parts.values()])


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return head and parts of a message made by ``packed``."""
    (length,) = struct.unpack_from(">I", data)
    head, place, parts = json.loads(data[4 : 4 + length]), 4 + length, {}
    for name, size in head["parts"].items():
        parts[name] = data[place : place + size]
        place += size
    return head, parts


def _jpeg(pixels: np.ndarray) -> bytes:
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return jpeg.tobytes()
