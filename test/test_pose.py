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

"""Poses: mounts, quaternions, composition, and what is refused."""

import math

import numpy as np
import pytest

from depthrefl_ros.geometry.pose import Pose

FORWARD = np.array([0.0, 0.0, 1.0])  # of the optical frame
RIGHT = np.array([1.0, 0.0, 0.0])


def some_pose(seed: int) -> Pose:
    rng = np.random.default_rng(seed)
    quaternion = rng.normal(size=4)
    quaternion /= np.linalg.norm(quaternion)
    return Pose.from_quaternion(*quaternion, rng.normal(size=3))


def test_a_level_mount_has_the_axes_of_rep_103():
    pose = Pose.from_mount(0.5, x_m=0.1, y_m=-0.2)
    assert np.allclose(pose.apply(np.zeros(3)), (0.1, -0.2, 0.5))
    assert np.allclose(pose.rotation @ FORWARD, (1, 0, 0))
    assert np.allclose(pose.rotation @ RIGHT, (0, -1, 0))
    assert np.allclose(pose.up_in_source, (0, -1, 0))  # up is minus down


def test_positive_pitch_looks_down():
    ahead = Pose.from_mount(0.5, pitch_rad=math.radians(30)).rotation @ FORWARD
    assert np.allclose(ahead, (math.cos(math.radians(30)), 0, -0.5))


def test_positive_roll_tilts_clockwise_as_seen_from_behind():
    right = Pose.from_mount(0.5, roll_rad=math.radians(30)).rotation @ RIGHT
    assert right[2] == pytest.approx(-0.5)  # the right side goes down


def test_roll_comes_before_pitch():
    pose = Pose.from_mount(0.5, math.radians(20), math.radians(10))
    assert np.allclose(
        pose.rotation @ FORWARD, (math.cos(math.radians(20)), 0, -math.sin(math.radians(20)))
    )


def test_a_pitched_camera_sees_the_floor_where_trigonometry_says():
    pose = Pose.from_mount(0.5, pitch_rad=math.radians(45))
    hit = pose.apply(FORWARD * 0.5 * math.sqrt(2))
    assert np.allclose(hit, (0.5, 0, 0))


@pytest.mark.parametrize(
    ("axis", "source", "target"),
    [("x", (0, 1, 0), (0, 0, 1)), ("y", (0, 0, 1), (1, 0, 0)), ("z", (1, 0, 0), (0, 1, 0))],
)
def test_quaternions_turn_by_the_right_hand_rule(axis, source, target):
    half = math.sqrt(0.5)
    parts = {name: half if name == axis else 0.0 for name in "xyz"}
    pose = Pose.from_quaternion(**parts, w=half)
    assert np.allclose(pose.rotation @ np.array(source, float), target)


def test_composition_and_inverse():
    a, b = some_pose(1), some_pose(2)
    points = np.random.default_rng(3).normal(size=(4, 5, 3))
    assert np.allclose((a @ b).apply(points), a.apply(b.apply(points)))
    assert np.allclose(a.inverse().apply(a.apply(points)), points)


def test_float32_points_stay_float32_and_unknown_ones_unknown():
    points = np.array([[1, 2, 3], [np.nan, 0, 1]], np.float32)
    moved = some_pose(4).apply(points)
    assert moved.dtype == np.float32
    assert np.isfinite(moved[0]).all() and np.isnan(moved[1]).all()


def test_a_pose_is_written_as_text_and_read_back():
    pose = some_pose(5)
    found = Pose.from_text(pose.as_text())
    assert np.allclose(found.rotation, pose.rotation, atol=1e-4)
    assert np.allclose(found.translation, pose.translation, atol=1e-4)
    for text in ("", "1 2 3", " ".join("1" * 12), "a " * 12):
        with pytest.raises(ValueError):
            Pose.from_text(text)


def test_up_of_a_mount_is_the_floor_normal_in_the_camera():
    pose = Pose.from_mount(0.5, 0.3, 0.2)
    assert np.allclose(pose.rotation @ pose.up_in_source, (0, 0, 1))


def test_a_height_and_an_up_make_a_mount_whose_heading_is_where_it_looks():
    pose = Pose.over_floor(0.5, Pose.from_mount(9.0, 0.3, 0.2).up_in_source)
    assert np.allclose(pose.apply(np.zeros(3)), (0, 0, 0.5))
    assert np.allclose(pose.rotation @ FORWARD, (math.cos(0.3), 0, -math.sin(0.3)))
    assert np.allclose(pose.up_in_source, Pose.from_mount(0.5, 0.3, 0.2).up_in_source)
    down = Pose.over_floor(0.5, np.array([0.0, 0.0, -1.0]))
    assert np.allclose(down.rotation @ -np.array([0.0, 1.0, 0.0]), (1, 0, 0))


def test_a_mount_is_said_in_words():
    words = "0.50 m up, looking 4.0 degrees down"
    assert Pose.from_mount(0.5, math.radians(4), 0.3).mount_in_words() == words
    words = "1.25 m up, looking 10.0 degrees up"
    assert Pose.from_mount(1.25, math.radians(-10)).mount_in_words() == words


@pytest.mark.parametrize(
    ("rotation", "translation", "named"),
    [
        (np.eye(3) * 1.1, np.zeros(3), "rotation"),
        (np.diag([1.0, 1.0, -1.0]), np.zeros(3), "right-handed"),
        (np.full((3, 3), np.nan), np.zeros(3), "rotation"),
        (np.eye(3), np.array([0, 0, np.inf]), "translation"),
        (np.eye(4), np.zeros(3), "rotation"),
    ],
)
def test_what_is_no_rigid_motion_is_refused(rotation, translation, named):
    with pytest.raises(ValueError, match=named):
        Pose(rotation, translation)


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (0, 0, 0, 2), (math.nan, 0, 0, 1)])
def test_a_quaternion_of_another_length_than_one_is_refused(quaternion):
    with pytest.raises(ValueError, match="length 1"):
        Pose.from_quaternion(*quaternion)


@pytest.mark.parametrize(
    ("mount", "named"),
    [
        ({"height_m": 0.0}, "height_m is 0.0; metres above the floor are needed"),
        ({"height_m": -0.5}, "height_m is -0.5"),
        ({"height_m": math.nan}, "height_m is nan"),
        ({"height_m": 0.5, "pitch_rad": 4.0}, "pitch_rad is 4.0; radians from -pi / 2 to pi / 2"),
        ({"height_m": 0.5, "pitch_rad": -90.0}, "pitch_rad is -90.0; radians"),
        ({"height_m": 0.5, "pitch_rad": math.nan}, "pitch_rad is nan"),
        ({"height_m": 0.5, "roll_rad": 180.0}, "roll_rad is 180.0; radians from -pi to pi"),
    ],
)
def test_a_mount_in_degrees_or_below_the_floor_is_refused(mount, named):
    with pytest.raises(ValueError, match=named):
        Pose.from_mount(**mount)


def test_the_steepest_mounts_may_be_rounded():
    straight_down = Pose.from_mount(0.5, 1.5708, 3.1416)
    assert np.allclose(straight_down.rotation @ FORWARD, (0, 0, -1), atol=1e-4)
