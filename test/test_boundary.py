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

"""Boundary F1 against counting by hand."""

import math

import numpy as np
import pytest

from depthrefl_ros.training.boundary import THRESHOLDS, WEIGHTS, edge_f1


def step(column: int, near: float = 1.0, far: float = 2.0) -> np.ndarray:
    """(8, 12): near up to a column, far from it on."""
    depth = np.full((8, 12), near)
    depth[:, column:] = far
    return depth


def by_loops(depth: np.ndarray, truth: np.ndarray) -> float:
    """Return the definition, pixel by pixel."""
    total = 0.0
    for threshold, weight in zip(THRESHOLDS, WEIGHTS, strict=True):
        precision, recall = [], []
        for row, column in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            both = predicted = true = 0
            for y in range(truth.shape[0]):
                for x in range(truth.shape[1]):
                    v, u = y + row, x + column
                    if not (0 <= v < truth.shape[0] and 0 <= u < truth.shape[1]):
                        continue
                    if truth[y, x] <= 0 or truth[v, u] <= 0:
                        continue
                    p = depth[v, u] / depth[y, x] > threshold
                    t = truth[v, u] / truth[y, x] > threshold
                    both, predicted, true = both + (p and t), predicted + p, true + t
            precision.append(both / max(predicted, 1))
            recall.append(both / max(true, 1))
        p, r = np.mean(precision), np.mean(recall)
        total += weight * (2 * p * r / (p + r) if p + r else 0.0)
    return total


def test_the_same_edges_in_every_direction_are_perfect_at_any_scale():
    generator = np.random.default_rng(0)
    truth = generator.uniform(1.0, 3.0, (8, 12))
    assert edge_f1(truth, truth) == pytest.approx(1.0)
    assert edge_f1(truth * 7.0, truth) == pytest.approx(1.0)


def test_an_edge_one_pixel_beside_the_true_one_is_missed():
    assert edge_f1(step(5), step(6)) == 0.0
    assert edge_f1(np.ones((8, 12)), step(6)) == 0.0


def test_it_is_what_the_definition_counts():
    generator = np.random.default_rng(1)
    truth = generator.uniform(1.0, 1.4, (8, 12))
    truth[2:4, 3] = 0.0
    depth = generator.uniform(1.0, 1.4, (8, 12))
    depth[:, 6:] = truth[:, 6:] + 0.05
    assert 0.1 < edge_f1(depth, truth) < 0.9
    assert edge_f1(depth, truth) == pytest.approx(by_loops(depth, truth))


def test_a_truth_without_edges_measures_nothing():
    assert math.isnan(edge_f1(step(5), np.full((8, 12), 2.0)))
