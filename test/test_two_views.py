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

import math

import cv2
import numpy as np
import pytest

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.two_views import Movement, TwoViews, refined, triangulated

FOCAL_PX = 450.0
NOISE_PX = 0.3


def turn(degrees) -> np.ndarray:
    return cv2.Rodrigues(np.radians(np.asarray(degrees, float)))[0]


# The camera went 0.3 m ahead and a little to the right, and turned.
TRUE = Pose(turn((0.5, 3.0, 0.2)), np.array([-0.05, 0.01, -0.3]))


def points(count=120) -> np.ndarray:
    rng = np.random.default_rng(3)
    depth = rng.uniform(1.0, 5.0, count)
    return np.column_stack([*rng.uniform(-0.6, 0.6, (2, count)), np.ones(count)]) * depth[:, None]


def views(noise_px=0.0) -> tuple[TwoViews, np.ndarray]:
    """Both views' rays, and the depth in the second."""
    rng, first = np.random.default_rng(4), points()
    second = TRUE.apply(first)
    rays = []
    for seen in (first, second):
        seen = seen / seen[:, 2:]
        seen[:, :2] += rng.normal(0.0, noise_px / FOCAL_PX, (len(seen), 2))
        rays.append(seen)
    return TwoViews(*rays), second[:, 2]


def odometry(turned_deg=(0.0, 0.0, 0.0), heading_deg=0.0) -> Movement:
    heading = turn((0.0, heading_deg, 0.0)) @ TRUE.translation
    return Movement.by_odometry(Pose(turn(turned_deg) @ TRUE.rotation, heading))


def angle_deg(one: np.ndarray, other: np.ndarray) -> float:
    return math.degrees(math.acos(min(1.0, (np.trace(one.T @ other) - 1.0) / 2.0)))


def test_exact_rays_meet_where_the_points_are():
    both, depth_m = views()
    found = triangulated(both, odometry(), NOISE_PX / FOCAL_PX)
    assert found.depth_m == pytest.approx(depth_m, rel=1e-6)
    assert found.first_depth_m == pytest.approx(points()[:, 2], rel=1e-6)


def test_what_odometry_has_wrong_of_the_angles_is_found_in_the_images():
    both, depth_m = views(NOISE_PX)
    wrong = odometry((1.0, -1.0, 0.8), 1.5)
    by_odometry = triangulated(both, wrong, NOISE_PX / FOCAL_PX).depth_m
    movement, misses_px = refined(both, wrong, FOCAL_PX)
    depths = triangulated(both, movement, NOISE_PX / FOCAL_PX).depth_m
    assert np.median(np.abs(by_odometry / depth_m - 1.0)) > 0.2
    assert np.median(np.abs(depths / depth_m - 1.0)) < 0.03
    assert angle_deg(movement.rotation, TRUE.rotation) < 0.2
    assert np.median(np.abs(misses_px)) < NOISE_PX
    assert np.linalg.norm(movement.translation) == pytest.approx(np.linalg.norm(TRUE.translation))


def test_points_that_move_by_themselves_do_not_turn_the_camera():
    both, _ = views(NOISE_PX)
    both.second[:30, :2] += 12.0 / FOCAL_PX
    movement, misses_px = refined(both, odometry((0.5, 0.5, 0.0)), FOCAL_PX)
    assert angle_deg(movement.rotation, TRUE.rotation) < 0.3
    assert np.median(np.abs(misses_px[:30])) > 3.0 and np.median(np.abs(misses_px[30:])) < 0.5


def test_what_the_images_cannot_tell_stays_odometrys():
    far = points() * 1e4
    rng, rays = np.random.default_rng(4), []
    for seen in (far, TRUE.apply(far)):
        noise = rng.normal(0.0, NOISE_PX / FOCAL_PX, (len(seen), 2))
        rays.append(seen / seen[:, 2:] + np.pad(noise, ((0, 0), (0, 1))))
    turned = odometry((0.5, 0.5, 0.5))
    movement, _ = refined(TwoViews(*rays), turned, FOCAL_PX)
    assert angle_deg(movement.rotation, TRUE.rotation) < 0.1
    cosine = movement.axes[0] @ turned.axes[0]
    assert math.degrees(math.acos(min(1.0, cosine))) < 2.5
    assert np.linalg.eigvalsh(movement.covariance)[-1] > 0.3 * math.radians(2.0) ** 2


def test_few_corners_close_together_do_not_turn_a_camera_whose_odometry_is_right():
    rng = np.random.default_rng(8)
    first = np.column_stack([*rng.uniform(-0.1, 0.1, (2, 10)), np.full(10, 3.0)])
    rays = []
    for seen in (first, TRUE.apply(first)):
        noise = rng.normal(0.0, NOISE_PX / FOCAL_PX, (len(seen), 2))
        rays.append(seen / seen[:, 2:] + np.pad(noise, ((0, 0), (0, 1))))
    movement, _ = refined(TwoViews(*rays), odometry(), FOCAL_PX)
    assert math.degrees(math.acos(min(1.0, movement.axes[0] @ odometry().axes[0]))) < 1.5
    assert angle_deg(movement.rotation, TRUE.rotation) < 1.5


def test_the_error_is_as_large_as_is_told():
    both, depth_m = views(NOISE_PX)
    movement, _ = refined(both, odometry((0.7, -0.4, 0.3), 1.0), FOCAL_PX)
    found = triangulated(both, movement, NOISE_PX / FOCAL_PX)
    sure = found.sigma < 0.2
    errors = np.log(found.depth_m / depth_m)[sure] / found.sigma[sure]
    assert sure.sum() > 80
    assert 0.4 < np.median(np.abs(errors)) / 0.674 < 1.6  # of a normal distribution


def test_what_lies_in_the_direction_of_travel_is_told_to_be_unsure():
    ahead = np.array([0.0, 0.0, 3.0]) + np.linspace(0, 1.0, 5)[:, None] * (1.0, 0.0, 0.0)
    straight = Pose(np.eye(3), np.array([0.0, 0.0, -0.3]))
    second = straight.apply(ahead)
    both = TwoViews(ahead / ahead[:, 2:], second / second[:, 2:])
    sigma = triangulated(both, Movement.by_odometry(straight), NOISE_PX / FOCAL_PX).sigma
    assert sigma[0] > 1.0 and (np.diff(sigma) < 0.0).all()


def test_rays_that_part_meet_behind_the_camera():
    both, _ = views()
    backwards = Movement.by_odometry(Pose(TRUE.rotation, -TRUE.translation))
    assert (triangulated(both, backwards, NOISE_PX / FOCAL_PX).depth_m < 0.0).all()
