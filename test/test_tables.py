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

"""Values as keys: cameras and poses compare, hash and are kept by what they say."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import pytest

from depthrefl_ros.geometry.camera import Camera, RegionOfInterest
from depthrefl_ros.geometry.gates import GateSettings
from depthrefl_ros.geometry.pose import Pose, mount_rotation
from depthrefl_ros.geometry.rectification import rectification
from depthrefl_ros.geometry.tables import TABLES, Value, frozen, table

K = np.array([[500.0, 0, 320.5], [0, 510.0, 240.5], [0, 0, 1]])


def camera(**changes) -> Camera:
    return Camera(**{"width": 640, "height": 480, "K": K, "D": [0.1, 0, 0, 0, 0], **changes})


def test_equal_cameras_are_one_key_and_every_field_counts():
    assert camera() == camera() and hash(camera()) == hash(camera())
    changes = [
        {"width": 641},
        {"height": 481},
        {"K": K + 1e-9 * np.eye(3)},
        {"D": [0.1, 0, 0, 0, 1e-9]},
        {"R": mount_rotation(0.0, 0.0)},
        {"P": np.hstack([K, [[0], [0], [1e-9]]])},
        {"distortion_model": "rational_polynomial", "D": np.zeros(8)},
        {"binning_x": 2},
        {"binning_y": 2},
        {"roi": RegionOfInterest(width=10, height=10)},
        {"rescaled_from": (320, 240)},
    ]
    cameras = [camera(), *(camera(**change) for change in changes)]
    assert len(set(cameras)) == len(cameras)
    assert all(one != camera() for one in cameras[1:])


def test_equal_poses_are_one_key():
    one, other = Pose.from_mount(0.5, 0.1), Pose.from_mount(0.5, 0.1)
    assert one == other and hash(one) == hash(other) and one is not other
    assert one != Pose.from_mount(0.5, 0.1 + 1e-9) and one != Pose.from_mount(0.5, 0.1, x_m=1e-9)
    assert one != "pose" and one != camera()
    assert Pose(np.eye(3), np.zeros(3)) == Pose(np.eye(3), -np.zeros(3)), "-0.0 equals 0.0"


def test_values_cannot_be_changed_from_outside_or_inside():
    matrix, shift = np.eye(3), np.zeros(3)
    pose = Pose(matrix, shift)
    matrix[0, 0], shift[0] = 5.0, 5.0
    assert pose == Pose.identity()
    for array in (pose.rotation, pose.translation, camera().K, camera().P, camera().R, camera().D):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_a_copy_is_equal():
    found = camera()
    hash(found)
    assert copy.deepcopy(found) == found == copy.copy(found) == replace(found)


def test_a_table_is_made_once_for_equal_values_and_few_are_kept():
    made = []

    @table
    def rays(camera: Camera, pose: Pose, settings: GateSettings) -> int:
        made.append(camera)
        return len(made)

    def ask(height_m: float) -> int:
        return rays(camera(), Pose.from_mount(height_m), GateSettings(min_range_m=0.25))

    assert [ask(0.5) for _ in range(3)] == [1, 1, 1]
    for index in range(3 * TABLES):
        ask(1.0 + index)
    assert rays.cache_info().currsize == TABLES
    assert ask(0.5) > 1, "the oldest was given up"


def test_maps_are_made_once_for_equal_cameras():
    one = rectification(camera(), False, (352, 256), "pad")
    assert rectification(camera(), False, (352, 256), "pad") is one
    assert rectification(camera(), True, (352, 256), "pad") is not one
    assert rectification(camera(), False, (352, 256), "crop") is not one


def test_arrays_of_another_shape_or_type_are_other_values():
    @dataclass(frozen=True, eq=False)
    class Mask(Value):
        pixels: np.ndarray

    planes = [np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), np.zeros((2, 3), np.int8)]
    assert len({Mask(frozen(plane)) for plane in planes}) == 3
    assert Mask(frozen(planes[0])) == Mask(frozen(planes[0].copy()))
    assert frozen(planes[0].T, np.float32).flags.c_contiguous
