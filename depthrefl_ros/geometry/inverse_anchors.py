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

"""Anchors of inverse relative depth: relative values of pixels beside their true distances.

The anchors are those of ``anchors``; but where scale *and* shift are unknown no ratio of depths
means anything, so they give pairs instead. What is a step of depth and what is a plane has to be
told without metres: by shares of what the image spans, and because a plane is affine in the image
in inverse depth whatever its scale and shift.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import cv2
import numpy as np

from depthrefl_ros.geometry.anchors import (
    FLOOR_SHARE,
    FLOOR_TOLERANCE,
    MIN_FLOOR_ANGLE_DEG,
    NEIGHBOURHOOD,
    POINTS,
    RangeReading,
    is_level,
    look_in_cone,
    project,
    upper_quantile,
)
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import pixel_rays, sampled_pixels

_STEP = 0.08  # of the image's span within a neighbourhood: a step of depth
_FLOOR_SAMPLES = 1500
_HYPOTHESES = 200
_BELOW_COST, _BELOW_RATIO = 3.0, 1.1  # as of ``ground``: a floor has nothing below it
_READINGS = 60  # kept of a ranger
_WINDOW_S = 12.0  # older readings are forgotten


class Pairs(NamedTuple):
    """What an anchor says of one frame.

    Attributes:
        relative: (n,) float64 inverse relative depth, larger is nearer.
        true_m: (n,) float64 metres along the optical axis of the same pixels.
    """

    relative: np.ndarray
    true_m: np.ndarray


NO_PAIRS = Pairs(np.zeros(0), np.zeros(0))


def relative_span(relative: np.ndarray) -> float:
    """Return what an image's relative values (h, w) span, from 2 to 98 percent; 0 without any."""
    some = relative[::4, ::4]
    some = some[np.isfinite(some)]
    if some.size < 2:
        return 0.0
    low, high = np.quantile(some, (0.02, 0.98))
    return float(high - low)


def points_pairs(relative: np.ndarray, camera: Camera, points: np.ndarray, span: float) -> Pairs:
    """Pair sparse points, of a lidar or of visual odometry, with their pixels.

    Args:
        relative: (h, w) float32; NaN is unknown.
        camera: the rectified pinhole camera of ``relative``.
        points: (n, 3) metres in the camera's optical frame. Those that are not finite, behind the
            camera, outside the image or beside a step of depth are left out.
        span: of ``relative_span``.
    """
    points = np.asarray(points, np.float64).reshape(-1, 3)
    points = points[:: max(1, math.ceil(len(points) / POINTS))]
    columns, rows, seen = project(camera, points)
    columns, rows, true_m = columns[seen], rows[seen], points[seen, 2]
    use = _is_smooth(relative, span)[rows, columns]
    return Pairs(relative[rows, columns][use].astype(np.float64), true_m[use])


def image_pairs(relative: np.ndarray, reference_m: np.ndarray, span: float) -> Pairs:
    """Pair the valid pixels of a depth camera with the network's.

    Args:
        relative: (h, w) float32; NaN is unknown.
        reference_m: (h, w) float32 metres of the same pixels; NaN is unknown.
        span: of ``relative_span``.
    """
    use = is_level(reference_m) & _is_smooth(relative, span)
    places = np.flatnonzero(use)
    places = places[:: max(1, math.ceil(len(places) / POINTS))]
    values = (plane.ravel()[places].astype(np.float64) for plane in (relative, reference_m))
    return Pairs(*values)


def _is_smooth(relative: np.ndarray, span: float) -> np.ndarray:
    known = np.isfinite(relative)
    low = cv2.erode(np.where(known, relative, np.inf), NEIGHBOURHOOD)
    high = cv2.dilate(np.where(known, relative, -np.inf), NEIGHBOURHOOD)
    with np.errstate(invalid="ignore", over="ignore"):  # of a window without a known value
        return known & (high - low <= np.float32(_STEP * span))


def floor_pairs(relative: np.ndarray, camera: Camera, up: np.ndarray, height_m: float) -> Pairs:
    """Pair the floor's pixels with where a floor at the known camera height must be.

    On the floor 1/z = (-up . ray) / height, and r is affine in 1/z: so the floor is the line in
    the plane of (r, 1/z) with most pixels on it and nothing below it. The pitch of the camera
    counts: an error of d radians is a shift of d / height.

    Args:
        relative: (h, w) float32; NaN is unknown.
        camera: the rectified pinhole camera of ``relative``.
        up: (3,) up in the camera's optical frame.
        height_m: of the camera above the floor, metres.

    Returns:
        Pairs of floor pixels; none without a floor in view.

    Raises:
        ValueError: ``height_m`` is not positive and finite.
    """
    if not 0.0 < height_m < math.inf:
        raise ValueError(f"camera height is {height_m} m; more than 0 is needed")
    columns, rows = sampled_pixels(camera, _FLOOR_SAMPLES)
    samples = len(columns)
    rays = pixel_rays(camera, columns, rows)
    drop = -(rays @ up) / np.linalg.norm(up)
    values = relative[rows, columns].astype(np.float64)
    steep = drop > math.sin(math.radians(MIN_FLOOR_ANGLE_DEG)) * np.linalg.norm(rays, axis=1)
    use = steep & np.isfinite(values)
    values, true_m = values[use], height_m / drop[use]
    if len(values) < FLOOR_SHARE * samples:
        return NO_PAIRS
    rng = np.random.default_rng(0)  # always the same hypotheses
    first, second = rng.integers(0, len(values), (2, _HYPOTHESES))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = (1.0 / true_m[first] - 1.0 / true_m[second]) / (values[first] - values[second])
    shift = 1.0 / true_m[first] - scale * values[first]
    good = np.isfinite(scale) & (scale > 0.0)
    if not good.any():
        return NO_PAIRS
    ratio = true_m[:, None] * (values[:, None] * scale[good] + shift[good])
    on_it = np.abs(ratio - 1.0) < FLOOR_TOLERANCE
    below = np.count_nonzero(ratio < 1.0 / _BELOW_RATIO, axis=0)
    best = int(np.argmax(np.count_nonzero(on_it, axis=0) - _BELOW_COST * below))
    chosen = on_it[:, best]
    if np.count_nonzero(chosen) < FLOOR_SHARE * samples:
        return NO_PAIRS
    return Pairs(values[chosen], true_m[chosen])


def range_pair(
    relative: np.ndarray, camera: Camera, reading: RangeReading, camera_from_sensor: Pose
) -> Pairs:
    """Pair a ranger's reading with the nearest surface in its cone.

    Args:
        relative: (h, w) float32; NaN is unknown.
        camera: the rectified pinhole camera of ``relative``.
        reading: one reading.
        camera_from_sensor: the sensor's frame, x ahead, in the camera's optical frame.

    Returns:
        One pair; none when the reading is no distance or its cone is not wholly in the image.
    """
    seen = look_in_cone(relative, camera, reading, camera_from_sensor)
    if seen is None or not np.isfinite(seen[0]).any():
        return NO_PAIRS
    values, true_m, _ = seen
    # One wrong pixel is no surface: the nearest is the one that a few are nearer than.
    nearest = int(np.nanargmin(np.abs(values - upper_quantile(values[np.isfinite(values)]))))
    return Pairs(values[nearest : nearest + 1], true_m[nearest : nearest + 1])


class PairWindow:
    """The pairs of a ranger's last readings: each gives one."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, float, float]] = deque(maxlen=_READINGS)

    def add(self, pairs: Pairs, stamp_s: float) -> None:
        """Add what ``range_pair`` gave for one new reading at this time, seconds."""
        if self._kept and stamp_s < self._kept[-1][0]:
            self._kept.clear()  # the clock jumped back
        self._kept.extend((stamp_s, *one) for one in zip(*pairs, strict=True))

    def pairs(self, now_s: float) -> Pairs:
        """Return those within the window that ends now."""
        while self._kept and not 0.0 <= now_s - self._kept[0][0] <= _WINDOW_S:
            self._kept.popleft()
        kept = np.array([one[1:] for one in self._kept]).reshape(-1, 2)
        return Pairs(kept[:, 0], kept[:, 1])
