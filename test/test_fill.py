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

"""A depth camera's holes are filled: how wrong the fill is, and how it meets the rim."""

import math

import cv2
import numpy as np
import pytest
from room_depth import room_depth

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.correction import CorrectionSettings, DepthCorrection
from depthrefl_ros.geometry.fill import fill_holes
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.surround import Surround

CAMERA = Camera.from_horizontal_fov(256, 192, 1.2)
MOUNT = Pose.from_mount(0.9, math.radians(14.0))
BOXES = [((2.2, -0.9, 0.0), (2.7, -0.1, 0.8)), ((3.2, 0.4, 0.0), (3.7, 1.1, 1.5))]
TRUTH = room_depth(MOUNT, BOXES, CAMERA)
ROWS, COLUMNS = np.mgrid[: CAMERA.height, : CAMERA.width]
# What a depth camera does not see: a pane in the wall on the left, the sheen of a lamp on the
# floor, what is farther than it reaches, and the whole of a black box.
HOLES = {
    "glass": (COLUMNS > 4) & (COLUMNS < 56) & (ROWS > 20) & (ROWS < 110),
    "glare": ((COLUMNS - 170) / 34.0) ** 2 + ((ROWS - 165) / 16.0) ** 2 < 1.0,
    "range": TRUTH > 4.0,
    "black": np.abs(room_depth(MOUNT, BOXES[:1], CAMERA) - room_depth(MOUNT, [], CAMERA)) > 1e-3,
}


def network(seed: int, bias=0.1, scale=0.75) -> np.ndarray:
    """Return the truth as a network has it: soft edges, an error that changes over the image."""
    rng = np.random.default_rng(seed)
    field = cv2.resize(rng.normal(0, bias, (5, 6)), (256, 192), interpolation=cv2.INTER_CUBIC)
    soft = 1.0 / cv2.GaussianBlur(1.0 / TRUTH, (0, 0), 1.2)
    return (scale * soft * np.exp(field)).astype(np.float32)


def measured(hole: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.002, TRUTH.shape) * TRUTH**2
    return np.where(hole, np.nan, TRUTH + noise).astype(np.float32)


def error_in(depth_m: np.ndarray, hole: np.ndarray) -> float:
    return float(np.mean(np.abs(depth_m / TRUTH - 1.0)[hole]))


def step_at_rim(depth_m: np.ndarray, hole: np.ndarray) -> float:
    """Mean step in ln z from outside to inside that the truth does not have, 3 pixels apart."""
    wrong = np.log(depth_m / TRUTH)
    steps = []
    for axis in (0, 1):
        before, after = (np.roll(wrong, shift, axis) for shift in (-1, 2))
        crosses = np.roll(hole, -1, axis) != np.roll(hole, 2, axis)
        level = np.abs(np.log(np.roll(TRUTH, -1, axis) / np.roll(TRUTH, 2, axis))) < 0.1
        level[:4], level[-4:], level[:, :4], level[:, -4:] = False, False, False, False
        steps.append(np.abs(before - after)[crosses & level])
    return float(np.mean(np.concatenate(steps)))


def run(hole, seed, fill, frames=2):
    """Depth of the last of some frames, as the correction makes it."""
    correction = DepthCorrection()
    settings = CorrectionSettings(temporal_smoothing_s=0.0, fill=fill)
    picture = np.zeros((*TRUTH.shape, 3), np.uint8)
    for count in range(frames):
        around = Surround(
            10.0 + 0.1 * count,
            MOUNT.up_in_source,
            base_from_camera=MOUNT,
            pose_source="TF",
            reference_m=measured(hole, count),
        )
        found = correction.apply(network(seed), picture, CAMERA, around, settings)
    return found


# AbsRel in the hole, and the step at its rim.
LIMITS = {
    "glass": (0.03, 0.015),
    "glare": (0.03, 0.015),
    "range": (0.07, 0.02),
    "black": (0.07, 0.02),
}


@pytest.mark.parametrize("kind", HOLES)
def test_holes_are_filled_without_a_seam(kind):
    hole = HOLES[kind]
    assert 0.01 < hole.mean() < 0.7
    figures = []
    for seed in (1, 2, 3):
        filled, scaled = (run(hole, seed, fill) for fill in ("holes", "all"))
        assert filled.is_measured.any() and scaled.is_measured is None
        assert np.isfinite(filled.depth_m).all()
        assert np.abs(filled.depth_m / TRUTH - 1.0)[~hole].mean() < 0.01  # kept
        pasted = np.where(hole, scaled.depth_m, TRUTH)
        figures.append(
            [error_in(depth, hole) for depth in (filled.depth_m, scaled.depth_m)]
            + [step_at_rim(depth, hole) for depth in (filled.depth_m, pasted)]
        )
        assert filled.obstacle_problem == "" == scaled.obstacle_problem
    error, error_scaled, step, step_pasted = np.mean(figures, axis=0)
    assert error < LIMITS[kind][0] and error < error_scaled
    assert step < LIMITS[kind][1] and step < 0.5 * step_pasted


def test_what_is_measured_is_kept_to_the_bit_and_the_scale_comes_from_it():
    hole = HOLES["glare"]
    found = run(hole, 1, "holes")
    np.testing.assert_array_equal(found.depth_m[~hole], measured(hole, 1)[~hole])
    assert found.factor == pytest.approx(1 / 0.75, rel=0.1)
    assert found.scale.corrected_by == "reference_depth"


def test_without_holes_nothing_is_the_networks():
    reference = TRUTH.copy()
    assert fill_holes(network(1), reference) is reference


def test_where_nothing_is_measured_all_is_the_networks():
    nothing = np.full_like(TRUTH, np.nan)
    np.testing.assert_array_equal(fill_holes(network(1), nothing), network(1))


def test_unseen_pixels_stay_unknown_where_nothing_is_measured():
    depth, reference = network(1), measured(HOLES["glass"], 1)
    depth[:, :20], depth[:, -20:] = np.nan, np.nan
    filled = fill_holes(depth, reference)
    assert np.isnan(filled[21:110, 5:20]).all()
    np.testing.assert_array_equal(filled[:, -20:], reference[:, -20:])


def test_measured_depth_that_is_elsewhere_does_not_bend_the_fill():
    """Through glass a depth camera sees what is behind it: that is no error of the network's."""
    hole = HOLES["glare"]
    reference = measured(hole, 1)
    reference[140:190, 120:128] *= 2.5  # beside the hole
    straight = fill_holes(TRUTH, measured(hole, 1))
    bent = fill_holes(TRUTH, reference)
    assert np.abs(np.log(bent / straight))[hole].max() < 0.02


def test_the_size_may_be_odd_and_small():
    for size in ((3, 5), (1, 1), (97, 131)):
        depth, reference = np.full(size, 1.0, np.float32), np.full(size, 1.2, np.float32)
        reference[size[0] // 2 :, size[1] // 2 :] = np.nan
        filled = fill_holes(depth, reference)
        if size[0] > 1:
            assert filled == pytest.approx(1.2, abs=1e-3)
