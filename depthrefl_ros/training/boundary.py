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

"""Are depth edges where they belong? The boundary F1 of Depth Pro.

Bochkovskii et al., "Depth Pro: sharp monocular metric depth in less than a second" (2025), section
4: neighbouring pixels are an occluding pair at threshold t where the depth of one is more than t
times the other's. Only ratios count, so the figure does not depend on the scale of depth.
"""

from __future__ import annotations

import numpy as np

THRESHOLDS = np.linspace(1.05, 1.25, 10)
WEIGHTS = THRESHOLDS / THRESHOLDS.sum()  # clear edges count more


def edge_f1(depth_m: np.ndarray, truth_m: np.ndarray) -> float:
    """Return the F1 of occluding pairs, the weighted mean over all thresholds.

    Precision and recall are means over the four directions to a neighbour (left, up, right, down),
    each 0 where its denominator is 0; F1 is their harmonic mean at a threshold.

    Args:
        depth_m: (H, W) predicted depth, positive.
        truth_m: (H, W) true depth; 0 where unknown. A pair with an unknown pixel does not count.

    Returns:
        0 to 1; NaN where the truth has no occluding pair even at the lowest threshold.
    """
    counts = [
        _pair_counts(*pair)
        for axis in (0, 1)
        for pair in _both_ways(depth_m, truth_m, axis)
    ]  # fmt: skip
    both, predicted, true = (np.array(column, np.float64) for column in zip(*counts, strict=True))
    if true[:, 0].sum() == 0:
        return float("nan")
    precision = (both / np.maximum(predicted, 1)).mean(axis=0)
    recall = (both / np.maximum(true, 1)).mean(axis=0)
    total = precision + recall
    f1 = np.where(total > 0, 2 * precision * recall / np.maximum(total, 1e-12), 0.0)
    return float((f1 * WEIGHTS).sum())


def _both_ways(depth_m: np.ndarray, truth_m: np.ndarray, axis: int):
    """Yield the log ratios of known neighbours, predicted and true, in both directions."""
    ahead = (slice(None),) * axis + (slice(1, None),)
    behind = (slice(None),) * axis + (slice(None, -1),)
    known = (truth_m[ahead] > 0) & (truth_m[behind] > 0)
    predicted = np.log(depth_m[ahead][known] / depth_m[behind][known])
    true = np.log(truth_m[ahead][known] / truth_m[behind][known])
    yield predicted, true
    yield -predicted, -true


def _pair_counts(predicted: np.ndarray, true: np.ndarray):
    """Return how many pairs occlude by prediction and truth, by prediction, by truth.

    Each is (thresholds,). One histogram of both levels holds the counts of all thresholds.
    """
    edges = np.log(THRESHOLDS)
    levels = len(edges) + 1
    # The number of thresholds that each pair is beyond.
    level = np.searchsorted(edges, predicted) * levels + np.searchsorted(edges, true)
    joint = np.bincount(level, minlength=levels * levels).reshape(levels, levels)
    beyond = joint[::-1, ::-1].cumsum(axis=0).cumsum(axis=1)[::-1, ::-1]
    both = beyond.diagonal()[1:]
    return both, beyond[1:, 0], beyond[0, 1:]
