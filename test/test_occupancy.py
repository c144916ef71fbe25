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

"""Which cells are marks, and which of them are wrong."""

from __future__ import annotations

import math

import numpy as np
import yaml
from box_scene import true_depth
from conftest import ROOT

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.occupancy import RANGE_M, Tally, all_points, occupancy

CAMERA = Camera.from_horizontal_fov(320, 240, math.radians(70))
MOUNT = Pose.from_mount(0.5, math.radians(4))
# Lower and upper corner of each box on the floor, metres in the base frame.
BOXES = [((2.0, -0.6, 0.0), (2.4, -0.2, 0.5)), ((4.0, -4.0, 0.0), (4.2, 4.0, 2.5))]


def test_a_mark_is_a_cell_with_a_point_in_band_and_range():
    points = np.array(
        [(2.01, 0.01, 0.5), (2.02, 0.02, 0.6), (2.0, -1.0, 0.05), (2.0, 1.0, 1.9), (5.2, 0.0, 0.5)],
        np.float32,
    )
    grid = occupancy(points)
    assert grid.sum() == 1
    assert grid[40, grid.shape[1] // 2]
    wider = occupancy(points, 5.3)
    assert wider.sum() == 2


def test_a_mark_is_false_beyond_the_tolerance_and_a_cell_is_found_within_it():
    truth = np.array([(2.025, 0.025, 0.5), (3.025, 0.025, 0.5)])
    right = truth[0] + (0.15, 0, 0)
    wrong = truth[0] + (0.2, 0, 0)
    tally = Tally()
    tally.add(np.array([right, wrong]), truth)
    assert (tally.marks, tally.false, tally.true, tally.found) == (2, 1, 2, 1)
    assert tally.recall == 0.5
    assert math.isnan(Tally().recall) and math.isnan(Tally().by_chance)


def test_what_is_found_by_chance_is_found_in_the_mirrored_scene():
    truth = np.array([(2.025, 0.525, 0.5), (3.025, 0.025, 0.5)])  # one aside, one straight ahead
    tally = Tally()
    tally.add(truth, truth)
    assert (tally.recall, tally.by_chance) == (1.0, 0.5)
    all_over = np.stack(np.meshgrid(np.arange(0, 5, 0.1), np.arange(-2, 2, 0.1), [0.5]), -1)
    tally = Tally()
    tally.add(all_over.reshape(-1, 3), truth)
    assert (tally.recall, tally.by_chance) == (1.0, 1.0)


def test_what_stands_just_beyond_the_range_is_no_false_mark():
    tally = Tally()
    tally.add(np.array([(4.975, 0.0, 0.5)]), np.array([(5.075, 0.0, 0.5)]))
    assert (tally.false, tally.true) == (0, 0)


def test_the_range_holds_all_that_the_shipped_costmap_can_show():
    shipped = yaml.safe_load((ROOT / "config" / "nav2_costmap.yaml").read_text())
    settings = shipped["local_costmap"]["local_costmap"]["ros__parameters"]
    assert settings["width"] / 2 == settings["height"] / 2 == RANGE_M
    assert settings["camera_layer"]["depthrefl_marking"]["obstacle_max_range"] <= RANGE_M


def test_the_truth_finds_all_of_itself():
    truth = all_points(true_depth(CAMERA, MOUNT, BOXES), CAMERA, MOUNT)
    tally = Tally()
    tally.add(truth, truth)
    assert tally.false == 0 and tally.recall == 1.0 and tally.true > 50
