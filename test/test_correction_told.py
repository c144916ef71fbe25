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

"""A network that was told the mount agrees with it: what it says untold is held to the floor."""

from dataclasses import replace

import numpy as np
import pytest
from correction_bench import (
    CAMERA,
    Bench,
    mounted,
    room,
    settings,
    unmounted,
    wall,
)

from depthrefl_ros.geometry.correction import (
    DepthCorrection,
)
from depthrefl_ros.geometry.floor_check import FloorCheckSettings
from depthrefl_ros.geometry.rays import pixel_rays


class ToldBench(Bench):
    """A network that sees the floor where it was told, and where it is if it was not told."""

    def __init__(self, believed_m: float, true_m: float = 0.5):
        super().__init__()
        self.runs = 0
        self.told, self.untold = room(believed_m), room(true_m)
        self.believed_m = believed_m

    def frame(self, how, untold_scale=1.0, **more):
        """Correct a frame as the pipeline does."""
        surround = mounted(self.believed_m, 10.0, **more)
        next_s = replace(surround, time_s=self.time_s + 0.1)
        is_needed = self.correction.needs_untold(next_s, how)
        self.runs += is_needed
        untold_m = self.untold * np.float32(untold_scale) if is_needed else None
        return self.apply(self.told, surround, how, is_told=True, untold_m=untold_m)


@pytest.mark.parametrize("believed_m, words", [(0.37, "0.13 m below"), (0.7, "0.20 m above")])
def test_a_wrong_mount_is_found_though_the_network_was_told_it(believed_m, words):
    bench = ToldBench(believed_m)
    for _ in range(50):
        found = bench.frame(settings())
    assert words in found.obstacle_problem
    assert found.floor_offset_m == pytest.approx(believed_m - 0.5, abs=0.01)


def test_a_right_mount_that_the_network_was_told_stops_nothing():
    bench = ToldBench(0.5)
    for _ in range(30):
        found = bench.frame(settings())
    assert found.obstacle_problem == ""
    assert found.floor_offset_m == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("is_floor_in_view, first", [(True, 5), (False, 12)])
def test_the_network_is_asked_untold_until_it_is_known_and_then_once_a_second(
    is_floor_in_view, first
):
    bench = ToldBench(0.5)
    if not is_floor_in_view:
        bench.untold = bench.told = wall()
    for _ in range(first):
        bench.frame(settings())
    assert bench.runs == first
    for _ in range(50):  # 5 s
        bench.frame(settings())
    assert bench.runs - first in (9, 10)
    for _ in range(150):
        bench.frame(settings())
    before = bench.runs
    for _ in range(50):
        bench.frame(settings())
    assert bench.runs - before in (4, 5)


def test_between_two_looks_a_verdict_stands():
    bench = ToldBench(0.37)
    verdicts = [bool(bench.frame(settings()).obstacle_problem) for _ in range(60)]
    assert verdicts == [False] * 4 + [True] * 56 and bench.runs < 18
    bench.believed_m = 0.5  # the verdict was of another height
    verdicts = [bool(bench.frame(settings()).obstacle_problem) for _ in range(60)]
    assert verdicts == [False] * 60


def test_the_untold_depth_is_brought_to_scale_by_the_anchor_that_corrects_the_told():
    how = settings("reference_points", max_error=2.0)
    rng = np.random.default_rng(3)
    rows, columns = rng.integers(0, CAMERA.height, 200), rng.integers(0, CAMERA.width, 200)
    bench = ToldBench(0.37)
    points = pixel_rays(CAMERA, columns, rows) * bench.untold[rows, columns][:, None]
    for _ in range(20):
        found = bench.frame(how, untold_scale=1.6, points=points)
    assert found.floor_offset_m == pytest.approx(-0.13, abs=0.01)
    assert "0.13 m below" in found.obstacle_problem
    right = ToldBench(0.5)
    for _ in range(20):
        found = right.frame(how, untold_scale=1.6, points=points)
    assert found.obstacle_problem == "" and found.floor_offset_m == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("limit_m", [0.0, 0.05])
def test_the_network_is_not_asked_where_the_floor_is_not_compared(limit_m):
    how = replace(settings(), floor=FloorCheckSettings(max_error_m=limit_m))
    asked = DepthCorrection().needs_untold(mounted(0.5), how)
    assert asked is (limit_m > 0.0)
    assert not DepthCorrection().needs_untold(unmounted(), how)
