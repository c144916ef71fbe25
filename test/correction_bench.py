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

"""A correction frame by frame, and depth to correct: walls, floors, a room."""

import math
from dataclasses import replace

import numpy as np
from room_depth import room_depth

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.correction import (
    CorrectionSettings,
    DepthCorrection,
)
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.scale import ScaleSettings
from depthrefl_ros.geometry.surround import Surround

CAMERA = Camera.from_horizontal_fov(256, 192, 1.1)
UP = np.array([0.0, -1.0, 0.0])
# The ranger's x is ahead, the camera's z.
AHEAD = Pose(np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]), np.zeros(3))
WALL_M = 2.0


def settings(scale_correction="none", temporal_smoothing_s=0.0, **scale) -> CorrectionSettings:
    scale_settings = ScaleSettings(**scale)
    return CorrectionSettings(temporal_smoothing_s, scale_correction, scale=scale_settings)


def wall(metres=WALL_M) -> np.ndarray:
    return np.full((CAMERA.height, CAMERA.width), metres, np.float32)


def floor(height_m: float, pitch_rad: float, farthest_m: float = 8.0) -> np.ndarray:
    """(h, w) float32 depth of a floor and of a wall behind it."""
    rows = np.arange(CAMERA.height)[:, None] - CAMERA.cy
    drop = math.sin(pitch_rad) + math.cos(pitch_rad) * rows / CAMERA.fy
    with np.errstate(divide="ignore"):
        depth = np.where(drop > 0, height_m / drop, farthest_m)
    shape = (CAMERA.height, CAMERA.width)
    return np.minimum(np.broadcast_to(depth, shape), farthest_m).astype(np.float32)


def points_at(metres: float) -> np.ndarray:
    return np.random.default_rng(2).uniform((-0.8, -0.5, metres), (0.8, 0.5, metres), (200, 3))


def mounted(height_m: float, pitch_deg: float = 0.0, **more) -> Surround:
    pose = Pose.from_mount(height_m, math.radians(pitch_deg))
    known = {"base_from_camera": pose, "pose_source": "parameters", "up": pose.up_in_source}
    return Surround(**{"time_s": 50.0, **known, **more})


def unmounted(**more) -> Surround:
    known = {"time_s": 50.0, "up": UP, "pose_problem": "no transform; camera_height is not given"}
    return Surround(**{**known, **more})


class Bench:
    """A correction and the time of its next frame."""

    def __init__(self, model_error=0.0):
        self.correction = DepthCorrection(model_error)
        self.time_s = 50.0

    def apply(self, depth_m, surround, how, image=None, **more):
        self.time_s += 0.1
        surround = replace(surround, time_s=self.time_s)
        image = np.zeros((*depth_m.shape, 3), np.uint8) if image is None else image
        return self.correction.apply(depth_m, image, CAMERA, surround, how, **more)


def room(height_m: float) -> np.ndarray:
    pose = Pose.from_mount(height_m, math.radians(10.0))
    return room_depth(pose, camera=CAMERA)
