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

"""Depth of one sensor as another camera, at another place, would have seen it."""

from __future__ import annotations

import math

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays

# A point is hidden where one beside it is nearer than this share of its own depth. On a floor
# neighbouring rows differ as much only close to the horizon.
_HIDDEN_BELOW = 0.7
_NEAREST_M = 0.01  # what is nearer has no place in a picture


def projected_points(
    points: np.ndarray,
    camera: Camera,
    footprint: tuple[int, int] = (1, 1),
    reach_px: int = 1,
) -> np.ndarray:
    """Return the depth image that points make.

    Of the points in one pixel the nearest counts. What lies behind a surface that another place
    could look past is left out, as far as a nearer point is within ``reach_px``.

    Args:
        points: (n, 3) metres in the camera's optical frame; NaN for none.
        camera: a pinhole camera.
        footprint: columns and rows of pixels that each point covers.
        reach_px: pixels.

    Returns:
        (H, W) float32 metres along the optical axis, 0 where no point is seen.
    """
    plane = np.zeros((camera.height, camera.width), np.float32)
    with np.errstate(invalid="ignore"):
        points = points[points[:, 2] > _NEAREST_M].astype(np.float64)
    z = points[:, 2]
    # A stray point close to the lens would otherwise fall outside the whole numbers.
    u = np.clip(camera.fx * points[:, 0] / z + camera.cx, -1e6, 1e6)
    v = np.clip(camera.fy * points[:, 1] / z + camera.cy, -1e6, 1e6)
    columns = np.rint(u - (footprint[0] - 1) / 2).astype(np.int64)
    rows = np.rint(v - (footprint[1] - 1) / 2).astype(np.int64)
    far_first = np.argsort(-z, kind="stable")
    z, columns, rows = z[far_first], columns[far_first], rows[far_first]
    nearest = np.full(plane.size, np.inf, np.float32)
    for down in range(footprint[1]):
        for right in range(footprint[0]):
            x, y = columns + right, rows + down
            inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
            place = y[inside] * camera.width + x[inside]
            # The last one written to a place stays, and that is the nearest.
            layer = np.full(plane.size, np.inf, np.float32)
            layer[place] = z[inside]
            np.minimum(nearest, layer, out=nearest)
    nearest = nearest.reshape(plane.shape)
    around = cv2.erode(nearest, np.ones((2 * reach_px + 1,) * 2, np.uint8))
    seen = np.isfinite(nearest) & (around >= np.float32(_HIDDEN_BELOW) * nearest)
    plane[seen] = nearest[seen]
    return plane


def registered_depth(
    depth_m: np.ndarray, depth_camera: Camera, colour_from_depth: Pose, colour_camera: Camera
) -> np.ndarray:
    """Return a depth image as another pinhole camera would have seen it.

    Args:
        depth_m: (h, w) float32 metres along the axis of ``depth_camera``; not above 0 or not finite
            is unknown.
        depth_camera: a pinhole camera.
        colour_from_depth: between the optical frames of both.
        colour_camera: a pinhole camera (H, W).

    Returns:
        (H, W) float32 metres along the axis of ``colour_camera``, 0 where unknown.
    """
    with np.errstate(invalid="ignore"):
        known = np.isfinite(depth_m) & (depth_m > 0)
    points = image_rays(depth_camera)[known] * depth_m[known][:, None]
    # A finer picture would have gaps between the pixels of a coarser one.
    footprint = (
        max(1, math.ceil(colour_camera.fx / depth_camera.fx - 0.01)),
        max(1, math.ceil(colour_camera.fy / depth_camera.fy - 0.01)),
    )
    return projected_points(colour_from_depth.apply(points), colour_camera, footprint)
