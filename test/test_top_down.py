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

"""The view from above: where things are drawn, and in which colour."""

import numpy as np

from depthrefl_ros.tools.top_down import (
    CLEARED,
    PIXELS_PER_M,
    RIGHT,
    TRUE_OBSTACLE,
    UNJUDGED,
    WRONG,
    NavigationView,
    draw_top_down,
)

NOTHING = np.zeros((0, 3))
ORIGIN = np.zeros(2)


def at(panel, x, y):
    """Return the colour at x metres ahead, y metres to the left."""
    return tuple(panel[round((5.0 - x) * PIXELS_PER_M), round((2.5 - y) * PIXELS_PER_M)].tolist())


def cell(x, y):
    """Return a point in the middle of a cell, in the height band."""
    return (x + 0.025, y + 0.025, 0.5)


def test_marks_are_right_where_truth_is_near_and_wrong_elsewhere():
    marking = np.array([cell(2.0, 1.0), cell(3.0, -1.5)])
    truth = np.array([cell(2.1, 1.0), cell(4.0, 0.5)])
    view = NavigationView(marking, NOTHING, ORIGIN, truth)
    panel = draw_top_down(view)
    assert at(panel, 2.025, 1.025) == RIGHT
    assert at(panel, 3.025, -1.475) == WRONG  # ahead and to the right
    assert at(panel, 4.025, 0.525) == TRUE_OBSTACLE
    assert view.counts() == (2, 1)
    unjudged = NavigationView(marking, NOTHING, ORIGIN)
    assert at(draw_top_down(unjudged), 3.025, -1.475) == UNJUDGED
    assert unjudged.counts() == (2, 0)


def test_floor_is_cleared_up_to_the_ends_of_the_rays_and_no_farther():
    ends = np.array([(3.0, 0.3, 0.0), (1e9, -1e9, 0.0)])
    panel = draw_top_down(NavigationView(NOTHING, ends, ORIGIN))
    assert at(panel, 1.5, 0.15) == CLEARED
    assert at(panel, 2.9, 0.29) == CLEARED
    assert at(panel, 3.3, 0.33) != CLEARED


def test_marks_beyond_the_panel_do_no_harm():
    marking = np.array([cell(4.9, 2.45), cell(2.0, 4.0), cell(0.0, -2.5), (np.nan, 0.0, 0.5)])
    assert draw_top_down(NavigationView(marking, NOTHING, ORIGIN)).shape[2] == 3
