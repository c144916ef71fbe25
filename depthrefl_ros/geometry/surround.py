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

"""What the robot knows at the moment of one image, beside the image: one value for all who ask."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from depthrefl_ros.geometry.anchors import RangeReading
from depthrefl_ros.geometry.motion import MotionPoints
from depthrefl_ros.geometry.pose import Pose


@dataclass(frozen=True, eq=False)
class Surround:
    """What the robot knows at the moment of one image, beside the image.

    Attributes:
        time_s: of the image, seconds; only differences count.
        up: (3,) float64, roughly up in the camera's optical frame.
        base_from_camera: where the camera stands; z = 0 of the base frame is the floor. None where
            nothing says so.
        pose_source: ``TF`` or ``parameters``; empty where nothing says where the camera stands.
        pose_problem: why there is no pose.
        may_fit_floor: where there is no pose, a floor in view may stand in for it.
        mount: where the camera stands as a network may be told it, or None.
        mount_problem: why there is none.
        awaits_transforms: TF is only beginning to arrive, so a missing pose is no fault yet.
        base_frame: name of the base frame.
        scan_frame: name of the frame of the scan.
        scan_from_camera: the camera in the frame of the scan, or None.
        scan_problem: why there is none.
        reading: of a ranger since the last image, or None.
        camera_from_ranger: the ranger's frame, x ahead, in the camera's optical frame, or None.
        points: (n, 3) float32 metres in the camera's optical frame: sparse points of known
            distance, or None.
        motion: points whose distance the camera's motion tells, or None.
        motion_problem: why there are none, where somebody asked for them.
        reference_m: (h, w) float32 metres of the network's pixels as a depth camera has them, NaN
            where it has none; or None.
        reference_image_m: (H, W) float32, the same of the raw image's pixels.
        problems: by a short name, why a sensor's message could not be used.
    """

    time_s: float
    up: np.ndarray
    base_from_camera: Pose | None = None
    pose_source: str = ""
    pose_problem: str = ""
    may_fit_floor: bool = True
    mount: Pose | None = None
    mount_problem: str = ""
    awaits_transforms: bool = False
    base_frame: str = ""
    scan_frame: str = ""
    scan_from_camera: Pose | None = None
    scan_problem: str = ""
    reading: RangeReading | None = None
    camera_from_ranger: Pose | None = None
    points: np.ndarray | None = None
    motion: MotionPoints | None = None
    motion_problem: str = ""
    reference_m: np.ndarray | None = None
    reference_image_m: np.ndarray | None = None
    problems: dict[str, str] = field(default_factory=dict)

    def mount_words(self, is_floor_in_view: bool) -> str:
        """Return what a network that takes the mount was told of it, or why it was not, for people.

        Args:
            is_floor_in_view: for the network is shown the floor, where the mount says it is.
        """
        if self.mount is None:
            return f"not told: {self.mount_problem}"
        words = f"{self.mount.mount_in_words()} by {self.pose_source}"
        return words if is_floor_in_view else f"not told: no floor in view from {words}"
