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

"""The scale of one frame's depth as every anchor that the robot has measures it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from depthrefl_ros.geometry.anchors import (
    ReadingWindow,
    depth_anchor,
    ground_anchor,
    points_anchor,
    range_anchor,
)
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.scale import GROUND, RANGE, REFERENCE_DEPTH, REFERENCE_POINTS
from depthrefl_ros.geometry.surround import Surround


class AnchorRatios:
    """Measures depth by the anchors, and keeps a ranger's readings from frame to frame."""

    def __init__(self) -> None:
        self._readings = ReadingWindow()

    def measure(
        self,
        depth_m: np.ndarray,
        camera: Camera,
        surround: Surround,
        anchors: Sequence[str],
        problems: dict[str, str],
    ) -> dict[str, np.ndarray]:
        """Return ln(true / predicted), (n,) float64, by each anchor that can measure.

        A ranger or a cloud that tells nothing gives an empty array, one that is not heard none.

        Args:
            depth_m: (h, w) float32 metres, uncorrected.
            camera: the rectified pinhole camera of ``depth_m``.
            surround: what the robot knows.
            anchors: that are wanted, of ``scale.ANCHORS``.
            problems: gets, by the anchor's name, why one of them cannot measure.
        """
        measures = {
            GROUND: self._ground,
            RANGE: self._range,
            REFERENCE_POINTS: self._points,
            REFERENCE_DEPTH: self._depth,
        }
        found = {}
        for name, measure in measures.items():
            # The floor needs no sensor: where it can be measured it judges the others.
            if name not in anchors and name != GROUND:
                continue
            try:
                ratios = measure(depth_m, camera, surround)
                if ratios is not None:
                    found[name] = ratios
            except ValueError as error:
                if name in anchors:
                    problems[name] = f"{name} cannot measure the scale: {error}"
                if name == RANGE:  # with nothing in range it is heard all the same
                    found[name] = np.zeros(0)
        return found

    def _ground(self, depth_m: np.ndarray, camera: Camera, surround: Surround) -> np.ndarray:
        if surround.base_from_camera is None:
            raise ValueError(surround.pose_problem)
        height_m = float(surround.base_from_camera.translation[2])
        return ground_anchor(depth_m, camera, surround.up, height_m)

    def _range(self, depth_m: np.ndarray, camera: Camera, surround: Surround) -> np.ndarray | None:
        reading = surround.reading
        if reading is not None:
            if not reading.is_distance:
                raise ValueError(
                    f"the reading is {reading.range_m:g} m; a distance between min_range "
                    f"{reading.min_range_m:g} m and max_range {reading.max_range_m:g} m is needed"
                )
            found = range_anchor(depth_m, camera, reading, surround.camera_from_ranger)
            self._readings.add(found, surround.time_s)
        ratios = self._readings.log_ratios(surround.time_s)
        return None if reading is None and not len(ratios) else ratios

    @staticmethod
    def _points(depth_m: np.ndarray, camera: Camera, surround: Surround) -> np.ndarray | None:
        if surround.points is None:
            return None
        return points_anchor(depth_m, camera, surround.points)

    @staticmethod
    def _depth(depth_m: np.ndarray, _camera: Camera, surround: Surround) -> np.ndarray | None:
        if surround.reference_m is None:
            return None
        return depth_anchor(depth_m, surround.reference_m)
