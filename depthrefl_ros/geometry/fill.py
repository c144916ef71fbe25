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

"""A depth camera's image with its holes filled by a network.

Structured light and stereo see nothing on glass, in glare, on black, and beyond their range. There
the network's depth stands in. A network errs by a factor that changes slowly over the image, and
around a hole this factor is known: its logarithm is carried into the hole by push-pull (Gortler et
al., "The Lumigraph", 1996), so that the fill meets the measured depth at the rim. What lies much
farther than the rim keeps the factor of the whole image instead.
"""

from __future__ import annotations

import cv2
import numpy as np

from depthrefl_ros.geometry.anchors import is_level

FILLS = ("none", "holes", "all")
MEASURED_SIGMA = 0.02  # of log depth, of what a depth camera has measured
_LARGEST_LOG_RATIO = 0.4  # between measured and scaled depth; beyond, one of the two is elsewhere
# Of ln z: how much farther than its rim a hole's inside may be before the rim tells little of it.
# On the shipped recording a short way costs holes within a surface, a long one what is beyond 4 m.
_ALIKE = 0.4
_LEVELS = 7
_SMALLEST_WEIGHT = 1e-3


def fill_holes(depth_m: np.ndarray, reference_m: np.ndarray) -> np.ndarray:
    """Return measured depth where there is any, and the network's elsewhere.

    Args:
        depth_m: (h, w) float32 metres of the network, its scale corrected; NaN where nothing was
            seen.
        reference_m: (h, w) float32 metres, measured; NaN where unknown.

    Returns:
        (h, w) float32 metres.
    """
    known = np.isfinite(reference_m)
    if known.all():
        return reference_m
    with np.errstate(invalid="ignore", divide="ignore"):
        log_ratio = np.log(reference_m / depth_m)
        use = is_level(reference_m) & is_level(depth_m) & (np.abs(log_ratio) < _LARGEST_LOG_RATIO)
    if use.any():
        log_ratio = np.where(use, log_ratio, 0.0).astype(np.float32)
        spread = _push_pull(log_ratio, use.astype(np.float32), _LEVELS)
        middle = np.float32(np.median(log_ratio[use]))
        log_depth = np.log(depth_m)
        at_rim = _push_pull(np.where(use, log_depth, 0.0), use.astype(np.float32), _LEVELS)
        alike = np.exp(np.abs(log_depth - at_rim) * np.float32(-1.0 / _ALIKE))
        spread = middle + (spread - middle) * alike
        depth_m = depth_m * np.exp(spread)
    return np.where(known, reference_m, depth_m)


def _push_pull(weighted: np.ndarray, weight: np.ndarray, levels: int) -> np.ndarray:
    """Spread values to where there are none.

    Args:
        weighted: (h, w) float32 values times their weights.
        weight: (h, w) float32 in [0, 1].
        levels: halvings that are left.

    Returns:
        (h, w) float32: the values where the weight is 1, and the coarser levels' elsewhere.
    """
    own = weighted / np.maximum(weight, _SMALLEST_WEIGHT)
    height, width = weight.shape
    if levels == 0 or min(height, width) < 4:
        total = float(weight.sum())
        mean = float(weighted.sum()) / total if total > 0.0 else 0.0
        return np.where(weight > _SMALLEST_WEIGHT, own, np.float32(mean))
    # Where half of the pixels below are known, the mean of those is as good as known.
    coarse_weight = cv2.pyrDown(weight)
    coarse = cv2.pyrDown(weighted) / np.maximum(coarse_weight, _SMALLEST_WEIGHT)
    coarse_weight = np.minimum(2.0 * coarse_weight, 1.0)
    below = _push_pull(coarse * coarse_weight, coarse_weight, levels - 1)
    pulled = cv2.pyrUp(below, dstsize=(width, height))
    return pulled + weight * (own - pulled)
