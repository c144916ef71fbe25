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

"""Calibration recovers a known distribution of errors."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from depthrefl_ros.training.calibrate import (
    SHARES,
    coverage,
    cross_fitted_coverage,
    error_quantiles,
    fit_calibration,
)


def calibrated_probability(ratio: np.ndarray, calibration: dict[str, list[float]]) -> np.ndarray:
    """Return F(ratio) for any shape: the probability of an error of at most ``ratio`` sigmas."""
    return np.interp(ratio, calibration["quantile"], calibration["probability"])


def normal_errors(count: int, deviation: float = 1.0) -> np.ndarray:
    return deviation * np.abs(np.random.default_rng(count).standard_normal(count))


def test_quantiles_of_normal_errors_are_those_of_the_normal_distribution():
    calibration = error_quantiles(normal_errors(200_000))
    assert len(calibration["probability"]) == len(calibration["quantile"]) == 101
    for ratio in (0.25, 1.0, 2.0):
        expected = math.erf(ratio / math.sqrt(2))
        found = calibrated_probability(np.array(ratio), calibration)
        assert found == pytest.approx(expected, abs=0.01)


def test_quantiles_increase_from_zero_even_where_errors_tie():
    quantile = error_quantiles(np.repeat([0.0, 1.0], 500))["quantile"]
    assert quantile[0] == 0.0 and (np.diff(quantile) > 0).all()


def test_probability_is_0_at_no_error_and_1_beyond_all():
    calibration = error_quantiles(np.linspace(0, 3, 1000))
    assert calibrated_probability(np.array([0.0, 99.0]), calibration).tolist() == [0.0, 1.0]


def test_data_sets_count_alike_however_large():
    small, large = normal_errors(2_000, 0.5), normal_errors(100_000, 2.0)
    calibration = fit_calibration([small, large])
    for ratio in (0.3, 1.0, 2.5):
        expected = np.mean([np.mean(errors <= ratio) for errors in (small, large)])
        assert calibrated_probability(np.array(ratio), calibration) == pytest.approx(
            expected, abs=0.005
        )
    both = np.concatenate([small, large])
    assert calibrated_probability(np.array(1.0), error_quantiles(both)) < 0.45  # F here is 0.67


def test_a_data_set_counts_by_its_weight():
    calibration = fit_calibration([np.full(500, 1.0), np.full(100, 3.0)], [1.0, 3.0])
    quantile = partial(np.interp, xp=calibration["probability"], fp=calibration["quantile"])
    assert quantile([0.1, 0.24]) == pytest.approx([1.0, 1.0], abs=1e-3)
    assert quantile([0.26, 0.9]) == pytest.approx([3.0, 3.0], abs=1e-3)


def test_a_single_data_set_is_fitted_as_it_is():
    errors = normal_errors(3_000).reshape(3, 1000)
    assert fit_calibration([errors]) == error_quantiles(errors)


@pytest.mark.parametrize("data_sets", [[], [np.ones(3), np.empty(0)]])
def test_calibration_without_errors_is_refused(data_sets):
    with pytest.raises(ValueError, match="at least one data set"):
        fit_calibration(data_sets)


def test_coverage_by_hand():
    calibration = {"probability": [0.0, 0.5, 1.0], "quantile": [0.0, 1.0, 3.0]}
    errors = np.array([[0.5, 1.0, 1.5, 2.0], [0.1, 5.0, 6.0, 7.0]])
    # The limits: F^-1(0.5) = 1 and F^-1(0.75) = 2.
    found = coverage(errors, calibration, (0.5, 0.75))
    assert found.tolist() == [[0.5, 1.0], [0.25, 0.25]]


def test_calibrated_errors_are_covered_as_promised():
    calibration = fit_calibration([normal_errors(100_000, 3.0)])
    assert coverage(normal_errors(90_000, 3.0), calibration) == pytest.approx(SHARES, abs=0.01)
    assert coverage(normal_errors(90_000, 6.0), calibration)[0] < 0.3  # twice too sure


def test_cross_fitting_covers_images_by_the_others_only():
    # The first block errs twice as much as the other two: covered by their F it falls short.
    errors = normal_errors(60_000).reshape(6, 10_000) * np.array([[2.0], [2], [1], [1], [1], [1]])
    blocks = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5])]
    found = cross_fitted_coverage(errors, blocks, (0.5,))
    others = error_quantiles(errors[2:])
    assert found[:2] == pytest.approx(coverage(errors[:2], others, (0.5,)), abs=0.01)
    assert found.shape == (6, 1) and (found[:2] < 0.3).all() and (found[2:] > 0.55).all()


def test_cross_fitting_needs_two_blocks():
    with pytest.raises(ValueError, match="at least two blocks.*the 4 here make 1"):
        cross_fitted_coverage(np.ones((4, 10)), [np.arange(4)])
