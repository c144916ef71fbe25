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

"""The rays of a pinhole camera's pixels, in its optical frame."""

from __future__ import annotations

import math

import numpy as np

from depthrefl_ros.geometry.camera import Camera


def pixel_rays(camera: Camera, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return rays through pixels, of length 1 along the optical axis: depth times ray is the point.

    Args:
        camera: a rectified pinhole camera.
        columns: pixels, of any shape.
        rows: pixels, of the same shape.

    Returns:
        (..., 3) float64: x right, y down, z forward, z = 1.
    """
    x = (np.asarray(columns, np.float64) - camera.cx) / camera.fx
    y = (np.asarray(rows, np.float64) - camera.cy) / camera.fy
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def image_rays(camera: Camera) -> np.ndarray:
    """Return ``pixel_rays`` of every pixel: (H, W, 3) float64."""
    rows, columns = np.mgrid[: camera.height, : camera.width]
    return pixel_rays(camera, columns, rows)


def sampled_pixels(camera: Camera, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels on a regular grid over the whole image, about ``count`` of them.

    Returns:
        columns and rows, each (n,) int64.
    """
    step = max(1, math.floor(math.sqrt(camera.width * camera.height / count)))
    rows, columns = np.mgrid[step // 2 : camera.height : step, step // 2 : camera.width : step]
    return columns.ravel(), rows.ravel()
