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

"""What two views of one camera tell: how it turned between them, and how far the pixels are.

A robot's odometry knows well how far it drove, and less well how its camera turned meanwhile: the
body rocks, and image and odometry are not of the very same moment. An angle of 1 degree is 8 pixels
of a usual camera, as much as a metre of depth. So the angles are taken from the images, and the
odometry's length gives the metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from depthrefl_ros.geometry.pose import Pose

# How far odometry may be off, one standard deviation each.
_TURN_RAD = math.radians(1.5)
_HEADING_RAD = math.radians(2.0)  # of the direction of travel in the camera
_NOISE_PX = 0.3  # of a corner's place
_HUBER = 2.0  # standard deviations from which on a pixel counts less
_STEPS = 4
_DELTA = 1e-5


class TwoViews(NamedTuple):
    """Where the same points are seen by two views.

    Attributes:
        first: (n, 3) float64 rays in the first view, z = 1.
        second: (n, 3) of the same points in the second.
    """

    first: np.ndarray
    second: np.ndarray


class Triangulated(NamedTuple):
    """Points by two views.

    Attributes:
        depth_m: (n,) float64 metres along the optical axis of the second view; not positive where
            the rays part.
        first_depth_m: (n,) the same in the first view.
        sigma: (n,) standard deviation of log ``depth_m``, by the noise of the pixels and by what is
            not known of the camera's angles.
    """

    depth_m: np.ndarray
    first_depth_m: np.ndarray
    sigma: np.ndarray


@dataclass(frozen=True, eq=False)
class Movement:
    """How the camera moved from the first view to the second.

    Attributes:
        rotation: (3, 3) second from first.
        axes: (3, 3) rows of length 1: the direction of travel, and two directions across it.
        length_m: of the way.
        covariance: (5, 5) rad^2, of the turn's three angles and the direction's two.
    """

    rotation: np.ndarray
    axes: np.ndarray
    length_m: float
    covariance: np.ndarray

    @classmethod
    def by_odometry(cls, second_from_first: Pose) -> Movement:
        """Return what odometry says, and how sure it is."""
        length_m = float(np.linalg.norm(second_from_first.translation))
        heading = second_from_first.translation / length_m
        aside = np.cross(heading, np.eye(3)[np.argmin(np.abs(heading))])
        aside /= np.linalg.norm(aside)
        axes = np.stack([heading, aside, np.cross(heading, aside)])
        variance = np.array([_TURN_RAD] * 3 + [_HEADING_RAD] * 2) ** 2
        return cls(second_from_first.rotation, axes, length_m, np.diag(variance))

    def turned(self, angles: np.ndarray) -> Movement:
        """Return the movement with its turn and its direction changed by (5,) radians."""
        rotation = cv2.Rodrigues(angles[:3])[0] @ self.rotation
        heading = np.array([1.0, *angles[3:]]) @ self.axes
        axes = np.stack([heading / np.linalg.norm(heading), *self.axes[1:]])
        return Movement(rotation, axes, self.length_m, self.covariance)

    @property
    def translation(self) -> np.ndarray:
        """(3,) float64 metres: the first view's place in the second view."""
        return self.length_m * self.axes[0]


def refined(views: TwoViews, movement: Movement, focal_px: float) -> tuple[Movement, np.ndarray]:
    """Return how the camera moved as odometry and images have it together.

    The five angles (three of the turn, two of the direction of travel) minimise Sampson's distance
    to the epipolar lines (Hartley and Zisserman 2004, 11.4.3), robustly, with odometry as the
    prior. The length of the way is odometry's.

    Args:
        views: of the same points.
        movement: by odometry.
        focal_px: of the camera, pixels.

    Returns:
        The movement, and (n,) float64 pixels by which each point misses its epipolar line.
    """

    def misses_px(angles: np.ndarray) -> np.ndarray:
        return focal_px * _sampson(views, movement.turned(angles))

    angles, certainty = np.zeros(5), np.linalg.inv(movement.covariance)
    for _ in range(_STEPS):
        misses = misses_px(angles)
        slopes = [(misses_px(angles + step) - misses) / _DELTA for step in _DELTA * np.eye(5)]
        slopes = np.stack(slopes, axis=1)
        far = np.abs(misses) / (_HUBER * _NOISE_PX)
        weights = 1.0 / np.maximum(1.0, far) / _NOISE_PX**2
        curvature = slopes.T @ (slopes * weights[:, None]) + certainty
        angles -= np.linalg.solve(curvature, slopes.T @ (weights * misses) + certainty @ angles)
    found = replace(movement.turned(angles), covariance=np.linalg.inv(curvature))
    return found, misses_px(angles)


def _sampson(views: TwoViews, movement: Movement) -> np.ndarray:
    """Return (n,) how far points are from their epipolar lines, along rays of z = 1."""
    x, y, z = movement.axes[0]
    essential = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]) @ movement.rotation
    lines, lines_back = views.first @ essential.T, views.second @ essential
    square = (lines[:, :2] ** 2).sum(axis=1) + (lines_back[:, :2] ** 2).sum(axis=1)
    return (views.second * lines).sum(axis=1) / np.sqrt(np.maximum(square, 1e-18))


def triangulated(views: TwoViews, movement: Movement, noise_rad: float) -> Triangulated:
    """Return where the rays of each point pass nearest to one another (the midpoint method).

    Args:
        views: of the same points.
        movement: of the camera.
        noise_rad: of a ray's direction, one standard deviation.
    """
    depth_m, first_depth_m, angle_rad = _midpoints(views, movement)
    known = np.maximum(depth_m, 1e-6)
    slopes = [
        np.log(np.maximum(_midpoints(views, movement.turned(step))[0], 1e-6) / known) / _DELTA
        for step in _DELTA * np.eye(5)
    ]
    slopes = np.stack(slopes, axis=1)
    by_angles = np.einsum("ni,ij,nj->n", slopes, movement.covariance, slopes)
    sigma = np.sqrt((noise_rad / angle_rad) ** 2 + by_angles)
    return Triangulated(depth_m, first_depth_m, sigma)


def _midpoints(views: TwoViews, movement: Movement) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (n,) depth in the second view and in the first, metres, and the rays' angle."""
    turned = views.first @ movement.rotation.T
    lengths = np.linalg.norm(turned, axis=1), np.linalg.norm(views.second, axis=1)
    first, second = turned / lengths[0][:, None], views.second / lengths[1][:, None]
    cosine = (first * second).sum(axis=1)
    along_first, along_second = first @ movement.translation, second @ movement.translation
    sine_square = np.maximum(1.0 - cosine**2, 1e-12)
    reach = (along_second - cosine * along_first) / sine_square
    first_reach = (cosine * along_second - along_first) / sine_square
    angle = np.arcsin(np.sqrt(np.minimum(sine_square, 1.0)))
    return reach / lengths[1], first_reach / lengths[0], angle
