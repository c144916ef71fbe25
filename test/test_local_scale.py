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

import numpy as np
import pytest
from corridor_drive import corridor_frames

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.local_scale import (
    FEWEST_POINTS,
    MotionCorrection,
    certain_depth,
    local_log_ratio,
)
from depthrefl_ros.geometry.motion import MotionDepth, MotionPoints
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays, pixel_rays

CAMERA = Camera.from_horizontal_fov(256, 192, 1.1)
LEFT = np.s_[:, :128]
RIGHT = np.s_[:, 128:]


def two_walls() -> np.ndarray:
    depth_m = np.full((192, 256), 4.0, np.float32)
    depth_m[LEFT] = 2.0
    return depth_m


def known(true_m: np.ndarray, count=80, sigma=0.02, columns=(4, 252), seed=1) -> MotionPoints:
    """Return points of the true depth (h, w) somewhere in the picture."""
    rng = np.random.default_rng(seed)
    at = rng.integers((columns[0], 4), (columns[1], 188), (count, 2)).T
    points = pixel_rays(CAMERA, *at) * true_m[at[1], at[0]][:, None]
    return MotionPoints(points, np.full(count, sigma))


def ratio(depth_m: np.ndarray, points: MotionPoints) -> np.ndarray:
    return local_log_ratio(depth_m, CAMERA, points.points, points.sigma)[0]


def corrected(depth_m: np.ndarray, points: MotionPoints, mount: Pose | None = None):
    return MotionCorrection().apply(depth_m, CAMERA, points, mount, 50.0)


def test_each_surface_gets_its_own_factor():
    true_m = two_walls()
    true_m[LEFT] *= 1.3
    true_m[RIGHT] *= 0.9
    found = ratio(two_walls(), known(true_m))
    assert found.shape == (192, 256) and found.dtype == np.float32
    assert np.median(found[LEFT]) == pytest.approx(math.log(1.3), abs=0.03)
    assert np.median(found[RIGHT]) == pytest.approx(math.log(0.9), abs=0.03)
    # A few pixels from where they meet, too.
    assert np.median(found[:, 120]) == pytest.approx(math.log(1.3), abs=0.06)
    assert np.median(found[:, 136]) == pytest.approx(math.log(0.9), abs=0.06)


def test_depth_that_is_right_stays():
    depth_m, words = corrected(two_walls(), known(two_walls()))
    assert depth_m == pytest.approx(two_walls(), rel=0.005)
    assert words == "80 points, depth changed by +0 % (median)"


def test_far_from_all_points_less_is_changed():
    found = ratio(two_walls(), known(1.4 * two_walls(), columns=(4, 60)))
    assert np.median(found[:, :60]) == pytest.approx(math.log(1.4), abs=0.04)
    assert 0.0 < np.median(found[:, 200:]) < 0.5 * math.log(1.4)


def test_wrong_points_among_right_ones_hardly_count():
    right = known(1.2 * two_walls())
    points = right.points.copy()
    points[::6] *= 0.6
    found = ratio(two_walls(), MotionPoints(points, right.sigma))
    assert np.median(np.abs(found - math.log(1.2))) < 0.05


def test_a_point_a_pixel_beside_its_surface_is_of_the_surface_that_it_fits():
    rows = np.arange(6, 186, 6)
    near = pixel_rays(CAMERA, np.full(len(rows), 128), rows) * 2.0  # the far wall begins here
    points = MotionPoints(
        np.vstack([near, known(two_walls()).points]), np.full(len(rows) + 80, 0.02)
    )
    assert np.abs(ratio(two_walls(), points)).max() < 0.03


def test_unsure_points_count_less():
    sure = np.median(ratio(two_walls(), known(1.2 * two_walls(), count=12)))
    unsure = np.median(ratio(two_walls(), known(1.2 * two_walls(), count=12, sigma=0.3)))
    assert 0.0 < unsure < 0.7 * sure


def test_points_of_nothing_in_the_picture_are_none():
    few = known(two_walls(), count=FEWEST_POINTS - 1)
    depth_m, words = corrected(two_walls(), few)
    assert np.array_equal(depth_m, two_walls())
    assert words == (
        "9 points; 10 that are in view and within a factor of 2.7 of the depth are needed, there "
        "are 9"
    )
    behind = known(two_walls())
    assert ratio(two_walls(), MotionPoints(-behind.points, behind.sigma)) is None
    assert ratio(two_walls(), known(9.0 * two_walls())) is None  # another surface's
    assert corrected(two_walls(), known(9.0 * two_walls()))[1].endswith("there are 0")
    assert ratio(np.full((192, 256), np.nan, np.float32), behind) is None


def test_nothing_near_becomes_farther_by_more_than_half_and_nearer_it_may():
    """What moves away on the camera's own way is seen like something farther."""
    found = np.exp(ratio(two_walls(), known(2.2 * two_walls())))
    assert found[LEFT].max() == pytest.approx(1.5) and 1.8 < np.median(found[RIGHT]) < 2.2
    assert np.median(ratio(two_walls(), known(0.5 * two_walls()))) < math.log(0.6)


def test_a_correction_that_nothing_tells_any_more_fades():
    correction, points = MotionCorrection(), known(1.3 * two_walls())
    seen = []
    for time_s, found in ((50.0, points), (50.25, None), (50.5, None), (51.1, None), (51.2, None)):
        depth_m, words = correction.apply(two_walls(), CAMERA, found, None, time_s)
        seen.append(np.median(depth_m[LEFT]) / 2.0)
    assert seen[0] == pytest.approx(1.3, abs=0.03)
    assert seen[0] > seen[1] > seen[2] > 1.1 and seen[3:] == [1.0, 1.0]
    assert words == "no odometry"


def test_what_is_begun_anew_does_not_linger():
    correction, points = MotionCorrection(), known(1.3 * two_walls())
    correction.apply(two_walls(), CAMERA, points, None, 50.0)
    anew = MotionPoints(np.zeros((0, 3)), np.zeros(0), "the camera has changed")
    depth_m, words = correction.apply(two_walls(), CAMERA, anew, None, 50.1)
    assert np.array_equal(depth_m, two_walls())
    assert words.startswith("0 points, begun anew: the camera has changed; 10 that are in view")


def test_large_networks_take_no_longer_and_rows_beside_the_padding_are_right():
    size, camera = (512, 640), Camera.from_horizontal_fov(640, 512, 1.1)
    depth_m = np.full(size, 2.0, np.float32)
    depth_m[:101] = np.nan
    rng = np.random.default_rng(1)
    at = rng.integers((4, 110), (636, 500), (80, 2)).T
    points = pixel_rays(camera, *at) * 2.4
    found, count = local_log_ratio(depth_m, camera, points, np.full(80, 0.02))
    assert count == 80 and found.shape == size and found.dtype == np.float32
    assert found[101:] == pytest.approx(math.log(1.2), abs=0.03)


def test_what_is_unknown_stays_unknown_and_the_rest_is_corrected():
    depth_m = two_walls()
    depth_m[50:90, 40:80] = np.nan
    depth_m[:20] = np.inf
    found, _ = corrected(depth_m, known(1.2 * two_walls()))
    assert np.isnan(found[50:90, 40:80]).all() and np.isinf(found[:20]).all()
    rest = np.isfinite(depth_m)
    assert np.isfinite(found[rest]).all()
    assert np.median(found[rest] / depth_m[rest]) == pytest.approx(1.2, abs=0.04)


def test_a_floor_that_is_known_stays_and_what_stands_on_it_does_not():
    mount = Pose.from_mount(0.5, math.radians(10.0))
    rays = image_rays(CAMERA)
    drop = -(rays @ mount.up_in_source)
    with np.errstate(divide="ignore"):
        floor_m = np.where(drop > 0, 0.5 / drop, np.inf)
    true_m = np.minimum(floor_m, 3.0).astype(np.float32)  # a wall at 3 m
    is_floor = floor_m < 3.0
    predicted = np.where(is_floor, true_m, true_m * np.float32(0.8))
    wall = known(true_m)
    wall = MotionPoints(wall.points[wall.points[:, 2] > 2.9], wall.sigma[wall.points[:, 2] > 2.9])
    found, _ = corrected(predicted, wall, mount)
    # Where the wall is predicted at 0.8 of its distance its foot lies a little over the floor.
    foot_m = 0.5 * (1.0 - predicted / floor_m)
    assert found[is_floor] == pytest.approx(true_m[is_floor], rel=1e-3)
    assert np.median(found[~is_floor & (foot_m > 0.1)] / 3.0) == pytest.approx(1.0, abs=0.02)
    without, _ = corrected(predicted, wall)
    assert np.median(without[is_floor] / true_m[is_floor]) > 1.02


def certain(depth_m: np.ndarray, points: MotionPoints, mount: Pose | None = None) -> np.ndarray:
    return certain_depth(depth_m, CAMERA, points.points, points.sigma, mount)


def test_depth_with_care_is_known_beside_points_alone_and_by_more_than_half():
    found = certain(two_walls(), known(2.2 * two_walls(), count=300, columns=(4, 60)))
    assert found[:, :60] == pytest.approx(4.4, rel=0.03)  # the robot's way allows 3 m
    assert np.isnan(found[RIGHT]).all()
    unsure = certain(two_walls(), known(two_walls(), sigma=0.4))
    assert np.isnan(unsure).all()
    few = certain(two_walls(), known(two_walls(), count=FEWEST_POINTS - 1))
    assert few.shape == (192, 256) and few.dtype == np.float32 and np.isnan(few).all()


def test_doubt_about_depth_with_care_is_what_it_errs_by():
    """Where the factor changes from place to place as the process expects, errors are as told."""
    rows, columns = np.mgrid[0:192, 0:256]
    wave = 0.2 * np.sin(columns / 40.0) * np.cos(rows / 35.0)
    true_m = (two_walls() * np.exp(wave)).astype(np.float32)
    found = certain(two_walls(), known(true_m, count=200))
    told = np.isfinite(found)
    assert told.mean() > 0.8
    off = np.abs(np.log(found[told] / true_m[told]))
    assert np.median(off) < 0.03 and np.quantile(off, 0.95) < 0.1


def test_with_care_a_floor_counts_as_known_unless_points_contradict_it():
    mount = Pose.from_mount(0.5, math.radians(10.0))
    drop = -(image_rays(CAMERA) @ mount.up_in_source)
    with np.errstate(divide="ignore"):
        floor_m = np.where(drop > 0, 0.5 / drop, np.inf)
    depth_m = np.minimum(floor_m, 3.0).astype(np.float32)  # a wall at 3 m
    is_floor = floor_m < 2.9
    wall = known(depth_m, count=150)
    on_wall = wall.points[:, 2] > 2.95
    points = MotionPoints(wall.points[on_wall], wall.sigma[on_wall])
    found = certain(depth_m, points, mount)
    assert found[is_floor] == pytest.approx(depth_m[is_floor], rel=1e-3)
    assert np.isnan(certain(depth_m, points)[is_floor]).mean() > 0.5  # nothing else tells it
    left, right = np.arange(256) < 128, np.arange(256) > 170
    for factor in (0.75, 1.4):  # of something on the floor, and of what the floor mirrors
        true_m = np.where(is_floor & left, factor * depth_m, depth_m).astype(np.float32)
        found = certain(depth_m, known(true_m, count=400), mount)
        assert np.isfinite(found[is_floor & right]).mean() > 0.9
        found, true_m = found[is_floor & left], true_m[is_floor & left]
        if factor < 1.0:
            assert np.isfinite(found).mean() > 0.8
            assert np.nanmedian(np.abs(found / true_m - 1.0)) < 0.03
        else:
            assert np.isnan(found).mean() > 0.7


def test_a_network_in_the_corridor_comes_nearer_to_the_truth(bundle):
    from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
    from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings
    from depthrefl_ros.frames import Frame
    from depthrefl_ros.geometry.rectification import reprojected

    motion, frames = MotionDepth(), corridor_frames()
    for index, frame in enumerate(frames):
        pose = frame.odom_from_camera
        found = motion.update(frame.grey, frame.camera, None, pose, 0.1 * index)
    engine = OpenVinoEngine(bundle)
    settings = EstimatorSettings(image_is_rectified=True, min_range_m=0.0, max_range_m=1e3)
    estimator = DepthEstimator(engine, bundle)
    shown, mount = Frame(frame.rgb, "rgb", frame.camera), frame.base_from_camera
    prediction = estimator.predict(shown, settings, base_from_camera=mount)
    engine.close()
    camera = prediction.camera
    corrected_m, _ = MotionCorrection().apply(prediction.depth_m, camera, found, mount, 50.0)
    true_m = reprojected(frame.true_m, frame.camera, camera)
    near = (true_m > 0) & (true_m < 6.0) & np.isfinite(prediction.depth_m)
    errors = [
        np.abs(depth_m[near] / true_m[near] - 1.0).mean()
        for depth_m in (prediction.depth_m, corrected_m)
    ]
    assert errors[1] < 0.9 * errors[0], errors
