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

"""Anchors of the metric scale: predicted distances beside true ones.

Each gives ln(true / predicted) of the depth before any scale correction. No evidence is an empty
array, never an error: a floor out of view and a cone that leaves the image are ordinary. (That a
sensor sees nothing at all is the caller's to tell, since the scale then stays unmeasured.)
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.ground import Floor, FloorSettings, find_floor
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import pixel_rays

_NOTHING = np.zeros(0)
# Networks bend floors and err in pitch: their plane only tells floor from the rest. One as flat as
# true depth gives tells the tilt better than a fixed mount on a robot that rocks.
_MOUNT_TILT_RAD = math.radians(1.0)
_TILT_PER_SCATTER = 3.0  # radians that a floor may lean for each share that it is uneven
FLOOR_TOLERANCE = 0.1
_FLOOR_TILT_DEG = 8.0
FLOOR_SHARE = 0.08  # of the image; smaller planes are too often a bed or a table
# Depth on rays that graze the floor depends on the pitch more than on the scale: at 8 degrees half
# a degree makes 6 %.
MIN_FLOOR_ANGLE_DEG = 8.0
_HEIGHT_FACTOR = 3.0  # measured heights beyond this factor of the known one are another plane
POINTS = 5000  # of a larger cloud are used
_EDGE_RATIO = 1.15
NEIGHBOURHOOD = np.ones((5, 5), np.uint8)
_READINGS = 30  # kept of a ranger
_JUMP = math.log(1.25)  # readings whose ratios differ by more contradict one another
# For so long, and so many of them, until they are believed: a robot that passes a pane of glass,
# which a sonar sees and the network does not, must not take its scale from it.
_JUMP_S, _JUMP_READINGS = 4.0, 8
# The surface that a ranger answers to fills more than this share of the cone.
_LEAST_OF_CONE = 0.02
_UPPER_DEVIATIONS = 2.05  # by which 2 % of a normal distribution exceed its middle
_MAD_TO_DEVIATION = 1.48
# What differs by more deviations of the noise, within these limits of ln, is another surface.
_SURFACE_DEVIATIONS = 4.0
_SURFACE_LOG_DEPTH = (0.05, 0.2)
_MIN_HALF_CONE_RAD = math.radians(1.0)  # drivers of laser rangers often leave field_of_view 0


def ground_anchor(
    depth_m: np.ndarray, camera: Camera, up: np.ndarray, height_m: float
) -> np.ndarray:
    """Return the predicted floor against the one that the known camera height asks for.

    The true depth of a floor pixel with the ray r is z = height / (-up . r). The flatter the
    predicted floor, the more its own normal is taken for up. A table that hides the whole floor
    looks like a floor that is too near; only another anchor can tell.

    Args:
        depth_m: (h, w) float32 metres, uncorrected; what is not finite is unknown.
        camera: the rectified pinhole camera of ``depth_m``.
        up: (3,) up in the camera's optical frame: ``base_from_camera.up_in_source``.
        height_m: of the camera above the floor, metres.

    Returns:
        (n,) float64 ln(true / predicted) of floor pixels; empty without a floor in view.

    Raises:
        ValueError: ``up`` is no direction, or ``height_m`` is not positive and finite.
    """
    if not 0.0 < height_m < math.inf:
        raise ValueError(f"camera height is {height_m} m; more than 0 is needed")
    settings = FloorSettings(
        max_tilt_deg=_FLOOR_TILT_DEG,
        tolerance=FLOOR_TOLERANCE,
        min_share=FLOOR_SHARE,
        min_height_m=height_m / _HEIGHT_FACTOR,
        max_height_m=height_m * _HEIGHT_FACTOR,
    )
    floor = find_floor(depth_m, camera, up, settings)
    if floor is None:
        return _NOTHING
    rays = pixel_rays(camera, floor.columns, floor.rows)
    drop = -(rays @ _leaning(up, floor))
    steep = drop > math.sin(math.radians(MIN_FLOOR_ANGLE_DEG)) * np.linalg.norm(rays, axis=1)
    predicted = depth_m[floor.rows[steep], floor.columns[steep]].astype(np.float64)
    return np.log(height_m / drop[steep] / predicted)


def _leaning(up: np.ndarray, floor: Floor) -> np.ndarray:
    """Return the mount's up (3,) and the floor's normal, each weighted by its inverse variance."""
    up = up / np.linalg.norm(up)
    floor_tilt_rad = _TILT_PER_SCATTER * floor.scatter
    weight = _MOUNT_TILT_RAD**2 / (_MOUNT_TILT_RAD**2 + floor_tilt_rad**2)
    blended = (1.0 - weight) * up + weight * floor.normal
    return blended / np.linalg.norm(blended)


@dataclass(frozen=True)
class RangeReading:
    """What a sensor_msgs/Range says.

    Attributes:
        range_m: the reading, metres; +Inf: nothing in range, -Inf: too near (REP-117).
        min_range_m: readings must lie above, metres.
        max_range_m: and below, metres.
        field_of_view_rad: full angle of the cone in which the nearest surface is reported.
    """

    range_m: float
    min_range_m: float
    max_range_m: float
    field_of_view_rad: float

    @property
    def is_distance(self) -> bool:
        """Whether the reading is a distance: a number between the limits."""
        return self.range_m > 0 and self.min_range_m < self.range_m < self.max_range_m


def range_anchor(
    depth_m: np.ndarray, camera: Camera, reading: RangeReading, camera_from_sensor: Pose
) -> np.ndarray:
    """Return the nearest surface in a ranger's cone against its reading.

    The reading says that nothing within the cone is nearer than ``range_m`` and something is just
    there. The point at that distance from the sensor on the ray of pixel i is t_i from the camera,
    and the prediction puts a surface at d_i: the scale is the largest t_i / d_i. Of a network's
    depth the largest is its noise, or one wrong pixel. So the nearest surface is looked for that
    fills 2 % of the cone, and what its scatter adds to its upper end is taken off.

    Args:
        depth_m: (h, w) float32 metres, uncorrected; what is not finite is unknown.
        camera: the rectified pinhole camera of ``depth_m``.
        reading: one reading.
        camera_from_sensor: the sensor's frame, x ahead, in the camera's optical frame.

    Returns:
        (1,) float64 ln(true / predicted); empty when the reading is no distance or when the cone
        is not wholly in the image, since the nearest surface may then be outside.
    """
    seen = look_in_cone(depth_m, camera, reading, camera_from_sensor)
    if seen is None:
        return _NOTHING
    depth, true_m, places = seen
    known = np.isfinite(depth) & (depth > 0)
    if not known.any():
        return _NOTHING
    return np.array([_upper_end(np.log(true_m[known] / depth[known]), places[known])])


def _upper_end(log_ratios: np.ndarray, places: np.ndarray) -> float:
    """Return the largest log ratio (n,) of the nearest surface, less what its noise adds.

    The surface is what lies about as far as the nearest 2 % of all pixels; its noise is what
    deviates from a quadratic function of their places (n, 2) in the image.
    """
    start, reach = upper_quantile(log_ratios), _SURFACE_LOG_DEPTH[1]
    for _ in range(2):  # less noise lets surfaces be told apart that are closer together
        near = np.abs(log_ratios - start) < reach
        surface, (x, y) = log_ratios[near], (places[near] - places[near].mean(axis=0)).T
        terms = np.column_stack([np.ones_like(x), x, y, x * x, x * y, y * y])
        left = surface - terms @ np.linalg.lstsq(terms, surface, rcond=None)[0]
        scatter = _MAD_TO_DEVIATION * float(np.median(np.abs(left)))
        reach = float(np.clip(_SURFACE_DEVIATIONS * scatter, *_SURFACE_LOG_DEPTH))
    return max(float(np.median(surface)), upper_quantile(surface) - _UPPER_DEVIATIONS * scatter)


def upper_quantile(values: np.ndarray) -> float:
    """Return the value (n,) that 2 % exceed, of few the second largest."""
    place = int((1.0 - _LEAST_OF_CONE) * (len(values) - 1))
    return float(np.partition(values, place)[place])


def look_in_cone(
    plane: np.ndarray, camera: Camera, reading: RangeReading, camera_from_sensor: Pose
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return what an image has in a ranger's cone, and how far its surface would be there.

    Args:
        plane: (h, w) float32.
        camera: the rectified pinhole camera of ``plane``.
        reading: one reading.
        camera_from_sensor: the sensor's frame, x ahead, in the camera's optical frame.

    Returns:
        Values of the plane, (n,) float64; along the optical axis the distance of a surface that
        the reading may be of, (n,) float64 metres; and their columns and rows, (n, 2). None when
        the reading is no distance or the cone is not wholly in the image.
    """
    if not reading.is_distance:
        return None
    half_angle = max(reading.field_of_view_rad / 2.0, _MIN_HALF_CONE_RAD)
    pixels = _cone_pixels(camera, reading.range_m, half_angle, camera_from_sensor)
    if pixels is None:
        return None
    columns, rows = pixels
    rays = pixel_rays(camera, columns, rows)
    lengths = np.linalg.norm(rays, axis=1)
    rays /= lengths[:, None]
    origin, axis = camera_from_sensor.translation, camera_from_sensor.rotation[:, 0]
    # abs(t ray - origin) = range, solved for the farther t.
    along = rays @ origin
    square = along**2 + reading.range_m**2 - origin @ origin
    true = along + np.sqrt(np.maximum(square, 0.0))
    cosine = (true[:, None] * rays - origin) @ axis / reading.range_m
    inside = (square > 0) & (true > 0) & (cosine >= math.cos(half_angle))
    places = np.column_stack([columns, rows])[inside]
    return plane[rows, columns][inside].astype(np.float64), (true / lengths)[inside], places


def _cone_pixels(
    camera: Camera, range_m: float, half_angle_rad: float, camera_from_sensor: Pose
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return columns and rows (n,) around the cone's rim at this distance; None if not all seen."""
    turn = np.linspace(0.0, 2.0 * math.pi, 16, endpoint=False)
    rim = np.stack(
        [
            np.full_like(turn, math.cos(half_angle_rad)),
            math.sin(half_angle_rad) * np.cos(turn),
            math.sin(half_angle_rad) * np.sin(turn),
        ],
        axis=-1,
    )
    columns, rows, seen = project(camera, camera_from_sensor.apply(rim * range_m))
    if not seen.all():
        return None
    box = np.mgrid[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return box[1].ravel(), box[0].ravel()


class ReadingWindow:
    """The ratios of a ranger's last 30 readings: each gives one, a measurement needs 20.

    Where the model's scale jumps, the readings of a slow ranger would speak for the old one for
    long. So when all of the last four seconds, eight at least, agree with one another and
    contradict those before, these are moved to where the new ones are.

    Args:
        seconds: readings older than this are forgotten; sensors and nodes of 2 Hz give enough.
    """

    def __init__(self, seconds: float = 12.0):
        self.seconds = seconds
        self._kept: deque[tuple[float, float]] = deque(maxlen=_READINGS)

    def add(self, log_ratios: np.ndarray, stamp_s: float) -> None:
        """Add what ``range_anchor`` gave for one new reading at this time, seconds."""
        if self._kept and stamp_s < self._kept[-1][0]:
            self._kept.clear()  # the clock jumped back
        self._kept.extend((stamp_s, float(value)) for value in log_ratios)
        self._follow_jump()

    def _follow_jump(self) -> None:
        stamps, values = np.array(self._kept).reshape(-1, 2).T
        # The reading that is just so old is among the newest, so that slow rangers have enough.
        newest = int(np.searchsorted(stamps, stamps[-1:].sum() - _JUMP_S, side="right")) - 1
        newest = min(newest, len(values) - _JUMP_READINGS)
        if newest < 1 or np.ptp(values[newest:]) > _JUMP:
            return
        before, after = np.median(values[:newest]), np.median(values[newest:])
        if abs(after - before) > _JUMP:
            values[:newest] += after - before
            self._kept.extend(zip(stamps.tolist(), values.tolist(), strict=True))

    def log_ratios(self, now_s: float) -> np.ndarray:
        """Return (n,) float64 of the readings within the window that ends now."""
        while self._kept and not 0.0 <= now_s - self._kept[0][0] <= self.seconds:
            self._kept.popleft()
        return np.array([value for _, value in self._kept])


def points_anchor(depth_m: np.ndarray, camera: Camera, points: np.ndarray) -> np.ndarray:
    """Return sparse points, of a lidar or of visual odometry, against the depth of their pixels.

    Args:
        depth_m: (h, w) float32 metres, uncorrected; what is not finite is unknown.
        camera: the rectified pinhole camera of ``depth_m``.
        points: (n, 3) metres in the camera's optical frame. Those that are not finite, behind the
            camera, outside the image or beside a step of depth are left out.

    Returns:
        (m,) float64 ln(true / predicted).
    """
    points = np.asarray(points, np.float64).reshape(-1, 3)
    points = points[:: max(1, math.ceil(len(points) / POINTS))]
    columns, rows, seen = project(camera, points)
    columns, rows, true = columns[seen], rows[seen], points[seen, 2]
    predicted = depth_m[rows, columns].astype(np.float64)
    use = is_level(depth_m)[rows, columns] & (predicted > 0)
    return np.log(true[use] / predicted[use])


def depth_anchor(depth_m: np.ndarray, reference_m: np.ndarray) -> np.ndarray:
    """Return the valid pixels of a depth camera against the depth of the same pixels.

    Args:
        depth_m: (h, w) float32 metres, uncorrected; what is not finite is unknown.
        reference_m: (h, w) float32 metres, measured; NaN is unknown.

    Returns:
        (n,) float64 ln(true / predicted) of pixels beside no step of either, a few thousand.
    """
    places = np.flatnonzero(is_level(reference_m) & is_level(depth_m) & (depth_m > 0))
    places = places[:: max(1, math.ceil(len(places) / POINTS))]
    true, predicted = (plane.ravel()[places].astype(np.float64) for plane in (reference_m, depth_m))
    return np.log(true / predicted)


def is_level(depth_m: np.ndarray) -> np.ndarray:
    """Return the pixels (h, w) bool of a depth (h, w) that are known and beside no step."""
    known = np.isfinite(depth_m)  # a NaN would hide the least and the greatest beside it
    near = cv2.erode(np.where(known, depth_m, np.inf), NEIGHBOURHOOD)
    far = cv2.dilate(np.where(depth_m > 0, depth_m, 0), NEIGHBOURHOOD)  # the sky is far
    return known & (far * np.float32(1.0 / _EDGE_RATIO) <= near)


def project(camera: Camera, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nearest pixels of points (n, 3): columns, rows (n,) int64; which are in view."""
    z = points[:, 2]
    ahead = np.isfinite(points).all(axis=1) & (z > 0.01)
    safe = np.where(ahead[:, None], points, (0.0, 0.0, 1.0))
    # Clipped before it becomes whole numbers: a point far aside would overflow.
    columns = np.rint(np.clip(camera.fx * safe[:, 0] / safe[:, 2] + camera.cx, -1, camera.width))
    rows = np.rint(np.clip(camera.fy * safe[:, 1] / safe[:, 2] + camera.cy, -1, camera.height))
    seen = ahead & (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
    return columns.astype(np.int64), rows.astype(np.int64), seen
