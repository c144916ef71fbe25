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

"""Which frames of a drive show something new, by the camera's motion or by the pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from depthrefl_ros.geometry.pose import Pose

_SIZE = (64, 48)  # of the pictures that are compared: noise and small things are averaged away


@dataclass(frozen=True)
class KeyframeSettings:
    """How much must have changed since the last frame that was kept.

    Attributes:
        travel_m: of the camera, metres.
        turn_rad: of the camera, radians.
        change: mean difference of the pictures as a share of the range of grey; used where
            nothing says how the camera moves.
    """

    travel_m: float = 0.15
    turn_rad: float = math.radians(8.0)
    change: float = 0.03


class Keyframes:
    """Compares each frame with the last one that was kept.

    Args:
        settings: how much must have changed.
    """

    def __init__(self, settings: KeyframeSettings):
        self._settings = settings
        self._pose: Pose | None = None
        self._small: np.ndarray | None = None

    def is_new_pose(self, world_from_camera: Pose) -> bool:
        """Return whether the camera has moved enough."""
        if self._pose is not None:
            motion = self._pose.inverse() @ world_from_camera
            travel_m = float(np.linalg.norm(motion.translation))
            turn_rad = math.acos(max(-1.0, min(1.0, (np.trace(motion.rotation) - 1.0) / 2.0)))
            if travel_m < self._settings.travel_m and turn_rad < self._settings.turn_rad:
                return False
        return True

    def is_new_picture(self, image: np.ndarray) -> bool:
        """Return whether a picture differs enough.

        Exposure does not count: the mean is taken off.

        Args:
            image: (H, W, 3) uint8.
        """
        if self._small is None:
            return True
        change = float(np.abs(_small(image) - self._small).mean())
        return change >= self._settings.change

    def keep(self, image: np.ndarray | None, world_from_camera: Pose | None = None) -> None:
        """Take a frame for the last that was kept.

        Args:
            image: as for ``is_new_picture``; None where only poses are compared.
            world_from_camera: None where nothing says it.
        """
        self._small = None if image is None else _small(image)
        self._pose = world_from_camera


def _small(image: np.ndarray) -> np.ndarray:
    """Return the (48, 64) float32 picture that is compared, its mean 0."""
    small = cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = small.mean(axis=2) / np.float32(255.0)
    return small - small.mean()
