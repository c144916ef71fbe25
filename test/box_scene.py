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

"""A floor with boxes on it and the exact depth that a camera sees of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays

FARTHEST_M = 15.0  # what looks past everything sees this far along the optical axis

Box = tuple[tuple[float, float, float], tuple[float, float, float]]


def true_depth(camera: Camera, mount: Pose, boxes: Sequence[Box]) -> np.ndarray:
    """Return (H, W) float32 metres along the optical axis, by intersecting every pixel's ray.

    Args:
        camera: pinhole.
        mount: base_from_camera; the floor is z = 0 of the base frame.
        boxes: lower and upper corner of each, metres in the base frame.
    """
    directions = image_rays(camera) @ mount.rotation.T
    with np.errstate(divide="ignore"):
        depth = np.where(directions[..., 2] < 0, -mount.translation[2] / directions[..., 2], np.inf)
    depth = before_boxes(depth, directions, mount.translation, boxes)
    return np.minimum(depth, FARTHEST_M).astype(np.float32)


def before_boxes(
    depth: np.ndarray, directions: np.ndarray, origin: np.ndarray, boxes: Sequence[Box]
) -> np.ndarray:
    """Return depth (...) where boxes stand before it, along rays (..., 3) from outside them."""
    for box in boxes:
        enter, leave = enter_and_leave(directions, origin, box)
        depth = np.where((enter > 0) & (enter < leave), np.minimum(depth, enter), depth)
    return depth


def enter_and_leave(
    directions: np.ndarray, origin: np.ndarray, box: Box
) -> tuple[np.ndarray, np.ndarray]:
    """Return where each ray (..., 3) enters and leaves a box, in its lengths, by slabs."""
    directions = np.where(directions == 0, 1e-12, directions)
    to_low, to_high = ((np.asarray(corner) - origin) / directions for corner in box)
    return np.minimum(to_low, to_high).max(axis=-1), np.maximum(to_low, to_high).min(axis=-1)
