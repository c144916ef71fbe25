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

"""Which pixels may be believed."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from box_scene import true_depth

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.gates import (
    GATES,
    GateSettings,
    apply_gates,
    apply_range,
    depth_edges,
    floating,
    grazing,
    lost,
    smooth,
)
from depthrefl_ros.geometry.pose import Pose

CAMERA = Camera.from_horizontal_fov(256, 192, 1.2)
ROBOT = Pose.from_mount(0.4, pitch_rad=0.07)
SCENES = {
    "a box before a wall": [((2, -0.4, 0), (2.4, 0.4, 0.6)), ((4, -9, 0), (4.2, 9, 2.5))],
    "boxes near and far": [
        ((1.2, -0.2, 0), (1.5, 0.2, 0.5)),
        ((1.8, 0.5, 0), (2.2, 1.0, 1.2)),
        ((7, -9, 0), (7.2, 9, 3)),
    ],
    "a pole": [((2, -0.03, 0), (2.06, 0.03, 1.5)), ((5, -9, 0), (5.2, 9, 3))],
}
FLOATS = 0.04  # log ratio to every surface nearby
TRUE = 0.02  # log ratio to the surface that is there


def blurred(truth: np.ndarray, width: float) -> np.ndarray:
    """Depth that slides from surface to surface, as a network's does."""
    return np.exp(cv2.GaussianBlur(np.log(truth), (0, 0), width / 2)).astype(np.float32)


def floats(depth: np.ndarray, truth: np.ndarray, reach: int) -> np.ndarray:
    """(h, w) bool: no surface within ``reach`` pixels has this depth."""
    nearest = np.full(truth.shape, np.inf)
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            moved = np.roll(truth, (y, x), (0, 1))
            nearest = np.minimum(nearest, np.abs(np.log(depth / moved)))
    inner = np.zeros(truth.shape, bool)
    inner[reach:-reach, reach:-reach] = True
    return inner & (nearest > FLOATS)


def gated(depth: np.ndarray, camera: Camera = CAMERA, sigma=0.05, **settings):
    sigma = np.broadcast_to(np.float32(sigma), depth.shape)
    settings = GateSettings(**{"max_range_m": 12.0, **settings})
    return apply_gates(depth, sigma, camera, 0.1, settings)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("width", [2, 3, 4])
def test_what_floats_between_surfaces_goes_and_the_surfaces_stay(scene, width):
    truth = true_depth(CAMERA, ROBOT, SCENES[scene])
    depth = blurred(truth, width)
    removed = np.isnan(gated(depth).depth_m)
    between, true = floats(depth, truth, width + 2), np.abs(np.log(depth / truth)) < TRUE
    assert between.sum() > 300
    assert removed[between].mean() >= 0.95
    assert removed[true].mean() <= 0.03


@pytest.mark.parametrize("height_m", [0.15, 0.3, 0.5])
def test_a_floor_that_runs_away_is_no_edge(height_m):
    """Seen from a robot its neighbouring rows differ as much as two surfaces do."""
    floor = true_depth(CAMERA, Pose.from_mount(height_m, pitch_rad=0.15), [])
    seen = floor < 6.0
    assert (floor[:-1] / floor[1:])[seen[:-1]].max() > 1.03
    assert np.isnan(gated(floor).depth_m)[seen].mean() < 0.01


def test_planes_of_any_slant_are_no_edge():
    v, u = np.mgrid[:192, :256]
    for slant_u, slant_v in ((0.002, 0.0), (0.0, 0.002), (0.001, -0.001)):
        inverse = 0.5 + slant_u * (u - 128) + slant_v * (v - 96)
        assert not floating(inverse.astype(np.float32), 1.05).any()


def test_a_strip_that_is_seen_face_on_is_no_edge():
    inverse = np.full((40, 60), 1 / 3, np.float32)
    inverse[:, 30] = 1.0
    assert not floating(inverse, 1.12).any()


def test_grazing_is_measured_against_the_surface():
    """A level floor, level camera: the angle of a ray to the floor is known."""
    floor = true_depth(CAMERA, Pose.from_mount(0.3), [])
    found = grazing(1.0 / floor, CAMERA, math.radians(4.0))
    v, u = np.mgrid[:192, :256].astype(float)
    down, across = (v - CAMERA.cy) / CAMERA.fy, (u - CAMERA.cx) / CAMERA.fx
    angle = np.degrees(np.arcsin(down / np.sqrt(1 + down**2 + across**2)))
    inner = (floor < 14.9) & (v < 190) & (v > CAMERA.cy + 4)
    assert found[inner & (angle < 3.8)].all() and (inner & (angle < 3.8)).sum() > 500
    assert not found[inner & (angle > 4.2)].any()


def test_a_wall_seen_face_on_is_not_grazing():
    assert not grazing(np.full((192, 256), 0.5, np.float32), CAMERA, math.radians(15)).any()


def test_every_gate_counts_its_pixels_and_can_be_turned_off():
    truth = blurred(true_depth(CAMERA, ROBOT, SCENES["a box before a wall"]), 3)
    truth[:10], truth[-3:] = 20.0, 0.1
    sigma = np.full(truth.shape, 0.05, np.float32)
    sigma[60:70, 40:50] = 0.11
    seen = truth.copy()
    seen[:, :3], seen[:, 3] = np.nan, 0.0
    settings = GateSettings(min_range_m=0.2, max_range_m=12.0)
    made = apply_gates(seen, sigma, CAMERA, 0.1, settings)
    assert set(made.counts) == set(GATES)
    assert made.counts["confidence"] == 100 and made.counts["unseen"] == 4 * 192
    assert made.counts["too_far"] == 10 * 252 and made.counts["edge"] > 100
    assert np.isnan(made.depth_m[62, 45]) and np.isnan(made.depth_m[:, :4]).all()
    assert np.isposinf(made.depth_m[2, 100]) and np.isneginf(made.depth_m[-1, 100])
    assert np.isnan(made.smoothed_m[:, :4]).all() and np.isfinite(made.smoothed_m[:, 4:]).all()
    assert made.edges.any()
    off = GateSettings(False, edge_ratio=0, max_grazing_angle_deg=0, max_range_m=99, min_range_m=0)
    kept = apply_gates(truth, sigma, CAMERA, np.inf, off)
    np.testing.assert_array_equal(kept.depth_m, truth)
    assert not any(kept.counts.values()) and kept.edges is None


@pytest.mark.parametrize("limit", [0.1, np.inf])
def test_a_sigma_that_is_no_number_is_not_believed(limit):
    sigma = np.full((40, 60), 0.05, np.float32)
    sigma[:, 20:30] = np.nan
    made = apply_gates(np.full((40, 60), 2.0, np.float32), sigma, CAMERA, limit, GateSettings())
    np.testing.assert_array_equal(np.isnan(made.depth_m), np.isnan(sigma))
    assert made.counts["confidence"] == 400


def test_only_what_the_median_puts_far_behind_its_place_is_lost():
    raw = np.array([1.0, 1.0, 1.0, 11.0, 1.0, np.nan, np.inf, 9.0], np.float32)
    gated_m = np.array([1.1, 1.3, np.inf, np.inf, np.nan, 2.0, np.inf, np.inf], np.float32)
    assert lost(gated_m, raw, 10.0).tolist() == [False, True, True, *[False] * 5]


def test_beside_what_nobody_saw_a_surface_stays():
    truth = true_depth(CAMERA, ROBOT, SCENES["a box before a wall"])
    seen = truth.copy()
    seen[:20], seen[-20:] = np.nan, np.nan
    kept, whole = gated(seen), gated(truth)
    np.testing.assert_array_equal(np.isnan(kept.depth_m[20:-20]), np.isnan(whole.depth_m[20:-20]))
    both = np.isfinite(kept.depth_m[20:-20])
    np.testing.assert_allclose(kept.depth_m[20:-20][both], whole.depth_m[20:-20][both], rtol=0.02)


def test_the_sky_is_beyond_the_range_also_beside_what_nobody_saw():
    depth = true_depth(CAMERA, Pose.from_mount(0.4), [])
    depth[:90], depth[:, :10] = np.inf, np.nan
    made = gated(depth)
    assert np.isposinf(made.depth_m[:88, 12:]).all() and np.isnan(made.depth_m[:, :10]).all()
    floor = (depth > 0.5) & (depth < 5.0)
    assert np.isfinite(made.depth_m[floor]).mean() > 0.99


def test_the_input_is_left_as_it_is():
    depth = true_depth(CAMERA, ROBOT, SCENES["a pole"])
    before = depth.copy()
    gated(depth, sigma=0.5)
    np.testing.assert_array_equal(depth, before)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"edge_ratio": 0.9}, "edge_ratio is 0.9"),
        ({"max_grazing_angle_deg": 90.0}, "max_grazing_angle is 90.0 degrees"),
        ({"min_confidence": 1.0}, "min_confidence is 1.0"),
        ({"min_range_m": 5.0, "max_range_m": 5.0}, "min_range is 5.0 m and max_range 5.0 m"),
    ],
)
def test_settings_that_cannot_be_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        GateSettings(**changes)


def test_a_step_is_an_edge_on_both_sides_and_a_slope_is_none():
    depth = np.full((8, 12), 1.0, np.float32)
    depth[:, 6:] = 2.0
    edges = depth_edges(depth, 1.2)
    assert edges[:, 5:7].all() and not edges[:, :5].any() and not edges[:, 7:].any()
    slope = np.tile(np.geomspace(1, 2, 12, dtype=np.float32), (8, 1))
    assert not depth_edges(slope, 1.2).any()


def test_range_follows_rep_117():
    depth = np.array([[0.1, 0.5, 9.0, 11.0, np.nan]], np.float32)
    apply_range(depth, 0.3, 10.0)
    np.testing.assert_array_equal(
        depth, np.array([[-np.inf, 0.5, 9.0, np.inf, np.nan]], np.float32)
    )


def test_smooth_removes_a_speck_and_keeps_a_step():
    depth = np.full((8, 12), 1.0, np.float32)
    depth[:, 6:] = 2.0
    speck = depth.copy()
    speck[3, 2] = 9.0
    np.testing.assert_array_equal(smooth(speck), depth)
