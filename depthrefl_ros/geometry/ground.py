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

"""The floor: the lowest large level plane in a depth image, found by RANSAC with a gravity prior.

A plane with the unit normal n (up) at the distance h below the camera holds the points p with
-n . p = h. With m = -n / h that is m . p = 1, and for a pixel whose depth is wrong by the factor
(1 + e), m . p = 1 + e: the residual *is* the relative error. Monocular depth errs in proportion to
itself, so one tolerance serves near and far, and plain least squares on m . p = 1 weights the
pixels as their noise asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import pixel_rays, sampled_pixels

GRAVITY_M_S2 = 9.81
_SAMPLES = 3000  # pixels of the whole image that are looked at
_TRIPLES = 2000  # drawn
_HYPOTHESES = 200  # of them scored
_WINDOW = 0.2  # of the samples, sorted by height, from which one triple is drawn
_REFINEMENTS = 5
_SCATTERS = 3.0  # of the median residual, within which a point still lies on the plane
_SMALLEST_TOLERANCE = 0.01
_LOWER_SHARE = 0.3  # of the plane's points, that a lower one needs to be taken instead
# A floor has nothing below it, a table top has: a point below costs as much as this many on it.
_BELOW_COST = 3.0
_BELOW_RATIO = 1.1  # how much longer than to the plane the ray must be to count as below


@dataclass(frozen=True)
class FloorSettings:
    """What counts as a floor.

    Attributes:
        max_tilt_deg: largest angle between the plane's normal and the prior's up, degrees.
        tolerance: largest relative difference between a floor pixel's depth and the plane's.
        min_share: of the image's pixels that must lie on the plane.
        min_height_m: of the camera above the plane, metres.
        max_height_m: of the camera above the plane, metres.

    Raises:
        ValueError: a value out of its range.
    """

    max_tilt_deg: float = 15.0
    tolerance: float = 0.05
    min_share: float = 0.04
    min_height_m: float = 0.05
    max_height_m: float = 3.0

    def __post_init__(self) -> None:
        if not 0.0 < self.max_tilt_deg < 45.0:
            raise ValueError(f"max_tilt_deg is {self.max_tilt_deg}; need 0 < it < 45")
        if not 0.0 < self.tolerance < 0.5:
            raise ValueError(f"tolerance is {self.tolerance}; need 0 < it < 0.5")
        if not 0.0 < self.min_share < 1.0:
            raise ValueError(f"min_share is {self.min_share}; need 0 < it < 1")
        if not 0.0 < self.min_height_m < self.max_height_m:
            raise ValueError(
                f"heights are {self.min_height_m} to {self.max_height_m} m; need 0 < min < max"
            )


@dataclass(frozen=True, eq=False)
class Floor:
    """A floor plane in the camera's optical frame.

    Attributes:
        normal: (3,) float64 of length 1, up.
        height_m: of the camera above the plane, along the normal, metres.
        share: of the image's pixels that lie on it.
        tilt_deg: angle between ``normal`` and the prior's up, degrees.
        columns: (n,) int64 of the sampled pixels that lie on it.
        rows: (n,) int64, their rows.
        scatter: median share by which these pixels' depth differs from the plane's.
    """

    normal: np.ndarray
    height_m: float
    share: float
    tilt_deg: float
    columns: np.ndarray
    rows: np.ndarray
    scatter: float

    @property
    def base_from_camera(self) -> Pose:
        """A frame on the floor below the camera; see ``Pose.over_floor``."""
        return Pose.over_floor(self.height_m, self.normal)


def up_from_acceleration(
    acceleration_m_s2: np.ndarray, tolerance: float = 0.1
) -> np.ndarray | None:
    """Return which way is up, from an accelerometer at rest (REP-145: it reads +g upwards).

    Args:
        acceleration_m_s2: (3,) linear acceleration in the sensor's frame, gravity included.
        tolerance: by what share of g its length may differ before it is not gravity alone.

    Returns:
        (3,) float64 of length 1 in the sensor's frame, or None: accelerated, or not a number.
    """
    acceleration = np.asarray(acceleration_m_s2, np.float64)
    length = float(np.linalg.norm(acceleration))
    if not abs(length - GRAVITY_M_S2) <= tolerance * GRAVITY_M_S2:
        return None
    return acceleration / length


def find_floor(
    depth_m: np.ndarray,
    camera: Camera,
    up: np.ndarray,
    settings: FloorSettings | None = None,
    rng: np.random.Generator | None = None,
) -> Floor | None:
    """Return the floor plane, if enough of one is seen.

    Args:
        depth_m: (h, w) float32 metres along the optical axis; NaN, infinite and 0 are unknown.
        camera: the rectified pinhole camera of ``depth_m``.
        up: (3,) the prior: up in the camera's optical frame, of any length.
        settings: what counts as a floor.
        rng: draws the hypotheses; without it always the same are drawn.

    Returns:
        The floor, or None: none in view, or not within the settings.

    Raises:
        ValueError: ``up`` is no direction, or the image is not of the camera's size.
    """
    settings = settings or FloorSettings()
    rng = rng or np.random.default_rng(0)
    up = _unit(up)
    if depth_m.shape != (camera.height, camera.width):
        raise ValueError(
            f"depth is {depth_m.shape}; its camera {camera.width}x{camera.height} needs "
            f"{(camera.height, camera.width)}"
        )
    columns, rows = sampled_pixels(camera, _SAMPLES)
    pixels = len(columns)
    columns, rows, points = _below_horizon(depth_m, camera, up, columns, rows, settings)
    if len(points) < max(3, settings.min_share * pixels):
        return None
    plane = _best_hypothesis(points, up, settings, rng)
    if plane is None:
        return None
    plane, on_it = _refined(points, plane, settings.tolerance)
    height = 1.0 / float(np.linalg.norm(plane))
    normal = -plane * height
    tilt = math.degrees(math.acos(min(1.0, float(normal @ up))))
    share = float(on_it.sum()) / pixels
    if (
        share < settings.min_share
        or tilt > settings.max_tilt_deg
        or not settings.min_height_m <= height <= settings.max_height_m
    ):
        return None
    scatter = float(np.median(np.abs(points[on_it] @ plane - 1.0)))
    return Floor(normal, height, share, tilt, columns[on_it], rows[on_it], scatter)


def _unit(up: np.ndarray) -> np.ndarray:
    up = np.asarray(up, np.float64)
    length = float(np.linalg.norm(up))
    if up.shape != (3,) or not math.isfinite(length) or length == 0.0:
        raise ValueError(f"up is {up.tolist()}; three finite numbers, not all 0, are needed")
    return up / length


def _below_horizon(
    depth_m: np.ndarray,
    camera: Camera,
    up: np.ndarray,
    columns: np.ndarray,
    rows: np.ndarray,
    settings: FloorSettings,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the samples that look down and know their depth, and their points (n, 3) float32."""
    rays = pixel_rays(camera, columns, rows)
    depth = depth_m[rows, columns].astype(np.float64)
    # Of the floor's own pixels none lies above the horizon, whatever its tilt within the limit.
    drop = depth * -(rays @ up)
    with np.errstate(invalid="ignore"):
        keep = np.isfinite(depth) & (depth > 0) & (drop > 0.5 * settings.min_height_m)
    points = (rays[keep] * depth[keep, None]).astype(np.float32)
    return columns[keep], rows[keep], points


def _best_hypothesis(
    points: np.ndarray, up: np.ndarray, settings: FloorSettings, rng: np.random.Generator
) -> np.ndarray | None:
    """Return the plane m (3,) through three samples that has most points on it and fewest below."""
    planes = _hypotheses(points, up, settings, rng)
    if not len(planes):
        return None
    ratio = points @ planes.T.astype(np.float32)  # of a point's depth to the plane's on its ray
    on_it = np.count_nonzero(np.abs(ratio - 1.0) < settings.tolerance, axis=0)
    below = np.count_nonzero(ratio > _BELOW_RATIO, axis=0)
    return planes[np.argmax(on_it - _BELOW_COST * below)]


def _hypotheses(
    points: np.ndarray, up: np.ndarray, settings: FloorSettings, rng: np.random.Generator
) -> np.ndarray:
    """Return planes m (k, 3) through three samples each that agree with the prior and the heights.

    Samples are sorted by their height as the prior has it and a triple is drawn from a window of
    them: a floor that is a small part of the image still gives triples that lie on it altogether.
    """
    order = np.argsort(points @ up.astype(np.float32))
    window = max(3, int(_WINDOW * len(points)))
    first = rng.integers(0, max(1, len(points) - window), _TRIPLES)
    a, b, c = (
        points[order[first + rng.integers(0, window, _TRIPLES)]].astype(np.float64)
        for _ in range(3)
    )
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1)
    normals[normals @ up < 0] *= -1
    heights = -np.einsum("ij,ij->i", normals, a) / np.maximum(lengths, 1e-12)
    agree = (
        (lengths > 1e-9)
        & (normals @ up >= math.cos(math.radians(settings.max_tilt_deg)) * lengths)
        & (heights >= settings.min_height_m)
        & (heights <= settings.max_height_m)
    )
    agree = np.flatnonzero(agree)[:_HYPOTHESES]
    return -normals[agree] / (lengths[agree] * heights[agree])[:, None]


def _refined(
    points: np.ndarray, plane: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit the points near the plane by least squares; the plane (3,), and which (n,) lie on it.

    When nearly as many lie just below it, as the floor does around a rug, the plane goes there.
    """
    points = points.astype(np.float64)
    plane, on_it, limit = _fitted(points, plane, tolerance)
    ratio = points @ plane
    below = (ratio > 1.0 + limit) & (ratio < _BELOW_RATIO)
    if limit < tolerance and below.any():
        lower, on_lower, _ = _fitted(points, plane / np.median(ratio[below]), limit)
        is_lower = np.linalg.norm(lower) < np.linalg.norm(plane)
        if is_lower and np.count_nonzero(on_lower) > _LOWER_SHARE * np.count_nonzero(on_it):
            return lower, on_lower
    return plane, on_it


def _fitted(
    points: np.ndarray, plane: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Do as ``_refined``; returns the relative tolerance at which it ended, too.

    The tolerance shrinks to what the points' own scatter asks for: what stands on the floor lies
    on one side of the plane only, and within a wide tolerance its foot would pull the plane up.
    """
    limit = tolerance
    on_it = np.abs(points @ plane - 1.0) < limit
    for _ in range(_REFINEMENTS):
        near = points[on_it]
        if len(near) < 3:
            break
        plane = np.linalg.lstsq(near.T @ near, near.sum(axis=0), rcond=None)[0]
        error = np.abs(points @ plane - 1.0)
        scatter = float(np.median(error[on_it]))
        limit = min(tolerance, max(_SCATTERS * scatter, _SMALLEST_TOLERANCE))
        on_it = error < limit
    return plane, on_it, limit
