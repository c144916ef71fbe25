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

"""Frames of the shipped recording: picture, exact depth, and where the camera is by odometry."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from costmap_drive import Place, recorded_places
from scale import RECORDING, mounts_of

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.convert.camera_info import camera_from_info
from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.frame_sources import open_source
from depthrefl_ros.tools.truth import find_truth

PERIOD_S = 0.1


class DriveFrame(NamedTuple):
    """One frame; depth is (H, W) float32 metres, 0 where unknown."""

    rgb: np.ndarray
    camera: Camera
    true_m: np.ndarray
    base_from_camera: Pose
    place: Place

    @property
    def grey(self) -> np.ndarray:
        return cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY)

    @property
    def odom_from_camera(self) -> Pose:
        return self.place.pose @ self.base_from_camera

    def columns(self, points: np.ndarray) -> np.ndarray:
        return self.camera.fx * points[:, 0] / points[:, 2] + self.camera.cx

    def rows(self, points: np.ndarray) -> np.ndarray:
        return self.camera.fy * points[:, 1] / points[:, 2] + self.camera.cy

    def errors(self, points: np.ndarray, within_px: int = 3) -> np.ndarray:
        """Return ln(depth / true depth) (n,) of points (n, 3) in the optical frame.

        A corner is where surfaces end: of those within some pixels the nearest depth counts.
        """
        columns, rows = (np.rint(f(points)).astype(int) for f in (self.columns, self.rows))
        around = np.arange(-within_px, within_px + 1)
        rows = np.clip(rows[:, None, None] + around[:, None], 0, self.camera.height - 1)
        columns = np.clip(columns[:, None, None] + around, 0, self.camera.width - 1)
        with np.errstate(divide="ignore"):
            errors = np.log(points[:, 2, None, None] / self.true_m[rows, columns])
        errors = errors.reshape(len(points), -1)
        return errors[np.arange(len(points)), np.abs(errors).argmin(axis=1)]


@lru_cache(maxsize=1)
def corridor_frames(count: int = 16) -> tuple[DriveFrame, ...]:
    """Return the first frames, 0.1 s apart."""
    recording, frames = str(RECORDING), []
    mounts, truth = mounts_of(recording), find_truth(recording)
    places = recorded_places(count)
    for index, frame in enumerate(open_source(recording, Intrinsics()).frames()):
        if index == count:
            break
        camera = camera_from_info(frame.camera_info, recording)
        camera = camera.for_image(frame.width, frame.height)
        true_m = truth.depth_m({"source_stamp_ns": frame.stamp_ns, "name": frame.name})
        true_m = np.where(np.isfinite(true_m), true_m, np.float32(0.0))
        mount = Pose.from_mount(**mounts(frame.name, index * PERIOD_S))
        frames.append(DriveFrame(frame.rgb(recording), camera, true_m, mount, places[index]))
    return tuple(frames)
