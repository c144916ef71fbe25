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

"""The lens: where in the raw image lies what an undistorted picture shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:  # camera imports this module
    from depthrefl_ros.geometry.camera import Camera

_WIDEST_TANGENT = 20.0  # 87 degrees off the axis: no pinhole sees farther
_OUTSIDE = -1e4  # pixels: outside every image, and within the int16 of OpenCV's maps


def undistortion_maps(
    camera: Camera, matrix: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return where each pixel of an undistorted picture lies in the raw image.

    Args:
        camera: the raw camera; K, D and R are used.
        matrix: (3, 3) intrinsics of the undistorted picture.
        size: (width, height) of the undistorted picture, pixels.

    Returns:
        x and y, each (height, width) float32, pixels of the raw image; far outside of it where the
        lens does not look, which its polynomial alone would not tell.
    """
    columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1).astype(np.float64)
    rays = pixels @ np.linalg.inv(matrix).T @ camera.R  # R turns raw to rectified; this turns back
    is_fisheye = camera.distortion_model == "equidistant" and camera.D.any()
    off_axis = np.hypot(rays[..., 0], rays[..., 1])
    if is_fisheye:
        # Not cv2.fisheye.initUndistortRectifyMap: it drops rays beyond 90 degrees off the axis.
        reach = np.arctan2(off_axis, rays[..., 2])
        bent = _distorted(camera, reach) / np.maximum(off_axis, 1e-12)
        x = camera.K[0, 0] * bent * rays[..., 0] + camera.K[0, 2]
        y = camera.K[1, 1] * bent * rays[..., 1] + camera.K[1, 2]
        x, y = x.astype(np.float32), y.astype(np.float32)
    else:
        # OpenCV refuses an odd number of coefficients even where all are zero.
        D = camera.D if camera.D.any() else np.zeros(5)
        x, y = cv2.initUndistortRectifyMap(camera.K, D, camera.R, matrix, size, cv2.CV_32FC1)
        ahead = rays[..., 2] > 0.0
        reach = np.where(ahead, off_axis / np.where(ahead, rays[..., 2], 1.0), np.inf)
    outside = reach >= _end_of_lens(camera, np.pi if is_fisheye else _WIDEST_TANGENT)
    x[outside] = y[outside] = _OUTSIDE
    return x, y


def _distorted(camera: Camera, reach: np.ndarray) -> np.ndarray:
    """Return where the lens puts a ray, as a share of the focal length, tangential terms left out.

    Args:
        camera: its model and D are used: theta_d of the equidistant model (Kannala and Brandt
            2006), or the radial polynomial of the other two.
        reach: off the axis: the angle in radians for ``equidistant``, else its tangent.
    """
    if camera.distortion_model == "equidistant":
        k, powers = camera.D[:4], (2, 4, 6, 8)
        return reach * (1.0 + sum(c * reach**n for c, n in zip(k, powers, strict=True)))
    k = np.zeros(8)
    k[: min(8, camera.D.size)] = camera.D[:8]
    above = 1.0 + k[0] * reach**2 + k[1] * reach**4 + k[4] * reach**6
    return reach * above / (1.0 + k[5] * reach**2 + k[6] * reach**4 + k[7] * reach**6)


def _end_of_lens(camera: Camera, widest: float) -> float:
    """Return how far off the axis the lens looks: where its polynomial turns back to the centre.

    Beyond, it would show what lies farther inside a second time.
    """
    reach = np.linspace(0.0, widest, 2000)
    falls = np.flatnonzero(np.diff(_distorted(camera, reach)) <= 0.0)
    return float(reach[falls[0]]) if falls.size else widest
