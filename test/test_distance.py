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

"""Ratios of predicted to true depth, near to far."""

import math

import numpy as np
import pytest

from depthrefl_ros.training.distance import (
    BAND_NAMES,
    DistanceBands,
    scale_figures,
    scale_summary,
)


def test_bands_are_named_by_their_edges():
    assert BAND_NAMES == ("0.3-0.7", "0.7-1", "1-2", "2-4", "4-7", "7-12")


def test_bands_are_what_numpy_says_of_their_pixels():
    generator = np.random.default_rng(0)
    bands, truths, depths = DistanceBands(), [], []
    for _ in range(3):
        truth = generator.uniform(0.1, 14.0, 5001).astype(np.float32)
        depth = (truth * np.exp(generator.normal(0.1, 0.4, truth.shape))).astype(np.float32)
        bands.add(depth, np.minimum(depth, 10.0), truth)
        truths.append(truth)
        depths.append(depth)
    truth, depth = np.concatenate(truths), np.concatenate(depths)
    found = bands.figures()
    for name in BAND_NAMES:
        near, far = map(float, name.split("-"))
        inside = (truth >= near) & (truth < far)
        clamped = np.minimum(depth[inside], 10.0)
        assert found[name]["pixels"] == inside.sum()
        expected = np.median(depth[inside] / truth[inside])
        assert found[name]["ratio"] == pytest.approx(expected, rel=2e-3)
        expected = np.mean(np.abs(clamped - truth[inside]) / truth[inside])
        assert found[name]["abs_rel"] == pytest.approx(expected, rel=1e-5)


def test_a_band_without_pixels_has_no_figures():
    bands = DistanceBands()
    bands.add(np.full(4, 3.0), np.full(4, 3.0), np.full(4, 2.0))
    found = bands.figures()
    assert found["2-4"] == {"ratio": pytest.approx(1.5, rel=1e-3), "abs_rel": 0.5, "pixels": 4}
    assert found["1-2"]["pixels"] == 0 and math.isnan(found["1-2"]["ratio"])
    assert math.isnan(found["1-2"]["abs_rel"])


def test_ratios_beyond_all_measure_are_counted_at_the_end():
    bands = DistanceBands()
    bands.add(np.array([0.0, 1e9, 1e9]), np.ones(3), np.ones(3))
    assert bands.figures()["1-2"]["ratio"] == pytest.approx(1000.0, rel=1e-3)


def test_the_scale_of_an_image_is_the_ratio_of_its_medians():
    found = scale_figures(np.array([1.0, 2.0, 9.0]), np.array([1.0, 4.0, 5.0]))
    assert found == {"scale_ratio": 0.5, "median_depth_m": 2.0, "median_truth_m": 4.0}


@pytest.mark.parametrize("power", [1.0, 0.4, 0.0])
def test_the_slope_is_the_power_by_which_distances_are_squeezed(power):
    truth = np.geomspace(0.3, 12.0, 9)
    depth = 2.3 * (truth / 2.3) ** power
    found = scale_summary(depth / truth, depth, truth)
    assert found["slope_log_median"] == pytest.approx(power, abs=1e-9)
    assert found["scale_ratio"] == pytest.approx(np.median(depth / truth))
    assert found["scale_ratio_p10"] == pytest.approx(np.quantile(depth / truth, 0.1))
    assert found["scale_ratio_p90"] == pytest.approx(np.quantile(depth / truth, 0.9))


def test_images_at_one_distance_have_no_slope():
    ones = np.ones(3)
    assert math.isnan(scale_summary(ones, ones, ones)["slope_log_median"])
