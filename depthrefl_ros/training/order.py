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

"""Ordinal agreement: do two images put the same of two pixels in front?

Kendall's tau (Kendall 1938) over random pairs of pixels. Pairs that are about equally far carry no
order worth the name, so pairs whose depths differ by less than 3 % are left out.
"""

from __future__ import annotations

import numpy as np

PAIRS = 10_000  # per image
CLOSEST_RATIO = 1.03  # above 1: a pixel paired with itself is never apart


def sample_pairs(known: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return (2, count) flat indices of random pairs among the pixels that are True in (H, W)."""
    return generator.choice(np.flatnonzero(known), size=(2, count))


def are_apart(depth_m: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return for each pair whether the farther depth is ``CLOSEST_RATIO`` times the nearer or more.

    Args:
        depth_m: (H, W) positive depth at all pixels of ``pairs``, any unit.
        pairs: (2, n) flat indices.
    """
    first, second = depth_m.ravel()[pairs]
    return np.maximum(first, second) >= CLOSEST_RATIO * np.minimum(first, second)


def kendall_tau(first: np.ndarray, second: np.ndarray, pairs: np.ndarray) -> float:
    """Return (concordant - discordant) / n over n pixel pairs of two (H, W) images.

    1 is the same order everywhere, -1 the opposite. A pair that is tied in either image counts as
    neither, but counts: an image that is flat where the other has order does not agree with it.
    NaN without any pair.
    """
    if pairs.shape[1] == 0:
        return float("nan")
    order = np.sign(np.diff(first.ravel()[pairs], axis=0))
    order = order * np.sign(np.diff(second.ravel()[pairs], axis=0))
    return float(np.mean(order, dtype=np.float64))


def ordinal_agreements(
    relative: np.ndarray,
    depth_m: np.ndarray,
    truth_m: np.ndarray,
    generator: np.random.Generator,
) -> dict[str, float]:
    """Return Kendall's tau between each two of relative depth, metric depth and truth.

    ``tau_depth_truth`` and ``tau_relative_truth`` leave out pairs whose truth is closer than 3 %;
    ``tau_depth_relative``, which is about the network alone, pairs whose predicted depth is.

    Args:
        relative: (H, W) float32, near to far; its order is all that matters.
        depth_m: (H, W) float32 metres, positive.
        truth_m: (H, W) float32 metres; pairs are drawn where it is positive.
        generator: draws ``PAIRS`` pairs, with replacement.

    Raises:
        ValueError: no truth is positive.
    """
    pairs = sample_pairs(truth_m > 0, PAIRS, generator)
    apart = pairs[:, are_apart(truth_m, pairs)]
    predicted_apart = pairs[:, are_apart(depth_m, pairs)]
    return {
        "tau_depth_truth": kendall_tau(depth_m, truth_m, apart),
        "tau_relative_truth": kendall_tau(relative, truth_m, apart),
        "tau_depth_relative": kendall_tau(depth_m, relative, predicted_apart),
    }
