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

"""The mount as a picture: at every pixel the depth of the floor, were nothing standing on it.

One function serves training and running, so that a network is told the mount in the same way in
both. The picture travels to the network as bytes beside red, green and blue.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose

NEAREST_M, FARTHEST_M = 0.1, 40.0  # canonical metres of the bytes 1 and 255
BYTES_PER_LOG = 254 / math.log(FARTHEST_M / NEAREST_M)  # 254 steps, each 2.4 % of the depth
_FLATTEST = 1e-4  # sine over cosine: a ray that falls less meets no floor that matters
_OPTICAL_AXIS = (0.0, 0.0, 1.0)


def floor_depth(
    rays: np.ndarray,
    down: np.ndarray,
    height_m: float,
    size: tuple[int, int],
    axis: np.ndarray | tuple[float, float, float] = _OPTICAL_AXIS,
) -> np.ndarray:
    """Return the depth at which the ray of every pixel meets the floor.

    A ray r meets the floor at r h / (down . r), and depth is along the axis: h (axis . r) /
    (down . r), whatever the length of r.

    Args:
        rays: (3, 3) from pixels (x, y, 1) to their rays, of any positive length.
        down: (3,) of length 1, to the floor, in the frame of the rays.
        height_m: of the camera above the floor, metres.
        size: (height, width), pixels.
        axis: (3,) of length 1, which depth is measured along, in the same frame.

    Returns:
        (height, width) float64 metres; 0 where the ray does not go down.
    """
    length = _at_pixels(np.asarray(axis) @ rays, size)
    fall = _at_pixels(np.asarray(down) @ rays, size)
    meets = (length > 0.0) & (fall > _FLATTEST * length)
    depth_m = np.zeros(size)
    np.divide(height_m * length, fall, out=depth_m, where=meets)
    return depth_m


def _at_pixels(row: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return row . (x, y, 1) at every pixel, (height, width), or (1, 1) where it is one value."""
    height, width = size
    if not row[:2].any():  # depth along the rays' own axis: a third of the time
        return row[2].reshape(1, 1)
    return row[0] * np.arange(width) + (row[1] * np.arange(height) + row[2])[:, None]


def camera_floor_depth(camera: Camera, base_from_camera: Pose) -> np.ndarray:
    """Return the depth at which a camera's pixels see the floor, z = 0 of the base frame.

    Args:
        camera: a rectified pinhole camera.
        base_from_camera: where it stands; of its translation only the height counts.

    Returns:
        (H, W) float64 metres along the optical axis; 0 where the ray does not go down, and
        everywhere if the camera is not above the floor.
    """
    size = (camera.height, camera.width)
    height_m = float(base_from_camera.translation[2])
    if height_m <= 0.0:
        return np.zeros(size)
    rays = np.array(
        [
            [1.0 / camera.fx, 0.0, -camera.cx / camera.fx],
            [0.0, 1.0 / camera.fy, -camera.cy / camera.fy],
            [0.0, 0.0, 1.0],
        ]
    )
    return floor_depth(rays, -base_from_camera.up_in_source, height_m, size)


def encode_floor(canonical_m: np.ndarray) -> np.ndarray:
    """Return floor depth as bytes: q = 1 + 254 log(z / 0.1) / log(400), rounded, within 1 to 255.

    Args:
        canonical_m: (H, W) metres as the network's canonical camera has them; 0 for unknown.

    Returns:
        (H, W) uint8; 0 for unknown.
    """
    # In float32, several times as fast; its error is far below half a step.
    depth = np.asarray(canonical_m, np.float32)
    with np.errstate(divide="ignore"):  # of the unknown, which is 0 in the end
        steps = np.log(depth)
    steps *= np.float32(BYTES_PER_LOG)
    steps += np.float32(1.0 - BYTES_PER_LOG * math.log(NEAREST_M))
    np.clip(np.rint(steps, out=steps), 1.0, 255.0, out=steps)
    return steps.astype(np.uint8) * (depth > 0.0)


def encoded_floor(camera: Camera, base_from_camera: Pose, focal_px: float) -> np.ndarray:
    """Return what a network is told of its mount: the floor's canonical depth as bytes.

    Args:
        camera: the rectified pinhole camera of the network's input.
        base_from_camera: as for ``camera_floor_depth``.
        focal_px: f_c, the canonical focal length in pixels.

    Returns:
        (H, W) uint8 as ``encode_floor`` has it.
    """
    canonical = focal_px / math.sqrt(camera.fx * camera.fy)
    return encode_floor(camera_floor_depth(camera, base_from_camera) * canonical)


def with_floor(rgb: np.ndarray, plane: np.ndarray | None) -> np.ndarray:
    """Return an image as a network that takes the mount is shown it.

    Args:
        rgb: (H, W, 3) uint8.
        plane: (H, W) uint8 as ``encode_floor`` has it; None for an unknown mount.

    Returns:
        (H, W, 4) uint8.
    """
    image = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)
    image[..., 3] = 0 if plane is None else plane
    return image
