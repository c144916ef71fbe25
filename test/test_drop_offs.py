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

"""What is cleared where the floor ends, and that floor which is none too good is cleared still."""

from __future__ import annotations

import math

import numpy as np
import pytest
from box_scene import true_depth

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.gates import GateSettings, apply_gates
from depthrefl_ros.geometry.obstacles import ObstacleSettings, obstacle_clouds
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays

CAMERA = Camera.from_horizontal_fov(256, 192, 1.2)
GATES = GateSettings(max_range_m=10.0)
NOSING_M, TREAD_M = 0.17, 0.28


def floor_at(mount: Pose, z_m: float, from_m: float, to_m: float) -> np.ndarray:
    """Depth (h, w) of level ground at a height, from one distance ahead to another; inf beside."""
    turned = image_rays(CAMERA) @ mount.rotation.T
    with np.errstate(divide="ignore"):
        depth = (z_m - mount.translation[2]) / np.where(turned[..., 2] < 0, turned[..., 2], -0.0)
    ahead = depth * turned[..., 0]
    return np.where((ahead >= from_m) & (ahead < to_m) & (depth > 0), depth, np.inf)


def ends_at(mount: Pose, edge_m: float, drop_m: float, steps: int = 0) -> np.ndarray:
    """Depth of a floor that ends: at a lower floor, or at stairs that lead down to it."""
    treads = [
        floor_at(mount, -NOSING_M * n, edge_m + TREAD_M * (n - 1), edge_m + TREAD_M * n)
        for n in range(1, steps)
    ]
    lower = floor_at(mount, -drop_m, edge_m + TREAD_M * max(steps - 1, 0), 99.0)
    every = [floor_at(mount, 0.0, -9.0, edge_m), *treads, lower]
    return np.minimum(np.min(every, axis=0), 15.0).astype(np.float32)


def cleared(
    depth: np.ndarray, mount: Pose, sigma: float = 0.02, gates: GateSettings = GATES
) -> np.ndarray:
    """Return the ends of the clearing rays (n, 3) in the base frame."""
    sigmas = np.full_like(depth, sigma)
    gated = apply_gates(depth, sigmas, CAMERA, np.inf, gates).depth_m
    made = obstacle_clouds(
        gated, depth, sigmas, np.ones_like(depth), CAMERA, mount, ObstacleSettings(), gates
    )
    return mount.apply(made.clearing[:, :3])


@pytest.mark.parametrize(
    "height_m, pitch_deg, edge_m, drop_m, steps",
    [
        (0.6, 25, 1.0, 1.5, 0),
        (0.6, 25, 1.0, 1.7, 10),
        (0.4, 10, 2.0, 1.0, 0),
        (1.2, 35, 1.5, 1.7, 6),
        (0.6, 10, 3.0, 1.7, 10),
    ],
)
def test_nothing_is_cleared_beyond_the_edge_of_the_floor(
    height_m, pitch_deg, edge_m, drop_m, steps
):
    mount = Pose.from_mount(height_m, math.radians(pitch_deg))
    ends = cleared(ends_at(mount, edge_m, drop_m, steps), mount)
    # Of a stair's first tread a ramp could be taken.
    assert edge_m - 0.25 < ends[:, 0].max() < edge_m + 0.03, "the floor before it is cleared"


def test_a_wall_beyond_a_stairwell_does_not_clear_it():
    mount = Pose.from_mount(0.6, math.radians(10))
    wall = (6.0 / (image_rays(CAMERA) @ mount.rotation.T)[..., 0]).astype(np.float32)
    ends = cleared(np.minimum(ends_at(mount, 2.0, 1.7), wall), mount)
    assert len(ends) and ends[:, 0].max() < 2.01


def test_a_robot_whose_near_view_is_all_void_clears_nothing():
    mount = Pose.from_mount(0.6, math.radians(25))
    assert not len(cleared(ends_at(mount, 0.3, 1.7), mount))


def test_what_is_unsure_of_its_depth_makes_no_edge():
    mount = Pose.from_mount(0.6, math.radians(25))
    truth = ends_at(mount, 1.0, 0.9)
    assert cleared(truth, mount, sigma=0.02)[:, 0].max() < 1.01
    assert cleared(truth, mount, sigma=0.35)[:, 0].max() > 4.0


@pytest.mark.parametrize("height_m, pitch_deg", [(0.4, 5), (1.0, 20)])
@pytest.mark.parametrize("ramp_deg", [5, 8])
def test_a_ramp_downwards_is_cleared(height_m, pitch_deg, ramp_deg):
    mount = Pose.from_mount(height_m, math.radians(pitch_deg))
    turned, fall = image_rays(CAMERA) @ mount.rotation.T, math.tan(math.radians(ramp_deg))
    with np.errstate(divide="ignore"):
        # z = -fall (x - 1.5) beyond 1.5 m.
        ramp = (fall * 1.5 - height_m) / (turned[..., 2] + fall * turned[..., 0])
    foot_m = 1.5 + 0.45 / fall  # down to 0.45 m below the floor
    ahead = ramp * turned[..., 0]
    ramp = np.where((ramp > 0) & (ahead >= 1.5) & (ahead < foot_m), ramp, np.inf)
    lower = np.minimum(ramp, floor_at(mount, -0.45, foot_m, 99.0))
    truth = np.minimum(floor_at(mount, 0.0, -9.0, 1.5), lower)
    ends = cleared(
        np.minimum(truth, 15.0).astype(np.float32), mount, gates=GateSettings(max_range_m=6.0)
    )
    assert ends[:, 0].max() > 5.5


@pytest.mark.parametrize("wrong_deg", [-2.0, -1.0])  # the floor seems to fall away
def test_a_floor_that_a_slightly_wrong_mount_sees_is_cleared(wrong_deg):
    told = Pose.from_mount(0.5, math.radians(15))
    truth = true_depth(CAMERA, Pose.from_mount(0.5, math.radians(15 + wrong_deg)), [])
    ends = cleared(truth, told)
    assert ends[:, 0].max() > 8.0


def test_an_uneven_floor_is_cleared():
    mount = Pose.from_mount(0.5, math.radians(15))
    truth = true_depth(CAMERA, mount, [])
    waves = np.exp(0.1 * np.sin(np.arange(192) / 7.0))[:, None] * np.exp(
        0.05 * np.sin(np.arange(256) / 9.0)
    )
    ends = cleared((truth * waves).astype(np.float32), mount, sigma=0.1)
    assert ends[:, 0].max() > 8.0
