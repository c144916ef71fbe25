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

"""Relative values beside true distances, by each anchor; on rendered rooms."""

import math

import numpy as np
import pytest
from room_depth import CAMERA, room_depth

from depthrefl_ros.geometry.affine import Affine, fit_affine
from depthrefl_ros.geometry.anchors import RangeReading
from depthrefl_ros.geometry.inverse_anchors import (
    PairWindow,
    floor_pairs,
    image_pairs,
    points_pairs,
    range_pair,
    relative_span,
)
from depthrefl_ros.geometry.pose import BASE_FROM_OPTICAL, Pose
from depthrefl_ros.geometry.rays import pixel_rays

TRUE = Affine(0.01, -0.08)
HEIGHT_M = 0.6
MOUNT = Pose.from_mount(HEIGHT_M, math.radians(12.0))
UP = MOUNT.up_in_source
BOX = ((1.4, -0.3, 0.0), (1.8, 0.3, 0.5))
DEPTH = room_depth(MOUNT, [BOX])
AHEAD = Pose(BASE_FROM_OPTICAL.T, np.zeros(3))


def relative_of(depth_m, affine=TRUE) -> np.ndarray:
    return ((1.0 / depth_m - affine.shift) / affine.scale).astype(np.float32)


RELATIVE = relative_of(DEPTH)
SPAN = relative_span(RELATIVE)


def assert_true(pairs, tolerance=1e-3):
    """Every pair lies on the line of the true scale and shift."""
    assert TRUE.depth_m(pairs.relative) == pytest.approx(pairs.true_m, rel=tolerance)


def test_the_span_leaves_extremes_and_what_is_unknown_out():
    plane = np.linspace(0.0, 1.0, 10_000, dtype=np.float32).reshape(100, 100)
    plane[::7] = np.nan
    plane[4, 4] = 1e6
    assert relative_span(plane) == pytest.approx(0.92, abs=0.02)
    assert relative_span(np.full((100, 100), np.nan, np.float32)) == 0.0


def test_points_away_from_steps_are_paired():
    rng = np.random.default_rng(3)
    rows, columns = rng.integers(0, CAMERA.height, 300), rng.integers(0, CAMERA.width, 300)
    points = pixel_rays(CAMERA, columns, rows) * DEPTH[rows, columns][:, None]
    far = np.array([[math.nan, 0, 1], [0, 0, -2], [9, 0, 1], [1e30, 0, 1]])
    pairs = points_pairs(RELATIVE, CAMERA, np.concatenate([points, far]), SPAN)
    assert 150 < len(pairs.relative) < 300
    assert_true(pairs)
    assert not len(points_pairs(RELATIVE, CAMERA, np.zeros((0, 3)), SPAN).relative)


def test_valid_pixels_of_a_depth_camera_are_paired():
    reference = DEPTH.copy()
    reference[:40] = np.nan
    pairs = image_pairs(RELATIVE, reference, SPAN)
    assert len(pairs.relative) > 2000
    assert_true(pairs)
    assert not len(image_pairs(RELATIVE, np.full_like(DEPTH, np.nan), SPAN).relative)


@pytest.mark.parametrize("affine", [TRUE, Affine(300.0, 0.02)])
def test_the_floor_is_found_without_metres(affine):
    pairs = floor_pairs(relative_of(DEPTH, affine), CAMERA, UP, HEIGHT_M)
    relative = relative_of(DEPTH, affine)
    fit = fit_affine(pairs, relative_span(relative), 0.25)
    assert fit.affine == pytest.approx(affine, rel=0.01)
    assert len(pairs.relative) > 200


def test_the_floor_and_not_a_table_is_taken():
    table = ((0.8, -0.1, 0.0), (2.0, 0.9, 0.25))
    relative = relative_of(room_depth(MOUNT, [table]))
    pairs = floor_pairs(relative, CAMERA, UP, HEIGHT_M)
    fit = fit_affine(pairs, relative_span(relative), 0.25)
    assert fit.affine == pytest.approx(TRUE, rel=0.05)


def test_without_a_floor_there_are_no_pairs():
    wall = relative_of(np.full_like(DEPTH, 2.0))
    assert not len(floor_pairs(wall, CAMERA, UP, HEIGHT_M).relative)
    nothing = np.full_like(DEPTH, np.nan)
    assert not len(floor_pairs(nothing, CAMERA, UP, HEIGHT_M).relative)
    with pytest.raises(ValueError, match="camera height is 0.0 m"):
        floor_pairs(RELATIVE, CAMERA, UP, 0.0)


def test_a_range_is_of_the_nearest_surface_in_its_cone():
    nearest = float(np.min(DEPTH[40:56, 56:72]))
    reading = RangeReading(nearest, 0.1, 5.0, 0.1)
    pair = range_pair(RELATIVE, CAMERA, reading, AHEAD)
    assert len(pair.relative) == 1
    assert_true(pair, 0.03)
    for other in (math.inf, math.nan, 9.0):
        assert not len(range_pair(RELATIVE, CAMERA, RangeReading(other, 0.1, 5.0, 0.1), AHEAD)[0])
    aside = Pose(BASE_FROM_OPTICAL.T, np.array([5.0, 0.0, 0.0]))
    assert not len(range_pair(RELATIVE, CAMERA, reading, aside).relative)
    assert not len(range_pair(np.full_like(RELATIVE, np.nan), CAMERA, reading, AHEAD).relative)


def test_one_wrong_pixel_is_no_nearest_surface():
    relative = np.full_like(RELATIVE, 50.0)
    relative[48, 64] = 200.0
    pair = range_pair(relative, CAMERA, RangeReading(2.0, 0.1, 5.0, 0.3), AHEAD)
    assert pair.relative == pytest.approx([50.0])


def test_readings_of_a_drive_tell_both_numbers_and_readings_of_a_stop_do_not():
    window, standing = PairWindow(), PairWindow()
    for count in range(40):
        level = Pose.from_mount(HEIGHT_M, 0.0)
        mount = Pose(level.rotation, np.array([0.13 * count, 0.0, HEIGHT_M]))
        depth = room_depth(mount)
        reading = RangeReading(float(depth[48, 64]), 0.1, 8.0, 0.02)
        window.add(range_pair(relative_of(depth), CAMERA, reading, AHEAD), 0.1 * count)
        standing.add(range_pair(RELATIVE, CAMERA, RangeReading(2.0, 0.1, 8.0, 0.02), AHEAD), 1.0)
    fit = fit_affine(window.pairs(4.0), SPAN, 0.25)
    assert fit.affine.depth_m(np.float32([60.0])) == pytest.approx(
        TRUE.depth_m(np.float32([60.0])), rel=0.05
    )
    with pytest.raises(ValueError, match="to tell the scale from the shift"):
        fit_affine(standing.pairs(4.0), SPAN, 0.25)
    assert len(window.pairs(13.0).relative) < 40
    window.add(range_pair(RELATIVE, CAMERA, reading, AHEAD), 0.0)  # the clock was set back
    assert len(window.pairs(0.0).relative) <= 1
