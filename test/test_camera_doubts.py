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

"""Cameras that can hardly be true, and those that are unusual only."""

import math
import re

import numpy as np
import pytest
from test_camera import camera

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.camera_doubts import doubts_of


@pytest.mark.parametrize(
    "intrinsics, named",
    [
        ((3372.5, 3372.0, 2862.0, 1569.1), ["principal point 2862, 1569 outside the 640x480",
                                             "3372.5 px, a horizontal field of view of 11"]),
        ((500.0, 500.0, -1.0, 240.0), ["principal point -1, 240"]),
        ((500.0, 500.0, 320.0, 481.0), ["principal point 320, 481"]),
        ((0.8, 1.06, 0.5, 0.5), ["0.8 px, a horizontal field of view of 180"]),
        ((772.0, 1.0, 319.0, 239.0), ["1 px, a vertical field", "focal lengths 772 and 1 px"]),
        ((3000.0, 3000.0, 320.0, 240.0), ["3000 px, a horizontal field of view of 12 degrees"]),
        ((600.0, 350.0, 320.0, 240.0), ["focal lengths 600 and 350 px"]),
    ],
)  # fmt: skip
def test_what_can_hardly_be_true_is_told_with_its_values(intrinsics, named):
    doubts = doubts_of(Camera.pinhole(640, 480, *intrinsics))
    assert len(doubts) == len(named)
    for doubt, words in zip(doubts, named, strict=True):
        assert words in doubt and doubt.startswith("K has")


@pytest.mark.parametrize(
    "found",
    [
        Camera.from_horizontal_fov(640, 480, math.radians(21)),
        Camera.from_horizontal_fov(640, 480, math.radians(170)),
        Camera.from_horizontal_fov(1280, 400, math.radians(40)),
        Camera.pinhole(640, 480, 600.0, 450.0, 10.0, 470.0),
        camera(K=np.array([200.0, 0, 320, 0, 200, 240, 0, 0, 1]), D=np.array([0.1, 0, 0, 0]),
               distortion_model="equidistant"),
    ],
)  # fmt: skip
def test_usual_cameras_are_plausible(found):
    assert doubts_of(found) == []


@pytest.mark.parametrize(
    "K, named",
    [
        ([[554, 0, 0], [0, 554, 0], [320, 240, 1]], "0, 320, 240 below its diagonal.*transposed"),
        ([[554, 0, 320], [0, 554, 240], [0, 1e-3, 1]], "0, 0, 0.001 below its diagonal"),
        ([[554, 50, 320], [0, 554, 240], [0, 0, 1]], "skew of 50 px"),
        ([[554, 0, 0], [0, 554, 0], [0, 0, 1]], "principal point 0, 0 in the corner of the 640x48"),
    ],
)
def test_a_matrix_that_is_transposed_skewed_or_not_filled_in_is_told(K, named):
    (doubt,) = doubts_of(Camera(640, 480, np.array(K, float)))
    assert re.search(f"^K has .*{named}", doubt)


def test_a_transposed_matrix_is_told_at_another_resolution_too():
    K = np.array([[554.0, 0, 320], [0, 554, 240], [0, 0, 1]]).T
    doubts = doubts_of(Camera(640, 480, K).for_image(320, 240))
    assert "it may be transposed" in doubts[0]


def test_what_products_of_matrices_leave_below_the_diagonal_is_nothing():
    K = np.array([[554.0, 0, 320], [1e-13, 554, 240], [0, -2e-16, 1]])
    assert doubts_of(Camera(640, 480, K)) == []


def test_a_little_skew_is_nothing_to_tell_of():
    K = np.array([[554.0, 1.5, 320], [0, 554, 240], [0, 0, 1]])
    assert doubts_of(Camera(640, 480, K)) == []


@pytest.mark.parametrize("D", [np.zeros(4), np.zeros(0)])
def test_a_fisheye_of_zeros_is_told(D):
    found = camera(D=D, distortion_model="fisheye")
    (doubt,) = doubts_of(found.for_image(320, 240))[:1]
    assert "equidistant (fisheye) and D is all zero" in doubt
    assert doubts_of(found, is_rectified=True) == doubts_of(found.rectified()) == []


def test_a_projection_is_looked_at_too():
    P = np.array([500.0, 0, 3000, 0, 0, 510, 240, 0, 0, 0, 1, 0])
    (doubt,) = doubts_of(camera(P=P))
    assert doubt.startswith("P has the principal point 3000, 240")
