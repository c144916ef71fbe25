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

"""Depth of one camera in the view of another, held against what that other would have seen."""

import numpy as np
import pytest
from room_depth import room_depth

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.registration import projected_points, registered_depth

BOX = [((2.0, -0.4, 0.0), (2.5, 0.3, 0.9))]
COLOUR = Camera.from_horizontal_fov(160, 120, 1.0)
MOUNT = Pose.from_mount(0.5, 0.1)
DEPTH_MOUNT = Pose.from_mount(0.56, 0.06, 0.03, 0.0, 0.1)


@pytest.mark.parametrize("size", [(160, 120), (80, 60), (320, 240)])
def test_a_room_looks_as_if_seen_from_the_other_place(size):
    camera = Camera.from_horizontal_fov(*size, 1.3)
    depth = room_depth(DEPTH_MOUNT, BOX, camera)
    depth[:3] = np.nan
    seen = registered_depth(depth, camera, MOUNT.inverse() @ DEPTH_MOUNT, COLOUR)
    truth = room_depth(MOUNT, BOX, COLOUR)
    known = seen > 0
    assert known.mean() > 0.85 and seen.dtype == np.float32
    error = np.abs(seen[known] / truth[known] - 1)
    assert np.median(error) < 0.01 and (error < 0.1).mean() > 0.97
    # What is behind the box from the one place and beside it from the other does not shine through.
    box = truth < 2.3
    assert (seen[box & known] < 2.6).mean() > 0.97


def test_the_same_place_changes_nothing():
    depth = room_depth(MOUNT, BOX, COLOUR)
    seen = registered_depth(depth, COLOUR, Pose.identity(), COLOUR)
    known = seen > 0
    np.testing.assert_array_equal(seen[known], depth[known])
    assert known.mean() > 0.98  # only beside edges something is left out


def test_of_points_in_one_pixel_the_nearest_is_seen_and_hidden_ones_are_not():
    camera = Camera.pinhole(40, 30, 50.0, 50.0, 19.5, 14.5)
    axis = np.array([[0.0, 0.0, 1.0]])
    points = np.vstack([4 * axis, 2 * axis, 3 * axis, [[0.16, 0, 4.0]], [[-0.8, 0, 4.0]],
                        -axis, [[np.nan] * 3], [[50.0, 0, 0.5]], 1e-9 * axis])  # fmt: skip
    seen = projected_points(points, camera, reach_px=3)
    assert sorted(seen[seen > 0].tolist()) == [2.0, 4.0]  # 2 px beside the near one: hidden
    assert seen[14, 20] == 2.0 and seen[14, 10] == 4.0
    wide = projected_points(2 * axis, camera, footprint=(3, 2))
    assert (wide > 0).sum() == 6
    assert not projected_points(np.zeros((0, 3)), camera).any()
