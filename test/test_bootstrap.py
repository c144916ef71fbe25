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

"""Blocks of neighbours, and intervals against known standard errors and SciPy."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from depthrefl_ros.training.bootstrap import (
    block_bootstrap,
    blocks_of,
    paired_block_bootstrap,
    slope_block_bootstrap,
)


def named(names: list[str], **options: int) -> list[list[str]]:
    return [[names[index] for index in block] for block in blocks_of(names, **options)]


def test_numbers_close_together_are_a_block_in_any_order():
    names = ["0066", "0022", "0018", "0019", "0068", "0021", "0500"]
    assert named(names) == [["0018", "0019", "0021", "0022"], ["0066", "0068"], ["0500"]]


def test_the_gap_and_the_length_of_a_block_are_limited():
    names = [f"{number:04d}" for number in range(20)]
    assert [len(block) for block in named(names)] == [8, 8, 4]
    assert [len(block) for block in named(["0009", "0000", "0019"])] == [2, 1]
    assert named(["3", "5", "6"], largest_gap=1) == [["3"], ["5", "6"]]


def test_names_of_one_scene_are_a_block_however_far_apart():
    names = ["kitchen_1", "kitchen_900", "office_1", "a/drive_2/7.png", "a/drive_2/99.png", "hall"]
    assert sorted(map(sorted, named(names))) == [
        ["a/drive_2/7.png", "a/drive_2/99.png"], ["hall"], ["kitchen_1", "kitchen_900"],
        ["office_1"],
    ]  # fmt: skip


def test_a_beginning_that_all_names_share_tells_nothing():
    names = [f"frame_{number:04d}" for number in range(12)] + ["frame_0100"]
    assert [len(block) for block in named(names)] == [8, 4, 1]
    assert len(named([*names, "other_1"])) == 2


def test_single_images_as_blocks_give_the_usual_standard_error():
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    found = block_bootstrap(values, [np.array([index]) for index in range(400)])
    assert found.mean == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(values.std(ddof=1) / 20, rel=0.05)
    expected = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(1))
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.03)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.03)


def test_images_that_err_together_widen_the_interval():
    scenes = np.random.default_rng(0).normal(0.0, 1.0, 50)
    values = scenes.repeat(4)
    singles = block_bootstrap(values, list(np.arange(200)[:, None]))
    together = block_bootstrap(values, list(np.arange(200).reshape(50, 4)))
    assert together.standard_error == pytest.approx(2.0 * singles.standard_error, rel=0.06)


def test_the_mean_is_over_images_not_over_blocks():
    blocks = [np.array([0, 1, 2]), np.array([3])]
    assert block_bootstrap(np.array([1.0, 1.0, 1.0, 5.0]), blocks).mean == 2.0
    assert block_bootstrap(np.array([1.0, np.nan, 3.0, 5.0]), blocks).mean == 3.0


def test_what_both_find_hard_cancels_in_the_difference():
    generator = np.random.default_rng(0)
    hardness = generator.normal(0.2, 0.1, 80)
    a, b = hardness, hardness + 0.01 + generator.normal(0, 0.01, 80)
    blocks = list(np.arange(80).reshape(20, 4))
    found = paired_block_bootstrap(a, b, blocks)
    assert found.mean == pytest.approx((a - b).mean()) and found.high < 0.0
    assert found.standard_error < 0.2 * block_bootstrap(a, blocks).standard_error


def test_one_block_has_no_interval():
    found = block_bootstrap(np.array([1.0, 2.0]), [np.array([0, 1])])
    assert found.mean == 1.5 and math.isnan(found.standard_error) and math.isnan(found.low)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="2 images and there are 3 values"):
        block_bootstrap(np.ones(3), [np.array([0, 1])])
    with pytest.raises(ValueError, match="2 values against 3"):
        paired_block_bootstrap(np.ones(2), np.ones(3), [np.arange(3)])


def test_a_slope_over_blocks():
    generator = np.random.default_rng(3)
    x = generator.normal(size=400)
    y = 0.7 * x + 0.5 * generator.normal(size=400)
    found = slope_block_bootstrap(x, y, [np.array([index]) for index in range(400)])
    assert found.mean == pytest.approx(np.polyfit(x, y, 1)[0])
    # The standard error of a slope by least squares: noise / (spread of x * sqrt(n)).
    assert found.standard_error == pytest.approx(0.5 / (x.std() * math.sqrt(400)), rel=0.15)
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(3.92 * found.standard_error, rel=0.1)
    # Copies of an image within its block tell nothing new.
    pairs = [np.array([index, index + 400]) for index in range(400)]
    doubled = slope_block_bootstrap(np.tile(x, 2), np.tile(y, 2), pairs)
    assert doubled == pytest.approx(found)


def test_a_slope_needs_two_blocks_and_pairs():
    one = slope_block_bootstrap(np.array([0.0, 1.0]), np.array([0.0, 2.0]), [np.array([0, 1])])
    assert one.mean == pytest.approx(2.0) and math.isnan(one.low)
    with pytest.raises(ValueError, match="2 values against 1"):
        slope_block_bootstrap(np.zeros(2), np.zeros(1), [np.array([0, 1])])
