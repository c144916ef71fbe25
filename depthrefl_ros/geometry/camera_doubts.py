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

"""What can hardly be true of a camera, such as a calibration of another resolution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from depthrefl_ros.geometry.camera import Camera

_FIELDS_OF_VIEW_DEG = (20.0, 175.0)
_MAX_FOCAL_RATIO = 1.5
_MAX_SKEW = 0.02  # of the focal length
_ROUNDING = 1e-6  # of the focal length: what products of matrices leave where zeros belong


def doubts_of(camera: Camera, is_rectified: bool = False) -> list[str]:
    """Say what can hardly be true of this camera; wrong intrinsics make every distance wrong.

    To be asked of the camera of an image (``for_image``).

    Args:
        camera: of the image.
        is_rectified: the image is rectified already, and the lens has no say any more.

    Returns:
        Sentences that name the matrix and the values; none where all is well.
    """
    size = f"{camera.width}x{camera.height} image"
    remedy = "the calibration may be of another resolution or unit"
    doubts: list[str] = []
    if camera.distortion_model == "equidistant" and not camera.D.any() and not is_rectified:
        doubts.append(
            "distortion_model is equidistant (fisheye) and D is all zero, which is read as no "
            "distortion, as image_geometry does: of a fisheye lens all but the middle of the "
            "image would be wrong; calibrate it, or name it plumb_bob if it has no distortion"
        )
    matrices = {"K": camera.K}
    if not np.array_equal(camera.P[:, :3], camera.K):
        matrices["P"] = camera.P
    for name, matrix in matrices.items():
        fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
        below = (matrix[1, 0], matrix[2, 0], matrix[2, 1])
        if max(map(abs, below)) > _ROUNDING * fx:
            listed = ", ".join(f"{value:g}" for value in below)
            doubts.append(
                f"{name} has {listed} below its diagonal where zeros are needed: "
                "it may be transposed"
            )
        elif cx == cy == 0.0:
            doubts.append(
                f"{name} has the principal point 0, 0 in the corner of the {size}: "
                "it may not be filled in"
            )
        if abs(matrix[0, 1]) > _MAX_SKEW * fx:
            doubts.append(
                f"{name} has a skew of {matrix[0, 1]:g} px, which no usual camera has: {remedy}"
            )
        if not (0.0 <= cx <= camera.width and 0.0 <= cy <= camera.height):
            doubts.append(
                f"{name} has the principal point {cx:.0f}, {cy:.0f} outside the {size}: {remedy}"
            )
        angles = {"horizontal": (camera.width, fx), "vertical": (camera.height, fy)}
        for direction, (pixels, focal) in angles.items():
            angle = math.degrees(_angle(camera, name, pixels / focal))
            least = _FIELDS_OF_VIEW_DEG[0] * min(1.0, pixels / camera.width)
            if not least <= angle <= _FIELDS_OF_VIEW_DEG[1]:
                doubts.append(
                    f"{name} has a focal length of {focal:g} px, a {direction} field of view "
                    f"of {angle:.0f} degrees in the {size}: {remedy}"
                )
                break
        if not 1 / _MAX_FOCAL_RATIO <= fx / fy <= _MAX_FOCAL_RATIO:
            doubts.append(
                f"{name} has the focal lengths {fx:g} and {fy:g} px, which differ more than "
                f"pixels do: {remedy}"
            )
    return doubts


def _angle(camera: Camera, name: str, extent: float) -> float:
    """Return the field of view (rad) of so many focal lengths; a fisheye grows with it."""
    if name == "K" and camera.distortion_model == "equidistant" and camera.D.any():
        return min(extent, math.radians(_FIELDS_OF_VIEW_DEG[1]))  # fisheyes see even farther
    return 2.0 * math.atan(extent / 2.0)
