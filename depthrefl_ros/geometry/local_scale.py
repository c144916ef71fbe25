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

"""Depth that agrees with points of known distance where there are some, and stays elsewhere.

A network's depth errs by another factor here than there: a cabinet is put too near, and the floor
before it is right. Points of known distance, in a picture of which they cover a few places, tell
the factor at these. In between it is what Gaussian process regression expects of it (Rasmussen and
Williams 2006, 2.2): pixels that are close together in the picture *and* in depth are of one surface
and err alike, and far from all points only what all have in common is left. Points that disagree
with their neighbours count less (Student's t, by reweighting).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from depthrefl_ros.geometry.anchors import project
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import camera_floor_depth
from depthrefl_ros.geometry.motion import MotionPoints
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.tables import frozen, table

FEWEST_POINTS = 10
# What is so high above a floor that is known is no floor; below, the correction fades out.
_OVER_FLOOR_M = 0.1
_FADES_S = 1.0  # within which a correction that nothing tells any more is gone
_STRIDE = 4  # the network decides at a quarter of its resolution; so does the factor
_CELLS = 6000  # what is computed grows with their number
# Of the process: what neighbours have in common, standard deviations of log depth; and how far
# neighbours reach, in shares of the picture's width and in log depth. Chosen on rendered drives,
# which hardly mind: 0.15 to 0.25, and 0.3 to 0.45.
_ALL_IN_COMMON, _NEIGHBOURS_IN_COMMON = 0.1, 0.2
_REACH, _REACH_LOG_DEPTH = 0.2, 0.4
# Points are corners, where surfaces end, and the network rounds these off: beside them it errs
# otherwise than in between. So a point says less of its surface than its own sigma tells.
_CORNER_FACTOR = 2.5
_AROUND_PX = 1  # of the network: so far its edges lie from the picture's
_DEGREES = 4.0  # of freedom of Student's t
_REWEIGHTINGS = 3
_LARGEST = 1.0  # of a log ratio: what is nearly three times off is no point of this surface
# What moves away from the robot on its own way is seen like something farther, and nothing tells
# the two apart. So what is near becomes farther by half of itself at most; what is out of a
# costmap's reach, where networks fall short by half, may become farther by more.
_NEAR_M, _FARTHER = (3.0, 4.5), (math.log(1.5), math.log(2.5))
# What is solved grows with the cube of their number.
_MOST_POINTS, _MOST_POINTS_WITH_CARE = 300, 600
CERTAIN_SIGMA = 0.1  # of log depth
# Points contradict the floor that are so many standard deviations and so much of log depth off it.
_CONTRADICTION, _LEAST_DOUBT = 2.0, 0.05


class MotionCorrection:
    """Makes depth agree with what the camera's motion tells, frame by frame."""

    def __init__(self) -> None:
        self._log_ratio: np.ndarray | None = None  # of the last frame of which enough was known
        self._time_s = -math.inf  # of that frame

    def apply(
        self,
        depth_m: np.ndarray,
        camera: Camera,
        known: MotionPoints | None,
        base_from_camera: Pose | None,
        time_s: float,
    ) -> tuple[np.ndarray, str]:
        """Return depth that agrees with points of known distance.

        Where they tell nothing for a moment, as when odometry is late, the last correction fades.

        Args:
            depth_m: (h, w) float32 metres; what is not finite stays as it is.
            camera: the rectified pinhole camera of ``depth_m``.
            known: the points, or None without odometry.
            base_from_camera: where the camera stands, if the floor's depth is right already and
                must stay; None otherwise.
            time_s: of the frame, seconds.

        Returns:
            (h, w) float32 metres, and what was done, for people.
        """
        words = "no odometry"
        if known is not None:
            words = f"{len(known.points)} points"
            if known.begun_anew:
                self._log_ratio = None
                words += f", begun anew: {known.begun_anew}"
            ratio, count = local_log_ratio(depth_m, camera, known.points, known.sigma)
            if ratio is not None:
                if base_from_camera is not None:
                    ratio *= _above_floor(depth_m, camera, base_from_camera)
                self._log_ratio, self._time_s = ratio, time_s
                middle = 100.0 * math.expm1(float(np.median(ratio)))
                words += f", depth changed by {middle:+.0f} % (median)"
                return depth_m * np.exp(ratio), words
            words += (
                f"; {FEWEST_POINTS} that are in view and within a factor of "
                f"{math.exp(_LARGEST):.1f} of the depth are needed, there are {count}"
            )
        held, elapsed_s = self._log_ratio, time_s - self._time_s
        if held is None or held.shape != depth_m.shape or not 0.0 <= elapsed_s < _FADES_S:
            self._log_ratio = None
            return depth_m, words
        share = np.float32(1.0 - elapsed_s / _FADES_S)
        return depth_m * np.exp(share * held), f"{words}; the last correction fades"


@table
def _floor_m(camera: Camera, base_from_camera: Pose) -> np.ndarray:
    """Return ``camera_floor_depth``, made once for a camera that stands still on its robot."""
    return frozen(camera_floor_depth(camera, base_from_camera))


def _above_floor(depth_m: np.ndarray, camera: Camera, base_from_camera: Pose) -> np.ndarray:
    """Return (h, w) float32, 0 for pixels of the floor, 1 for what is above it."""
    floor_m = _floor_m(camera, base_from_camera)
    with np.errstate(divide="ignore", invalid="ignore"):
        height_m = base_from_camera.translation[2] * (1.0 - depth_m / floor_m)
        share = np.clip(height_m / _OVER_FLOOR_M, 0.0, 1.0)
    return np.where((floor_m > 0.0) & (share < 1.0), share, 1.0).astype(np.float32)


def local_log_ratio(
    depth_m: np.ndarray, camera: Camera, points: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray | None, int]:
    """Return what log depth is to be raised by, for the points and what belongs to them.

    Args:
        depth_m: (h, w) float32 metres; what is not finite is unknown.
        camera: the rectified pinhole camera of ``depth_m``.
        points: (n, 3) metres in the camera's optical frame, of known distance.
        sigma: (n,) standard deviation of their log depth.

    Returns:
        (h, w) float32, finite everywhere, or None where fewer than ``FEWEST_POINTS`` of the points
        can be used; and how many can.
    """
    known_m = _known(depth_m)
    seen = _Seen.of(known_m, camera, points, sigma)
    if len(seen) < FEWEST_POINTS:
        return None, len(seen)
    regression = _Regression(seen.best(_MOST_POINTS))
    ratio = _everywhere(known_m, camera, lambda at: regression.mean(at.astype(np.float32)))
    most = np.interp(np.nan_to_num(known_m), _NEAR_M, _FARTHER).astype(np.float32)
    return np.minimum(ratio, most), len(seen)


def certain_depth(
    depth_m: np.ndarray,
    camera: Camera,
    points: np.ndarray,
    sigma: np.ndarray,
    base_from_camera: Pose | None,
) -> np.ndarray:
    """Return depth that agrees with points of known distance, where they leave little doubt.

    It is for images that are looked at later and with care, not for a robot that drives: it takes
    more points, limits no ratio, and leaves out what the points say too little of.

    Args:
        depth_m: (h, w) float32 metres; what is not finite is unknown.
        camera: the rectified pinhole camera of ``depth_m``.
        points: (n, 3) metres in the camera's optical frame, of known distance.
        sigma: (n,) standard deviation of their log depth.
        base_from_camera: where the camera stands, if the floor's depth is right already: it counts
            as certain where no points contradict it. None otherwise.

    Returns:
        (h, w) float32 metres; NaN where the standard deviation of log depth (Rasmussen and Williams
        2006, eq. 2.26) is above ``CERTAIN_SIGMA``.
    """
    known_m = _known(depth_m)
    seen = _Seen.of(known_m, camera, points, sigma).best(_MOST_POINTS_WITH_CARE)
    if len(seen) < FEWEST_POINTS:
        return np.full_like(known_m, np.nan)
    regression = _Regression(seen)
    log_ratio = _everywhere(known_m, camera, regression.mean)
    doubt = _everywhere(known_m, camera, regression.sigma)
    if base_from_camera is not None:
        over_floor = _above_floor(depth_m, camera, base_from_camera)
        limit = _CONTRADICTION * doubt + _LEAST_DOUBT
        # What is nearer stands on the floor; what is farther is mirrored by it, or is a hole.
        is_mirrored = (over_floor < 0.5) & (log_ratio > limit)
        share = np.where(log_ratio < -limit, np.float32(1.0), over_floor)
        log_ratio, doubt = share * log_ratio, np.where(is_mirrored, np.inf, share * doubt)
    found_m = known_m * np.exp(log_ratio)
    found_m[doubt > CERTAIN_SIGMA] = np.nan
    return found_m


@dataclass(frozen=True, eq=False)
class _Seen:
    """Points that are seen in a depth image and fit it.

    Attributes:
        at: (n, 3) places, of ``_places``.
        log_ratio: (n,) of their depth to the image's.
        sigma: (n,) of the log ratio.
    """

    at: np.ndarray
    log_ratio: np.ndarray
    sigma: np.ndarray

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.at)

    @classmethod
    def of(
        cls, known_m: np.ndarray, camera: Camera, points: np.ndarray, sigma: np.ndarray
    ) -> _Seen:
        """Return those of the points; arguments of ``local_log_ratio``, the depth of ``_known``."""
        columns, rows, inside = project(camera, points)
        columns, rows, points = columns[inside], rows[inside], points[inside]
        predicted = _predicted(known_m, columns, rows, points)
        with np.errstate(invalid="ignore", divide="ignore"):
            log_ratio = np.log(points[:, 2] / predicted)
            fits = np.abs(log_ratio) < _LARGEST
        at = _places(columns[fits], rows[fits], predicted[fits], camera.width)
        return cls(at, log_ratio[fits], _CORNER_FACTOR * sigma[inside][fits])

    def best(self, most: int) -> _Seen:
        """Return the surest of them, so many at most."""
        order = np.argsort(self.sigma, kind="stable")[:most]
        return _Seen(self.at[order], self.log_ratio[order], self.sigma[order])


class _Regression:
    """What points tell of the log ratio at other places.

    Args:
        seen: the points.
    """

    def __init__(self, seen: _Seen):
        common, variance = _common(seen.at, seen.at), seen.sigma**2
        robust = variance
        for _ in range(_REWEIGHTINGS):
            weights = np.linalg.solve(common + np.diag(robust), seen.log_ratio)
            left = (seen.log_ratio - common @ weights) ** 2 / variance
            robust = variance * (_DEGREES + left) / (_DEGREES + 1.0)
        self._at, self._weights, self._covariance = seen.at, weights, common + np.diag(robust)

    def mean(self, at: np.ndarray) -> np.ndarray:
        """Return the log ratio (n,) that is expected at places (n, 3)."""
        return _common(at, self._at.astype(at.dtype)) @ self._weights

    def sigma(self, at: np.ndarray) -> np.ndarray:
        """Return its standard deviation (n,)."""
        common = _common(at, self._at)
        told = (common * np.linalg.solve(self._covariance, common.T).T).sum(axis=1)
        return np.sqrt(np.maximum(_ALL_IN_COMMON**2 + _NEIGHBOURS_IN_COMMON**2 - told, 0.0))


def _known(depth_m: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.float32(np.nan))


def _places(columns: np.ndarray, rows: np.ndarray, depth_m: np.ndarray, width: int) -> np.ndarray:
    """Return pixels (n,) of a depth image as places (n, 3), of which near ones err alike."""
    unit = np.array([1.0 / (_REACH * width)] * 2 + [1.0 / _REACH_LOG_DEPTH])
    return np.column_stack([columns, rows, np.log(depth_m)]) * unit


def _everywhere(
    known_m: np.ndarray, camera: Camera, at_places: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return (h, w) float32 of what is told at places (n, 3), between every few pixels."""
    height, width = known_m.shape
    stride = _stride(known_m.shape)
    rows, columns = np.mgrid[0:height:stride, 0:width:stride]
    some_m = _filled(known_m[::stride, ::stride])
    places = _places(columns.ravel(), rows.ravel(), some_m.ravel(), camera.width)
    coarse = at_places(places).astype(np.float32).reshape(some_m.shape)
    return _enlarged(coarse, (width, height), stride)


def _stride(shape: tuple[int, ...]) -> int:
    """Return every which row and column of a depth (h, w) is looked at."""
    return max(_STRIDE, math.ceil(math.sqrt(shape[0] * shape[1] / _CELLS)))


def _filled(depth_m: np.ndarray) -> np.ndarray:
    """Return a depth (h, w) whose unknown pixels have a neighbour's, or 1 m where none is known."""
    known = np.nan_to_num(depth_m, nan=0.0)
    around = cv2.dilate(known, np.ones((3, 3), np.uint8))
    some = np.where(known > 0.0, known, around)
    return np.where(some > 0.0, some, np.float32(1.0))


def _predicted(
    known_m: np.ndarray, columns: np.ndarray, rows: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Return the depth (n,) that is meant by each point: the likest of those beside it.

    A corner is where surfaces end, and the network's edge lies a pixel beside the picture's: which
    of the surfaces a point is of, only its distance tells.
    """
    around = np.arange(-_AROUND_PX, _AROUND_PX + 1)
    height, width = known_m.shape
    at_rows = np.clip(rows[:, None, None] + around[:, None], 0, height - 1)
    at_columns = np.clip(columns[:, None, None] + around, 0, width - 1)
    there = known_m[at_rows, at_columns].reshape(len(points), around.size**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(np.log(points[:, 2, None] / there))
    best = np.where(np.isfinite(off), off, np.inf).argmin(axis=1)
    return there[np.arange(len(points)), best]


def _common(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the covariance (n, m) of log ratios at places (n, 3) and (m, 3)."""
    square = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2.0 * first @ second.T
    return _ALL_IN_COMMON**2 + _NEIGHBOURS_IN_COMMON**2 * np.exp(-0.5 * square)


def _enlarged(coarse: np.ndarray, size: tuple[int, int], stride: int) -> np.ndarray:
    """Return every n-th pixel's values, interpolated between where these pixels are."""
    at = [np.arange(n, dtype=np.float32) / np.float32(stride) for n in size]
    columns, rows = np.meshgrid(*at)
    return cv2.remap(coarse, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
