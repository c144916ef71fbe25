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

"""Kendall's tau by hand and against SciPy."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from depthrefl_ros.training.order import (
    are_apart,
    kendall_tau,
    ordinal_agreements,
    sample_pairs,
)


def all_pairs(count: int) -> np.ndarray:
    return np.array(list(itertools.combinations(range(count), 2))).T


def test_tau_by_hand():
    first = np.array([[1.0, 2.0, 3.0, 3.0]])
    second = np.array([[10.0, 30.0, 20.0, 40.0]])
    pairs = np.array([[0, 0, 1, 2], [1, 2, 2, 3]])  # same, same, opposite, tied in the first
    assert kendall_tau(first, second, pairs) == pytest.approx(1 / 4)
    assert kendall_tau(first, -second, pairs) == pytest.approx(-1 / 4)
    assert kendall_tau(first, first * 0, pairs) == 0.0
    assert math.isnan(kendall_tau(first, second, pairs[:, :0]))


def test_tau_over_all_pairs_agrees_with_scipy():
    generator = np.random.default_rng(0)
    first = generator.permutation(30).astype(np.float32).reshape(5, 6)
    second = (first + generator.normal(0, 8, first.shape)).astype(np.float32)
    expected = kendalltau(first.ravel(), second.ravel()).statistic
    assert 0.2 < expected < 0.9
    assert kendall_tau(first, second, all_pairs(30)) == pytest.approx(expected, abs=1e-12)


def test_random_pairs_estimate_the_tau_of_all_pairs():
    generator = np.random.default_rng(1)
    truth = generator.uniform(1.0, 9.0, (40, 40)).astype(np.float32)
    depth = (truth * np.exp(generator.normal(0, 0.4, truth.shape))).astype(np.float32)
    pairs = all_pairs(truth.size)
    expected = kendall_tau(depth, truth, pairs[:, are_apart(truth, pairs)])
    found = ordinal_agreements(depth, depth, truth, np.random.default_rng(2))
    assert found["tau_depth_truth"] == pytest.approx(expected, abs=0.03)
    assert found["tau_relative_truth"] == found["tau_depth_truth"]
    assert found["tau_depth_relative"] == 1.0


def test_pairs_closer_than_3_percent_are_no_pairs():
    depth = np.array([[2.0, 2.05, 2.07, 4.0]])
    pairs = np.array([[0, 0, 3, 1], [1, 2, 0, 1]])
    assert are_apart(depth, pairs).tolist() == [False, True, True, False]


def test_each_agreement_leaves_out_what_is_close_in_its_own_reference():
    truth = np.array([[1.0, 1.01, 5.0, 5.05]], np.float32)  # wrong order only where truth is close
    depth = np.array([[2.0, 1.5, 9.0, 8.0]], np.float32)
    relative = np.array([[0.2, 0.3, 0.9, 0.8]], np.float32)  # against depth: one pair of six
    found = ordinal_agreements(relative, depth, truth, np.random.default_rng(0))
    assert found["tau_depth_truth"] == found["tau_relative_truth"] == 1.0
    assert found["tau_depth_relative"] == pytest.approx(4 / 6, abs=0.03)


def test_pairs_are_of_known_pixels_only():
    known = np.zeros((4, 5), bool)
    known[1, 2] = known[3, 4] = True
    pairs = sample_pairs(known, 50, np.random.default_rng(0))
    assert pairs.shape == (2, 50) and set(pairs.ravel().tolist()) == {7, 19}
