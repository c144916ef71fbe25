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

"""Is depth right at every distance? Ratios of predicted to true depth, near to far."""

from __future__ import annotations

import math

import numpy as np

# Edges of the bands of true distance, metres.
BANDS_M = (0.3, 0.7, 1.0, 2.0, 4.0, 7.0, 12.0)
BAND_NAMES = tuple(f"{near:g}-{far:g}" for near, far in zip(BANDS_M[:-1], BANDS_M[1:], strict=True))

# Log ratios are counted in steps of 0.1 %, from a thousandth to a thousand times the truth.
_STEP = 1e-3
_LARGEST = math.log(1000.0)
_STEPS = 2 * round(_LARGEST / _STEP) + 1


def scale_figures(depth_m: np.ndarray, truth_m: np.ndarray) -> dict[str, float]:
    """Return how one image's depth stands to its truth as a whole.

    Args:
        depth_m: (n,) predicted depth, metres, neither aligned nor clamped.
        truth_m: (n,) true depth, metres.

    Returns:
        ``scale_ratio``: median predicted over median true; ``median_depth_m`` and
        ``median_truth_m``.
    """
    depth, truth = float(np.median(depth_m)), float(np.median(truth_m))
    return {"scale_ratio": depth / truth, "median_depth_m": depth, "median_truth_m": truth}


def scale_summary(ratio: np.ndarray, depth_m: np.ndarray, truth_m: np.ndarray) -> dict[str, float]:
    """Return what ``scale_figures`` of all images say together.

    Args:
        ratio: (images,) ``scale_ratio``.
        depth_m: (images,) ``median_depth_m``.
        truth_m: (images,) ``median_truth_m``.

    Returns:
        ``scale_ratio`` (the median), ``scale_ratio_p10``, ``scale_ratio_p90`` and
        ``slope_log_median``: the slope of log predicted median over log true median by least
        squares; 1 where distances keep their proportions, 0 where every image comes out alike.
        NaN for images that all stand at one distance.
    """
    p10, median, p90 = np.quantile(ratio, [0.1, 0.5, 0.9])
    x, y = np.log(truth_m), np.log(depth_m)
    x = x - x.mean()
    spread = float((x * x).sum())
    slope = float((x * y).sum() / spread) if spread > 1e-12 else float("nan")
    return {
        "scale_ratio": float(median),
        "scale_ratio_p10": float(p10),
        "scale_ratio_p90": float(p90),
        "slope_log_median": slope,
    }


class DistanceBands:
    """Gathers pixels of many images by their true distance, in memory that does not grow."""

    def __init__(self) -> None:
        count = len(BAND_NAMES)
        self._ratios = np.zeros((count, _STEPS), np.int64)
        self._errors = np.zeros(count)

    def add(self, depth_m: np.ndarray, clamped_m: np.ndarray, truth_m: np.ndarray) -> None:
        """Count the pixels of an image.

        Args:
            depth_m: (n,) predicted depth before clamping, metres: for the ratio.
            clamped_m: (n,) the same, clamped to the protocol's range: for AbsRel.
            truth_m: (n,) true depth, metres.
        """
        band = np.searchsorted(BANDS_M, truth_m, side="right") - 1
        inside = (band >= 0) & (band < len(BAND_NAMES))
        band, truth = band[inside], truth_m[inside].astype(np.float64)
        log_ratio = np.log(np.maximum(depth_m[inside], 1e-6) / truth)
        place = np.rint((np.clip(log_ratio, -_LARGEST, _LARGEST) + _LARGEST) / _STEP)
        np.add.at(self._ratios, (band, place.astype(int)), 1)
        relative = np.abs(clamped_m[inside] - truth) / truth
        self._errors += np.bincount(band, relative, minlength=len(BAND_NAMES))

    def figures(self) -> dict[str, dict[str, float]]:
        """Return by band ``ratio`` (median predicted over true), ``abs_rel`` and ``pixels``.

        The ratio is exact to 0.05 %; it and AbsRel are NaN in a band without pixels.
        """
        found = {}
        for name, counts, error in zip(BAND_NAMES, self._ratios, self._errors, strict=True):
            pixels = int(counts.sum())
            place = np.searchsorted(counts.cumsum(), (pixels + 1) // 2)
            found[name] = {
                "ratio": math.exp(place * _STEP - _LARGEST) if pixels else float("nan"),
                "abs_rel": float(error) / pixels if pixels else float("nan"),
                "pixels": pixels,
            }
        return found
