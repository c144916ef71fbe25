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

"""Anchors measure the factor that the depth is wrong by, and are silent without evidence."""

import math

import cv2
import numpy as np
import pytest
from room_depth import CAMERA, monocular, room_depth

from depthrefl_ros.geometry.anchors import (
    RangeReading,
    ReadingWindow,
    depth_anchor,
    ground_anchor,
    points_anchor,
    range_anchor,
)
from depthrefl_ros.geometry.pose import BASE_FROM_OPTICAL, Pose
from depthrefl_ros.geometry.rays import pixel_rays
from depthrefl_ros.geometry.scale import robust_median

MOUNT = Pose.from_mount(0.6, math.radians(12))
LEVEL = Pose.from_mount(0.5)
BOX = ((1.5, -0.3, 0.0), (1.9, 0.3, 0.9))
FACTORS = (0.6, 1.0, 1.8)  # that the depth is multiplied with
# Beside the camera, looking the same way.
SENSOR = Pose(BASE_FROM_OPTICAL.T, np.array([0.1, 0.05, 0.02]))


def sonar(range_m, field_of_view_deg=20.0) -> RangeReading:
    return RangeReading(range_m, 0.2, 4.0, math.radians(field_of_view_deg))


def ground(depth, pose=MOUNT):
    return ground_anchor(depth, CAMERA, pose.up_in_source, pose.translation[2])


def some_points(depth, count=400, seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, CAMERA.height, count), rng.integers(0, CAMERA.width, count)
    return pixel_rays(CAMERA, columns, rows) * depth[rows, columns][:, None]


@pytest.mark.parametrize("factor", FACTORS)
def test_the_ground_tells_the_factor(factor):
    ratios = ground(room_depth(MOUNT) * np.float32(factor))
    assert len(ratios) >= 20
    assert robust_median(ratios) == pytest.approx(-math.log(factor), abs=0.002)


@pytest.mark.parametrize("seed", range(3))
def test_the_ground_tells_the_factor_of_a_networks_depth(seed):
    ratios = ground(monocular(room_depth(MOUNT, [BOX]), seed) * np.float32(1.4))
    assert robust_median(ratios) == pytest.approx(-math.log(1.4), abs=0.03)


@pytest.mark.parametrize("degrees", [-1.5, 1.5])
def test_a_flat_floor_tells_how_a_rocking_robot_leans(degrees):
    leaning = Pose.from_mount(0.6, math.radians(12 + degrees), math.radians(degrees / 2))
    ratios = ground(room_depth(leaning))  # by the mount alone
    assert robust_median(ratios) == pytest.approx(0.0, abs=0.002)
    assert np.ptp(ratios) < 0.01


def test_an_uneven_floor_that_leans_is_judged_by_the_mount():
    leaning = room_depth(Pose.from_mount(0.6, math.radians(15)))
    waves = np.exp(0.05 * np.sin(np.arange(CAMERA.width) / 9)).astype(np.float32)
    by_its_own_plane, by_the_mount = np.ptp(ground(leaning)), np.ptp(ground(leaning * waves))
    assert by_its_own_plane < 0.01 and by_the_mount > 0.2


def test_no_floor_in_view_is_no_measurement():
    pose = Pose.from_mount(0.6, math.radians(-50))
    assert len(ground(room_depth(pose), pose)) == 0


def test_a_table_top_of_another_height_than_a_floor_could_have_is_no_ground():
    pose = Pose.from_mount(1.0, math.radians(35))
    table = ((-1.0, -2.0, 0.0), (5.9, 2.0, 0.75))  # hides the floor
    assert len(ground(room_depth(pose, [table]), pose)) == 0


def test_the_ceiling_of_a_camera_upside_down_is_no_ground():
    pose = Pose.from_mount(0.6, math.radians(-12), math.pi)
    assert len(ground(room_depth(pose), MOUNT)) == 0


@pytest.mark.parametrize("height", [0.0, -1.0, math.nan, math.inf])
def test_a_camera_height_that_cannot_be_is_refused(height):
    with pytest.raises(ValueError, match="camera height"):
        ground_anchor(room_depth(MOUNT), CAMERA, MOUNT.up_in_source, height)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_sonar_tells_the_factor_by_the_nearest_surface(factor):
    depth = room_depth(LEVEL, [BOX])
    to_box = 1.5 - SENSOR.translation[2]  # the box's face is straight ahead of the sensor
    ratios = range_anchor(depth * np.float32(factor), CAMERA, sonar(to_box), SENSOR)
    assert ratios == pytest.approx([-math.log(factor)], abs=0.005)


def test_a_sonar_does_not_take_the_middle_of_its_cone_for_the_nearest():
    post = ((1.0, 0.1, 0.0), (1.05, 0.15, 1.0))
    depth = room_depth(LEVEL, [post, BOX])
    corner = np.array([1.0, 0.1, 0.5]) - LEVEL.apply(SENSOR.translation)
    distance = float(np.linalg.norm([corner[0], corner[1], 0.0]))
    ratios = range_anchor(depth * np.float32(1.3), CAMERA, sonar(distance, 30), SENSOR)
    assert ratios == pytest.approx([-math.log(1.3)], abs=0.01)


AHEAD = Pose(BASE_FROM_OPTICAL.T, np.zeros(3))  # a sensor at the camera's own place


def wall(range_m=2.0) -> np.ndarray:
    return np.full((CAMERA.height, CAMERA.width), range_m, np.float32)


@pytest.mark.parametrize("blur_px", [0, 3])
def test_a_sonar_is_not_biased_by_the_noise_of_a_networks_depth(blur_px):
    rng, ratios = np.random.default_rng(0), []
    for _ in range(40):
        noise = rng.normal(0, 1, wall().shape)
        if blur_px:
            noise = cv2.GaussianBlur(noise, (0, 0), blur_px)
        depth = (wall() * np.exp(0.05 * noise / noise.std())).astype(np.float32)
        ratios.append(range_anchor(depth, CAMERA, sonar(2.0, 30), AHEAD)[0])
    assert np.median(ratios) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("field_of_view_deg", [0.0, 15.0, 30.0])
def test_one_wrong_pixel_is_not_what_a_ranger_answers_to(field_of_view_deg):
    depth = wall()
    depth[CAMERA.height // 2, CAMERA.width // 2] = 1.2
    ratios = range_anchor(depth, CAMERA, sonar(2.0, field_of_view_deg), AHEAD)
    assert ratios == pytest.approx([0.0], abs=0.005)


def test_a_ranger_answers_to_a_thing_that_fills_a_twentieth_of_its_cone():
    half_px = CAMERA.fx * math.tan(math.radians(15)) * math.sqrt(math.pi / 20) / 2
    rows, columns = np.mgrid[: CAMERA.height, : CAMERA.width]
    middle = max(abs(rows - CAMERA.cy).min(), 0.5)
    depth = wall()
    depth[np.maximum(abs(rows - CAMERA.cy), abs(columns - CAMERA.cx)) < half_px + middle] = 1.2
    ratios = range_anchor(depth, CAMERA, sonar(1.2, 30), AHEAD)
    assert ratios == pytest.approx([0.0], abs=0.01)


@pytest.mark.parametrize("field_of_view_deg", [15.0, 30.0])
def test_a_ranger_answers_to_the_near_end_of_a_slanting_wall(field_of_view_deg):
    columns = (np.arange(CAMERA.width) - CAMERA.cx) / CAMERA.fx
    depth = np.broadcast_to(2.0 / (1.0 - columns), wall().shape).astype(np.float32)
    edge = math.tan(math.radians(field_of_view_deg / 2))
    nearest_m = 2.0 / (1.0 + edge) * math.hypot(1.0, edge)
    ratios = range_anchor(depth, CAMERA, sonar(nearest_m, field_of_view_deg), AHEAD)
    assert ratios == pytest.approx([0.0], abs=0.04)


def test_a_laser_ranger_without_a_field_of_view_looks_along_its_axis():
    depth = room_depth(LEVEL, [BOX])
    ratios = range_anchor(depth, CAMERA, sonar(1.48, field_of_view_deg=0), SENSOR)
    assert ratios == pytest.approx([0.0], abs=0.005)


@pytest.mark.parametrize("range_m", [math.inf, -math.inf, math.nan, 0.0, -1.0, 0.1, 0.2, 4.0, 9.0])
def test_a_reading_that_is_no_distance_is_no_measurement(range_m):
    assert len(range_anchor(room_depth(LEVEL, [BOX]), CAMERA, sonar(range_m), SENSOR)) == 0


@pytest.mark.parametrize(
    "pose",
    [
        Pose(BASE_FROM_OPTICAL.T, np.array([0.0, 1.0, 0.0])),  # below the image
        Pose(BASE_FROM_OPTICAL.T @ np.diag([-1.0, -1.0, 1.0]), np.zeros(3)),  # looks back
    ],
)
def test_a_cone_that_leaves_the_image_is_no_measurement(pose):
    assert len(range_anchor(room_depth(LEVEL, [BOX]), CAMERA, sonar(1.4), pose)) == 0


def test_a_cone_of_unknown_depth_is_no_measurement():
    unknown = np.full((CAMERA.height, CAMERA.width), np.nan, np.float32)
    assert len(range_anchor(unknown, CAMERA, sonar(1.4), SENSOR)) == 0


def test_readings_are_kept_for_a_while():
    window = ReadingWindow(seconds=2.05)
    for number in range(50):
        window.add(np.array([0.01 * number]), number / 10)
    kept = window.log_ratios(4.9)
    assert kept[[0, -1]] == pytest.approx([0.29, 0.49])
    assert len(window.log_ratios(10.0)) == 0
    window.add(np.arange(50.0), 10.0)
    assert len(window.log_ratios(10.0)) == 30
    window.add(np.array([0.5]), 20.0)
    window.add(np.array([0.6]), 3.0)  # the clock jumped back
    assert window.log_ratios(3.1) == pytest.approx([0.6])


@pytest.mark.parametrize("rate_hz", [2, 5, 10])
def test_readings_that_agree_on_another_scale_take_the_older_ones_along(rate_hz):
    window, rng = ReadingWindow(), np.random.default_rng(0)
    for number in range(30):
        window.add(rng.normal(0.0, 0.01, 1), number / rate_hz)
    start_s = 30 / rate_hz
    for number in range(4 * rate_hz + 2):
        window.add(rng.normal(0.3, 0.01, 1), start_s + number / rate_hz)
    kept = window.log_ratios(start_s + 4.0 + 1 / rate_hz)
    assert len(kept) >= 20  # still a measurement
    assert robust_median(kept) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("rate_hz, glass_s", [(2, 3.0), (4, 2.0), (10, 1.2)])
def test_a_pane_of_glass_that_is_passed_does_not_set_the_scale(rate_hz, glass_s):
    window = ReadingWindow()
    for number in range(30):
        window.add(np.zeros(1), number / rate_hz)
    for number in range(round(glass_s * rate_hz)):
        window.add(np.array([math.log(0.5)]), (30 + number) / rate_hz)
    kept = window.log_ratios((30 + glass_s * rate_hz) / rate_hz)
    assert robust_median(kept) in (0.0, None)  # of two halves there is no middle


def test_a_few_readings_do_not_move_a_rangers_window():
    window = ReadingWindow()
    for number in range(30):
        window.add(np.zeros(1), number / 20)
    for number in range(5):  # a leg, for a quarter of a second
        window.add(np.array([-0.8]), 1.5 + number / 20)
    assert robust_median(window.log_ratios(1.75)) == 0.0
    for number in range(12):  # readings that contradict one another
        window.add(np.array([-0.8 if number % 2 else 0.8]), 1.75 + number / 10)
    kept = window.log_ratios(3.0)
    assert len(kept) == 30 and np.count_nonzero(kept == 0.0) == 13


@pytest.mark.parametrize("factor", FACTORS)
def test_points_tell_the_factor(factor):
    depth = room_depth(MOUNT, [BOX])
    ratios = points_anchor(depth * np.float32(factor), CAMERA, some_points(depth))
    assert len(ratios) > 200
    assert robust_median(ratios) == pytest.approx(-math.log(factor), abs=1e-4)


def test_points_that_no_pixel_shows_are_left_out():
    depth = room_depth(MOUNT)
    useless = np.array(
        [
            (0.0, 0.0, -2.0),  # behind the camera, though it projects into the image
            (0.0, 0.0, 0.0),
            (50.0, 0.0, 1.0),
            (0.0, 1e300, 1.0),
            (np.nan, 0.0, 1.0),
            (0.0, 0.0, np.inf),
        ]
    )
    assert len(points_anchor(depth, CAMERA, useless)) == 0
    assert len(points_anchor(depth, CAMERA, np.zeros((0, 3)))) == 0
    good = some_points(depth)
    with_useless = points_anchor(depth, CAMERA, np.concatenate([useless, good]))
    assert np.array_equal(with_useless, points_anchor(depth, CAMERA, good))


def test_points_beside_a_step_of_depth_are_left_out():
    depth = np.full((CAMERA.height, CAMERA.width), 1.0, np.float32)
    depth[:, 64:] = 3.0
    columns = np.array([20, 62, 63, 64, 65, 100])
    points = pixel_rays(CAMERA, columns, np.full(6, 40)) * depth[40, columns][:, None]
    assert len(points_anchor(depth, CAMERA, points)) == 2


def test_a_step_is_seen_past_unknown_depth():
    depth = np.full((CAMERA.height, CAMERA.width), 1.0, np.float32)
    depth[:, 64:] = 5.0
    depth[:, 62] = np.nan
    point = pixel_rays(CAMERA, np.array([63]), np.array([40])) * 1.7
    assert len(points_anchor(depth, CAMERA, point)) == 0


def test_a_large_cloud_is_thinned():
    depth = room_depth(MOUNT)
    points = some_points(depth, 60_000)
    assert 1000 < len(points_anchor(depth, CAMERA, points)) <= 5000


@pytest.mark.parametrize("factor", FACTORS)
def test_a_depth_camera_tells_the_factor(factor):
    depth = room_depth(MOUNT, [BOX])
    reference = depth.copy()
    reference[:30], reference[:, :20] = np.nan, np.nan
    ratios = depth_anchor(depth * np.float32(factor), reference)
    assert 2000 < len(ratios) <= 5000
    assert ratios == pytest.approx(-math.log(factor), abs=1e-4)
    assert not len(depth_anchor(depth, np.full_like(depth, np.nan)))


def test_pixels_beside_a_step_of_a_depth_camera_are_left_out():
    reference = np.full((CAMERA.height, CAMERA.width), 1.0, np.float32)
    reference[:, 64:] = 3.0
    predicted = np.roll(reference, 1, axis=1)  # a step that is a pixel off
    ratios = depth_anchor(predicted, reference)
    assert len(ratios) and np.abs(ratios).max() < 1e-6
