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

"""Depth errors against values worked out by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from depthrefl_ros.training.metrics import depth_metrics, mean_metrics


def test_figures_of_a_hand_made_pair():
    truth = np.array([[2.0, 4.0]], np.float32)
    prediction = np.array([[2.2, 6.0]], np.float32)
    figures = depth_metrics(prediction, truth)
    assert figures["abs_rel"] == pytest.approx((0.1 + 0.5) / 2, rel=1e-6)
    assert figures["sq_rel"] == pytest.approx((0.04 / 2 + 4.0 / 4) / 2, rel=1e-6)
    assert figures["signed_rel"] == pytest.approx(0.3, rel=1e-6)
    assert depth_metrics(truth / 2, truth)["signed_rel"] == -0.5
    assert figures["delta1"] == 0.5
    assert figures["delta2"] == figures["delta3"] == 1.0  # 1.5 < 1.5625
    assert figures["rmse"] == pytest.approx(math.sqrt((0.04 + 4.0) / 2), rel=1e-6)
    logs = [math.log(1.1), math.log(1.5)]
    assert figures["rmse_log"] == pytest.approx(math.sqrt((logs[0] ** 2 + logs[1] ** 2) / 2))
    assert figures["log10"] == pytest.approx(sum(logs) / 2 / math.log(10), rel=1e-6)
    # Two values deviate from their mean by half their difference.
    assert figures["silog"] == pytest.approx(100 * (logs[1] - logs[0]) / 2, rel=1e-6)
    assert figures["pixels"] == 2
    assert figures["coverage"] == 1.0


def test_errors_agree_with_scikit_learn():
    generator = np.random.default_rng(0)
    truth = generator.uniform(0.7, 9.9, (40, 50)).astype(np.float32)
    prediction = (truth * np.exp(generator.normal(0.05, 0.3, truth.shape))).astype(np.float32)
    figures = depth_metrics(prediction, truth)
    t, d = truth.ravel().astype(np.float64), prediction.ravel().astype(np.float64)
    expected = {
        "abs_rel": sklearn_metrics.mean_absolute_percentage_error(t, d),
        "sq_rel": sklearn_metrics.mean_squared_error(t, d, sample_weight=1 / t) * np.mean(1 / t),
        "rmse": sklearn_metrics.root_mean_squared_error(t, d),
        "rmse_log": sklearn_metrics.root_mean_squared_error(np.log(t), np.log(d)),
        "log10": sklearn_metrics.mean_absolute_error(np.log10(t), np.log10(d)),
        "silog": 100 * np.sqrt(
            sklearn_metrics.mean_squared_error(np.log(t), np.log(d)) - np.mean(np.log(d / t)) ** 2
        ),
    }  # fmt: skip
    for power in (1, 2, 3):
        within = np.abs(np.log(d / t)) < power * np.log(1.25)
        expected[f"delta{power}"] = sklearn_metrics.accuracy_score(np.ones(len(t), bool), within)
    assert {name: figures[name] for name in expected} == pytest.approx(expected, rel=1e-6)


def test_scale_error_is_no_silog_but_all_abs_rel():
    truth = np.linspace(0.5, 9.0, 64, dtype=np.float32).reshape(8, 8)
    figures = depth_metrics(truth * 1.3, truth)
    assert figures["silog"] == pytest.approx(0.0, abs=1e-4)
    assert figures["abs_rel"] == pytest.approx(0.3, rel=1e-5)
    assert figures["delta1"] == 0.0


@pytest.mark.parametrize("power", [1, 2, 3])
def test_delta_counts_errors_to_both_sides_alike(power):
    truth = np.full((1, 4), 4.0, np.float32)
    inside, outside = 1.24**power, 1.26**power
    prediction = 4.0 * np.array([[inside, 1 / inside, outside, 1 / outside]], np.float32)
    assert depth_metrics(prediction, truth)[f"delta{power}"] == 0.5


def test_unknown_truth_cap_and_unbelieved_pixels_are_left_out():
    truth = np.array([[2.0, 0.0, np.nan, 10.0, 3.0, 3.0, 3.0, 3.0]], np.float32)
    prediction = np.array([[2.0, 5.0, 5.0, 5.0, np.nan, np.inf, -np.inf, 0.0]], np.float32)
    figures = depth_metrics(prediction, truth)
    assert figures["pixels"] == 1
    assert figures["coverage"] == pytest.approx(1 / 5)
    assert figures["abs_rel"] == 0.0


def test_nothing_to_compare_is_nan_and_has_no_part_in_the_mean():
    truth = np.full((2, 2), 2.0, np.float32)
    nothing = depth_metrics(np.full((2, 2), np.nan, np.float32), truth)
    assert math.isnan(nothing["abs_rel"])
    assert nothing["coverage"] == 0.0
    half = depth_metrics(truth * 1.5, truth)
    assert mean_metrics([nothing, half])["abs_rel"] == pytest.approx(0.5)
    assert mean_metrics([nothing]) == {}


def test_a_figure_that_one_image_lacks_is_the_mean_of_the_others():
    images = [{"pixels": 4, "tau": 0.5, "none": math.nan}, {"pixels": 4, "tau": math.nan,
              "none": math.nan}]  # fmt: skip
    means = mean_metrics(images)
    assert means["tau"] == 0.5 and math.isnan(means["none"])


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        depth_metrics(np.ones((2, 3), np.float32), np.ones((3, 2), np.float32))
