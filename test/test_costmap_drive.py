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


from __future__ import annotations

import math

import costmap_drive
import numpy as np
import pytest
from corridor_drive import corridor_frames
from costmap import Scene
from costmap_drive import (
    HALF,
    Counts,
    Place,
    corrected,
    error_above_floor,
    freed,
    update,
)
from costmap_picture import errors_picture

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.command_line import ToolError

EYE = np.array([0.0, 0.0, 0.5])
NOTHING = np.zeros((0, 3))


def empty_map() -> np.ndarray:
    return np.zeros((2 * HALF, 2 * HALF), np.uint8)


def test_a_point_ahead_of_a_turned_robot_lies_where_it_looks():
    place = Place(1.0, 2.0, math.pi / 2)  # looks along +y
    assert place.cells(np.array([[1.01, 0.01, 0.5]])).tolist() == [[HALF + 19, HALF + 60]]
    distance_m = place.ahead()
    assert math.isclose(distance_m[HALF + 20, HALF + 60], 1.025, abs_tol=0.01)
    assert distance_m[HALF + 20, HALF + 30] == math.inf  # behind it


def test_marks_stop_at_the_range_and_a_ray_clears_on_its_way_only():
    grid, place = empty_map(), Place(0.0, 0.0, 0.0)
    marks = np.array([[1.0, 0.01, 0.5], [2.0, 0.01, 0.5], [4.0, 0.01, 0.5]]) + (0.01, 0, 0)
    update(grid, place, EYE, (marks, NOTHING), 3.0)
    assert np.argwhere(grid).tolist() == [[HALF + 20, HALF], [HALF + 40, HALF]]
    update(grid, place, EYE, (NOTHING, np.array([[1.5, 0.01, 0.0]])), 3.0)
    assert np.argwhere(grid).tolist() == [[HALF + 40, HALF]]  # behind the ray's end


def test_what_a_ray_frees_of_an_obstacle_is_counted_unless_it_is_marked():
    place, ray = Place(0.0, 0.0, 0.0), np.array([[1.025, 0.01, 0.0]])
    true = empty_map() > 0
    true[HALF + 10, HALF] = true[HALF + 20, HALF] = true[HALF + 30, HALF] = True
    assert freed(place, EYE, (NOTHING, ray), true) == (21, 2)
    marks = np.array([[0.52, 0.01, 0.5]])
    assert freed(place, EYE, (marks, ray), true) == (20, 1)


def test_a_mark_is_false_away_from_the_truth_of_the_whole_drive():
    right, true, marked = (empty_map() > 0 for _ in range(3))
    right[10:17, 10] = True
    true[13, 10] = true[40, 40] = True
    marked[12, 10] = marked[30, 30] = True
    counts = Counts()
    counts.add(marked, right, true, np.ones_like(marked))
    assert counts == Counts(marks=2, false=1, true=2, found=1)
    counts = Counts()
    counts.add(marked, right, true, np.zeros_like(marked))
    assert counts == Counts()


def test_the_picture_of_errors_is_green_where_depth_is_right_and_red_where_it_is_too_far():
    camera = Camera.from_horizontal_fov(64, 48, 1.0)
    true_m = np.full((48, 64), 2.0, np.float32)
    planes = {"sigma": true_m, "confidence": true_m, "network_camera": camera}
    image = np.zeros((48, 64, 3), np.uint8)
    mount = Pose.from_mount(0.5)
    scene = Scene(true_m, camera, 2.0 * true_m, base_from_camera=mount, image_bgr=image, **planes)
    picture = errors_picture([scene], [true_m], [0])
    assert picture.shape == (48, 3 * 64, 3)
    blue, green, red = picture[24, 64 + 32].astype(int)
    assert red > 100 and green == blue == 0
    blue, green, red = picture[24, 128 + 32].astype(int)
    assert green > 250 and abs(red - blue) < 20
    with pytest.raises(ToolError, match="--frames is 3; the drive has frames 0 to 0"):
        errors_picture([scene], [true_m], [3])


def test_what_motion_tells_comes_into_the_depth_of_the_drive():
    frames = corridor_frames(8)
    scenes = [
        Scene(
            one.true_m, one.camera, one.true_m * np.float32(1.3), np.full_like(one.true_m, 0.1),
            np.ones_like(one.true_m), one.camera, one.base_from_camera,
            np.ascontiguousarray(one.rgb[..., ::-1]),
        )
        for one in frames
    ]  # fmt: skip
    places = [one.place for one in frames]
    depths = corrected(scenes, places, 0.3, False)
    assert np.array_equal(depths[0], scenes[0].depth_m)
    before, after = (
        error_above_floor(scenes[-1:], one) for one in ([scenes[-1].depth_m], depths[-1:])
    )
    assert before == pytest.approx(0.3, abs=0.01) and after < 0.2


def test_the_recording_advances_by_a_step_a_frame():
    places = costmap_drive.recorded_places(64)
    ways = [math.hypot(b.x - a.x, b.y - a.y) for a, b in zip(places, places[1:], strict=False)]
    assert np.allclose(ways, costmap_drive.STEP_M, atol=5e-4)
    assert max(abs(one.y - 1.35) for one in places) <= 0.28 + 1e-9
