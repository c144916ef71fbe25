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

"""The shipped recording as a robot with one camera and odometry would have made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from corridor_drive import DriveFrame, corridor_frames
from motion_depth import RobotImage, write_recording

from depthrefl_ros.geometry.camera import Camera


def corridor_recording(
    path: Path,
    frames: Sequence[DriveFrame] = (),
    with_odometry: bool = True,
    with_mounts: bool = True,
    camera: Camera | None = None,
    picture: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Path:
    """Write the recording.

    Args:
        path: of it.
        frames: by default those of ``corridor_frames``.
        with_odometry: odom -> base_footprint on /tf.
        with_mounts: the base's frame is called base_footprint, and otherwise base_link.
        camera: of the images; by default the frames' own.
        picture: what the camera makes of a picture (H, W, 3) uint8.
    """
    images = [
        RobotImage(
            picture(frame.rgb),
            camera or frame.camera,
            frame.base_from_camera,
            frame.place.pose if with_odometry else None,
        )
        for frame in frames or corridor_frames()
    ]
    write_recording(path, images, "base_footprint" if with_mounts else "base_link")
    return path
