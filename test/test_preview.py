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

"""Pictures of depth for people."""

import numpy as np
import pytest

from depthrefl_ros.geometry.preview import (
    BEYOND_BGR,
    LEGEND_WIDTH,
    NEARER_BGR,
    UNKNOWN_BGR,
    colour_depth,
    depth_preview,
)


def test_near_is_red_and_far_is_blue():
    picture = colour_depth(np.array([[0.6, 9.0]], np.float32), 0.5, 10.0)
    near, far = picture[0].astype(int)
    assert near[2] > near[0] and far[0] > far[2]


def test_what_is_not_a_depth_has_colours_of_its_own():
    picture = colour_depth(np.array([[np.nan, np.inf, -np.inf]], np.float32), 0.5, 10.0)
    assert [tuple(int(v) for v in p) for p in picture[0]] == [UNKNOWN_BGR, BEYOND_BGR, NEARER_BGR]


def test_preview_has_the_legend_beside_it():
    depth = np.full((120, 160), 2.0, np.float32)
    picture = depth_preview(depth, 0.0, 10.0)
    assert picture.shape == (120, 160 + LEGEND_WIDTH, 3) and picture.dtype == np.uint8
    # The legend's colour at 2 m is the picture's.
    share = np.log(2.0 / 0.1) / np.log(10.0 / 0.1)
    row = round((1 - share) * 119)
    legend = picture[row, 160 + 10].astype(int)
    assert np.abs(legend - picture[60, 80].astype(int)).max() < 12


def test_a_bad_range_is_refused():
    with pytest.raises(ValueError, match="near_m is 5"):
        colour_depth(np.ones((2, 2), np.float32), 5.0, 2.0)


def test_a_tiny_range_still_has_a_preview():
    picture = depth_preview(np.full((40, 40), 0.05, np.float32), 0.0, 0.08)
    assert picture.shape == (40, 40 + LEGEND_WIDTH, 3)


def test_another_range_has_another_legend():
    depth = np.full((120, 160), 2.0, np.float32)
    near, far, again = (depth_preview(depth, 0.3, far_m) for far_m in (5.0, 10.0, 5.0))
    assert (near[:, 160:] != far[:, 160:]).any()
    np.testing.assert_array_equal(near, again)
