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

"""True depth of a box-shaped room with boxes in it, by casting rays at flat faces."""

from __future__ import annotations

import numpy as np
from box_scene import before_boxes, enter_and_leave

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays

CAMERA = Camera.from_horizontal_fov(128, 96, 1.2)
ROOM = ((-2.0, -2.5, 0.0), (6.0, 2.5, 2.6))  # low and high corner, metres, base frame


def room_depth(
    base_from_camera: Pose, boxes: list = (), camera: Camera = CAMERA, room: tuple = ROOM
) -> np.ndarray:
    """Return (H, W) float32 m; boxes are (low corner, high corner) in the base frame, floor at 0.

    The camera must be inside the room and outside the boxes.
    """
    directions = image_rays(camera) @ base_from_camera.rotation.T
    _, depth = enter_and_leave(directions, base_from_camera.translation, room)
    return before_boxes(depth, directions, base_from_camera.translation, boxes).astype(np.float32)


def room_picture(
    base_from_camera: Pose, depth_m: np.ndarray, camera: Camera = CAMERA
) -> np.ndarray:
    """Return (H, W, 3) uint8 of what has this depth: a pattern by the place of each point."""
    rng = np.random.default_rng(3)
    waves = rng.normal(size=(3, 40))
    lengths_m = np.exp(rng.uniform(np.log(0.2), np.log(1.2), 40))
    waves *= 2 * np.pi / lengths_m / np.linalg.norm(waves, axis=0)
    points = base_from_camera.apply(image_rays(camera) * depth_m[..., None])
    light = np.sin(points @ waves + rng.uniform(0, 2 * np.pi, 40)).sum(-1) / np.sqrt(20)
    grey = np.clip(np.rint(120 + 40 * light), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def monocular(depth_m: np.ndarray, seed: int, spread: float = 0.03) -> np.ndarray:
    """Return depth with a network's errors: smooth over patches, in proportion to the depth."""
    rng = np.random.default_rng(seed)
    height, width = depth_m.shape
    patches = rng.normal(0, spread, (height // 8 + 1, width // 8 + 1))
    log_error = np.kron(patches, np.ones((8, 8)))[:height, :width]
    return (depth_m * np.exp(log_error)).astype(np.float32)
