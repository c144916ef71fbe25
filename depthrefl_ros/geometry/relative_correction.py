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

"""Metres for a network that gives none: anchors measure its scale and shift, frame by frame."""

from __future__ import annotations

import numpy as np

from depthrefl_ros.geometry.affine import Affine, AffineCorrection, AffineHealth
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.inverse_anchors import (
    NO_PAIRS,
    Pairs,
    PairWindow,
    floor_pairs,
    image_pairs,
    points_pairs,
    range_pair,
    relative_span,
)
from depthrefl_ros.geometry.scale import MIN_INLIERS, ScaleSettings
from depthrefl_ros.geometry.surround import Surround


class RelativeCorrection:
    """Scale and shift of 1/z by what the robot knows beside the image."""

    def __init__(self) -> None:
        self._affine = AffineCorrection()
        self._readings = PairWindow()

    @property
    def health(self) -> AffineHealth:
        """Whether there is a scale and shift, as of the last update."""
        return self._affine.health

    def update(
        self,
        relative: np.ndarray,
        camera: Camera,
        surround: Surround,
        settings: ScaleSettings,
        problems: dict[str, str],
    ) -> Affine | None:
        """Take one frame.

        Args:
            relative: (h, w) float32 inverse relative depth, larger is nearer; NaN is unknown.
            camera: the rectified pinhole camera of ``relative``.
            surround: what the robot knows at this moment.
            settings: which anchors, and how they are averaged.
            problems: gets, by the anchor's name, why it cannot measure.

        Returns:
            Scale and shift; None while none hold.
        """
        measures = {
            "reference_depth": self._measure_depth,
            "reference_points": self._measure_points,
            "range": self._measure_range,
            "motion": self._measure_motion,
            "ground": self._measure_ground,
        }
        span, pairs = relative_span(relative), {}
        for name in settings.correct_with:
            try:
                found = measures[name](relative, camera, surround, span)
            except ValueError as error:
                problems[name] = f"{name} cannot measure scale and shift: {error}"
                continue
            if len(found.relative):
                pairs[name] = found
        self._affine.settings = settings
        return self._affine.update(pairs, span, surround.time_s, problems)

    @staticmethod
    def _measure_depth(
        relative: np.ndarray, _camera: Camera, surround: Surround, span: float
    ) -> Pairs:
        if surround.reference_m is None:
            return NO_PAIRS
        return image_pairs(relative, surround.reference_m, span)

    @staticmethod
    def _measure_points(
        relative: np.ndarray, camera: Camera, surround: Surround, span: float
    ) -> Pairs:
        if surround.points is None:
            return NO_PAIRS
        return points_pairs(relative, camera, surround.points, span)

    @staticmethod
    def _measure_motion(
        relative: np.ndarray, camera: Camera, surround: Surround, span: float
    ) -> Pairs:
        if surround.motion is None or len(surround.motion.points) < MIN_INLIERS:
            return NO_PAIRS  # a robot that has not driven yet is no fault
        return points_pairs(relative, camera, surround.motion.points, span)

    @staticmethod
    def _measure_ground(
        relative: np.ndarray, camera: Camera, surround: Surround, _span: float
    ) -> Pairs:
        if surround.base_from_camera is None:
            raise ValueError(surround.pose_problem)
        height_m = float(surround.base_from_camera.translation[2])
        return floor_pairs(relative, camera, surround.up, height_m)

    def _measure_range(
        self, relative: np.ndarray, camera: Camera, surround: Surround, _span: float
    ) -> Pairs:
        if surround.reading is not None:
            found = range_pair(relative, camera, surround.reading, surround.camera_from_ranger)
            self._readings.add(found, surround.time_s)
        return self._readings.pairs(surround.time_s)
