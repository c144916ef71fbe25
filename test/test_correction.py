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

"""What the robot knows beside the image corrects the depth; without ROS."""

import math
from dataclasses import replace

import numpy as np
import pytest
from correction_bench import (
    AHEAD,
    CAMERA,
    WALL_M,
    Bench,
    floor,
    mounted,
    points_at,
    room,
    settings,
    unmounted,
    wall,
)
from room_depth import monocular, room_depth

from depthrefl_ros.geometry.anchors import RangeReading
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.correction import (
    FLOOR_HELD_S,
)
from depthrefl_ros.geometry.motion import MotionPoints
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.surround import Surround
from depthrefl_ros.settings import SettingError


@pytest.fixture
def bench():
    return Bench()


# The scale.


def test_without_a_correction_the_depth_is_handed_on(bench):
    depth = wall(1.0)
    found = bench.apply(depth, unmounted(points=points_at(WALL_M)), settings())
    assert found.depth_m is depth
    assert (found.factor, found.scale.ok, found.scale.reason) == (1.0, True, "not corrected")
    assert not found.problems


def test_points_correct_the_scale_at_once(bench):
    how = settings("reference_points")
    found = bench.apply(wall(1.5), unmounted(points=points_at(WALL_M)), how)
    assert found.factor == pytest.approx(WALL_M / 1.5, rel=1e-6)
    np.testing.assert_allclose(found.depth_m, WALL_M, rtol=1e-5)
    assert found.scale.corrected_by == "reference_points" and not found.problems


def test_a_further_measurement_is_averaged_as_the_settings_say(bench):
    how = settings("reference_points", time_constant_s=0.0)
    for metres in (WALL_M, 1.1 * WALL_M):
        found = bench.apply(wall(1.5), unmounted(points=points_at(metres)), how)
        assert found.factor == pytest.approx(metres / 1.5, rel=1e-6)
    slow = settings("reference_points", time_constant_s=60.0)
    for _ in range(3):
        found = bench.apply(wall(1.5), unmounted(points=points_at(WALL_M)), slow)
    assert WALL_M / 1.5 < found.factor < 1.1 * WALL_M / 1.5


def test_correction_that_is_switched_off_is_forgotten(bench):
    how = settings("reference_points")
    assert bench.apply(wall(1.5), unmounted(points=points_at(WALL_M)), how).factor > 1.3
    assert bench.apply(wall(1.5), unmounted(), settings()).factor == 1.0
    assert bench.apply(wall(1.5), unmounted(), how).factor == 1.0


def test_a_factor_is_held_while_nothing_measures(bench):
    how = settings("reference_points")
    first = bench.apply(wall(1.5), unmounted(points=points_at(WALL_M)), how)
    held = bench.apply(wall(1.5), unmounted(), how)
    assert held.factor == first.factor
    bench.correction.reset()
    assert bench.apply(wall(1.5), unmounted(), how).factor == 1.0


def reading(metres=WALL_M) -> Surround:
    return unmounted(reading=RangeReading(metres, 0.1, 5.0, 0.1), camera_from_ranger=AHEAD)


def test_a_dead_ranger_is_told_from_one_with_nothing_in_range(bench):
    how = settings("range")

    def after(seconds: float, surround: Surround):
        bench.time_s = 100.0 + seconds
        return bench.apply(wall(1.5), surround, how).scale

    for count in range(30):
        assert after(count / 10, reading()).ok
    for second in range(4, 100):
        assert after(float(second), reading(math.inf)).ok
    assert after(120.0, unmounted()).ok
    dead = after(140.0, unmounted())
    assert not dead.ok and "nothing has come of range" in dead.reason


def test_dead_points_are_told_from_points_that_nothing_shows(bench):
    how = settings("reference_points")
    bench.apply(wall(1.5), unmounted(points=points_at(WALL_M)), how)
    nothing = np.zeros((0, 3))
    for time_s, points, ok in ((99.0, nothing, True), (120.0, None, True), (140.0, None, False)):
        bench.time_s = time_s
        assert bench.apply(wall(1.5), unmounted(points=points), how).scale.ok is ok


def test_twenty_readings_of_a_ranger_correct_the_scale(bench):
    how = settings("range")
    for _ in range(19):
        assert bench.apply(wall(1.5), reading(), how).factor == 1.0
    for _ in range(5):  # frames between readings measure nothing
        assert bench.apply(wall(1.5), unmounted(), how).factor == 1.0
    found = bench.apply(wall(1.5), reading(), how)
    assert found.factor == pytest.approx(WALL_M / 1.5, abs=0.01)
    assert not found.problems


@pytest.mark.parametrize("metres", [math.inf, -math.inf, math.nan, 0.0, 9.0])
def test_a_reading_that_is_no_distance_is_told(bench, metres):
    found = bench.apply(wall(), reading(metres), settings("range"))
    assert found.factor == 1.0
    assert found.problems["range"] == (
        f"range cannot measure the scale: the reading is {metres:g} m; a distance between "
        "min_range 0.1 m and max_range 5 m is needed"
    )


def test_only_the_chosen_anchor_corrects(bench):
    both = replace(reading(), points=points_at(3.0))
    for _ in range(25):
        found = bench.apply(wall(1.5), both, settings("range"))
    assert found.factor == pytest.approx(WALL_M / 1.5, abs=0.01)
    for _ in range(25):
        found = bench.apply(wall(1.5), both, settings("auto"))  # points are trusted more
    assert found.factor == pytest.approx(2.0) and found.scale.corrected_by == "reference_points"


def test_the_floor_corrects_where_the_height_is_known(bench):
    predicted = floor(0.5, math.radians(20.0))
    found = bench.apply(predicted, mounted(0.8, 20.0), settings("ground"))
    assert found.factor == pytest.approx(1.6, rel=0.01)
    assert not found.problems
    unknown = bench.apply(predicted, unmounted(), settings("ground"))
    assert unknown.factor == found.factor  # held
    assert unknown.problems == {
        "ground": "ground cannot measure the scale: no transform; camera_height is not given"
    }


def test_the_floor_judges_the_other_anchors_and_nobody_is_told_where_it_cannot(bench):
    predicted = floor(0.5, math.radians(20.0))
    points = np.array([[0.0, 0.3, 0.0]] * 40)  # nothing that could measure
    judged = bench.apply(predicted, mounted(0.8, 20.0, points=points), settings("reference_points"))
    assert judged.scale.judged_by == "ground" and judged.factor == 1.0
    assert "ground is 60 % off the scale by the model" in judged.scale.reason
    assert not bench.apply(predicted, unmounted(points=points), settings("range")).problems


def test_a_scale_that_cannot_be_right_stops_marking_and_not_the_depth(bench):
    found = bench.apply(
        wall(1.0), mounted(0.8, 0.0, points=points_at(9.0)), settings("reference_points")
    )
    assert found.factor == 2.0 and not found.scale.ok
    assert found.obstacle_problem == found.scale.reason != ""
    np.testing.assert_allclose(found.depth_m, 2.0)


def test_the_anchors_of_a_setting_are_the_most_trusted_first():
    assert settings().anchors == ()
    assert settings("range").anchors == ("range",)
    assert settings("auto").anchors == (
        "reference_depth",
        "reference_points",
        "range",
        "motion",
        "ground",
    )
    with pytest.raises(SettingError, match="scale_correction is 'off'"):
        settings("off")


# What the camera's motion tells.


def motion_of(metres: float) -> MotionPoints:
    points = points_at(metres)
    return MotionPoints(points, np.full(len(points), 0.02))


def test_motion_corrects_depth_and_not_the_factor(bench):
    found = bench.apply(wall(1.6), unmounted(motion=motion_of(WALL_M)), settings("motion"))
    assert np.median(found.depth_m) == pytest.approx(WALL_M, abs=0.03)
    assert (found.factor, found.scale.ok, found.scale.reason) == (1.0, True, "not corrected")
    assert found.motion == "200 points, depth changed by +24 % (median)"
    bench.correction.reset()
    without = bench.apply(wall(1.6), unmounted(), settings("motion"))
    assert np.array_equal(without.depth_m, wall(1.6)) and without.motion == "no odometry"
    assert bench.apply(wall(1.6), unmounted(), settings("ground")).motion == ""


@pytest.mark.parametrize("reference", ["points", "reference_m"])
def test_what_measures_better_is_not_overruled_by_motion(bench, reference):
    exact = {"points": points_at(WALL_M), "reference_m": wall()}[reference]
    surround = unmounted(motion=motion_of(1.4 * WALL_M), **{reference: exact})
    found = bench.apply(wall(1.5), surround, settings("auto"))
    np.testing.assert_allclose(found.depth_m, WALL_M, rtol=1e-3)
    assert found.motion == "another reference measures better"


def test_motion_corrects_what_the_floor_leaves(bench):
    depth = floor(0.5, math.radians(10.0), 3.0)
    surround = replace(mounted(0.5, 10.0), motion=motion_of(3.6))
    found = bench.apply(depth, surround, settings("auto"), is_told=True, untold_m=depth)
    assert found.scale.corrected_by == "ground"
    assert np.median(found.depth_m[depth > 2.99]) == pytest.approx(3.6, abs=0.15)


@pytest.mark.parametrize("is_told, stays", [(True, True), (False, False)])
def test_a_floor_that_the_network_was_told_stays_where_it_is(bench, is_told, stays):
    depth, mount = floor(0.5, math.radians(10.0), 3.0), mounted(0.5, 10.0)
    near = depth < 2.0
    surround = replace(mount, motion=motion_of(3.6))  # all that is seen is on the wall
    found = bench.apply(depth, surround, settings("motion"), is_told=is_told, untold_m=depth)
    changed = np.abs(found.depth_m / depth - 1.0)
    assert bool(changed[near].max() < 1e-3) is stays
    assert np.median(found.depth_m[depth > 2.99]) == pytest.approx(3.6, abs=0.15)


# Where the camera stands.


def test_the_floor_stands_in_for_a_while_where_nothing_says_how_the_camera_stands(bench):
    true = Pose.from_mount(0.6, math.radians(15.0))
    seen, behind_a_wall = floor(0.6, math.radians(15.0), 30.0), wall()
    start = unmounted(up=np.array([0.0, -1.0, -0.2]))

    def at(time_s, depth_m):
        surround = replace(start, time_s=time_s)
        image = np.zeros((*depth_m.shape, 3), np.uint8)
        return bench.correction.apply(depth_m, image, CAMERA, surround, settings())

    missing = at(4.0, behind_a_wall)
    assert (missing.base_from_camera, missing.pose_source) == (None, "")
    assert missing.obstacle_problem == (
        "no transform; camera_height is not given; and no floor is in view within 15 degrees of "
        "the tilt that is assumed and at most 3 m below the camera"
    )
    found = at(5.0, seen)
    assert (found.pose_source, found.obstacle_problem) == ("floor", "")
    assert found.base_from_camera.translation[2] == pytest.approx(0.6, rel=0.01)
    assert found.base_from_camera.up_in_source == pytest.approx(true.up_in_source, abs=0.01)
    held = at(5.0 + FLOOR_HELD_S, behind_a_wall)
    assert held.base_from_camera is found.base_from_camera
    assert "no floor is in view" in at(5.1 + FLOOR_HELD_S, behind_a_wall).obstacle_problem
    assert at(8.0, seen).pose_source == "floor"
    bench.correction.reset()
    assert "no floor is in view" in at(8.1, behind_a_wall).obstacle_problem


def test_a_floor_does_not_stand_in_for_tf_that_is_only_late(bench):
    late = unmounted(pose_problem="extrapolation into the future", may_fit_floor=False)
    found = bench.apply(floor(0.6, 0.3), late, settings())
    assert found.base_from_camera is None
    assert found.obstacle_problem == "extrapolation into the future"


def test_the_floor_is_not_looked_for_where_nobody_acts_on_it(bench):
    found = bench.apply(floor(0.6, 0.3), unmounted(), settings(), wants_obstacles=False)
    assert (found.base_from_camera, found.pose_source, found.obstacle_problem) == (None, "", "")


@pytest.mark.parametrize("scale_correction", ["none", "ground"])
def test_a_base_frame_above_the_floor_stops_marking(bench, scale_correction):
    """Exact depth, and base_frame 0.13 m above the floor: the camera seems lower than it is."""
    how = settings(scale_correction)
    for _ in range(10):
        found = bench.apply(room(0.5), mounted(0.37, 10.0), how)
    assert found.floor_offset_m == pytest.approx(-0.13, abs=0.01)
    assert "0.13 m below z = 0" in found.obstacle_problem
    on_the_floor = Bench()
    for _ in range(20):
        found = on_the_floor.apply(room(0.5), mounted(0.5, 10.0), how)
    assert found.floor_offset_m == pytest.approx(0.0, abs=0.01)
    assert found.obstacle_problem == ""


@pytest.mark.parametrize("scale_correction, is_told", [("none", True), ("ground", False)])
def test_a_network_that_errs_in_scale_is_helped_by_the_floor_or_told_of(scale_correction, is_told):
    """A network bends the floor as well, which tells it from exact depth over a wrong height."""
    bench, how = Bench(), settings(scale_correction)
    for seed in range(20):
        predicted = monocular(np.float32(1.35) * room(0.5), seed, spread=0.06)
        found = bench.apply(predicted, mounted(0.5, 10.0), how)
    assert bool(found.obstacle_problem) is is_told
    assert found.factor == pytest.approx(1.0 if is_told else 1 / 1.35, rel=0.05)


@pytest.mark.parametrize("model_error, is_told", [(0.35, False), (0.0, True)])
def test_a_floor_that_the_models_own_error_explains_stops_nothing(model_error, is_told):
    bench = Bench(model_error)
    for seed in range(20):
        predicted = monocular(np.float32(1.3) * room(0.5), seed, spread=0.06)
        found = bench.apply(predicted, mounted(0.5, 10.0), settings())
    assert bool(found.obstacle_problem) is is_told


def test_a_floor_fitted_to_the_depth_is_not_held_against_it(bench):
    for _ in range(10):
        found = bench.apply(room(0.5), unmounted(), settings())
    assert found.pose_source == "floor" and math.isnan(found.floor_offset_m)


def test_an_upside_down_camera_is_told_of_and_marks(bench):
    pose = Pose.from_mount(0.5, math.radians(10.0), math.pi)
    upside_down = unmounted(base_from_camera=pose, pose_source="TF", up=pose.up_in_source)
    found = bench.apply(room_depth(pose, camera=CAMERA), upside_down, settings())
    assert "upside down" in found.problems["mount"]
    assert found.obstacle_problem == ""


def test_what_the_robot_could_not_use_is_handed_on(bench):
    found = bench.apply(wall(), unmounted(problems={"imu": "imu is too old"}), settings())
    assert found.problems == {"imu": "imu is too old"}


# From frame to frame.


def test_flicker_on_a_still_picture_is_averaged_out(bench):
    rng = np.random.default_rng(4)
    picture = np.repeat(rng.integers(60, 200, (192, 256, 1), np.uint8), 3, axis=2)
    spread = {}
    for seconds in (0.0, 2.0):
        logs = []
        for _ in range(12):
            noisy = (wall() * np.exp(rng.normal(0, 0.05, (192, 256)))).astype(np.float32)
            how = settings(temporal_smoothing_s=seconds)
            logs.append(np.log(bench.apply(noisy, unmounted(), how, picture).depth_m))
        spread[seconds] = np.median(np.std(logs[4:], axis=0))
    assert spread[2.0] < 0.6 * spread[0.0]
    bench.correction.reset()
    far = wall(4.0)
    anew = bench.apply(far, unmounted(), settings(temporal_smoothing_s=2.0), picture)
    np.testing.assert_allclose(anew.depth_m, far, rtol=1e-5)


def zoomed(factor):
    sizes = (CAMERA.width, CAMERA.height, factor * CAMERA.fx, factor * CAMERA.fy)
    return Camera.pinhole(*sizes, CAMERA.cx, CAMERA.cy)


def test_a_longer_lens_on_a_still_picture_counts_at_once(bench):
    image = np.random.default_rng(1).integers(0, 255, (*wall().shape, 3), dtype=np.uint8)
    near, far = wall(), wall() * np.float32(1.25)

    def at(time_s, depth_m, camera):
        surround = replace(unmounted(), time_s=time_s)
        how = settings(temporal_smoothing_s=0.5)
        return bench.correction.apply(depth_m, image, camera, surround, how).depth_m

    for step in range(5):
        at(step * 0.1, near, CAMERA)
    longer = zoomed(1.25)
    np.testing.assert_allclose(at(0.5, far, longer), far)
    still_averaged = at(0.6, far * np.float32(1.05), zoomed(1.251))  # as an autofocus has it
    assert np.all(still_averaged < 1.04 * far)


def test_the_scale_is_corrected_after_smoothing_so_that_it_holds_at_once(bench):
    picture = np.zeros((192, 256, 3), np.uint8)
    how = settings("reference_points", temporal_smoothing_s=2.0)
    for depth_m in (1.5, 1.5, 1.5):
        found = bench.apply(wall(depth_m), unmounted(points=points_at(WALL_M)), how, picture)
    np.testing.assert_allclose(found.depth_m, WALL_M, rtol=1e-3)
