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

"""Calibration of sigma: the distribution function F of |delta log z| / sigma on held-out images.

The errors are ``evaluate_images(...).pixels.error_ratio``: equally many from each image.

With F, an interval of probability p is z exp(+-sigma F^-1(p)), and F(log 1.25 / sigma) is the
probability that a pixel is within the delta1 bound: the published confidence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

POINTS = 101  # of the table of F
SHARES = (0.5, 0.8, 0.9, 0.95)
FINE_POINTS = 10_001
# Fitting F needs no more than this for a third digit; cross-fitting does it once a block.
CROSS_FIT_PIXELS = 500_000


def fit_calibration(
    data_sets: Sequence[np.ndarray],
    weights: Sequence[float] | None = None,
) -> dict[str, list[float]]:
    """Fit one F to several data sets that count by their weights, however many pixels each has.

    F is the weighted mean of the data sets' own distribution functions: each stands in the mixture
    with a number of its quantiles in proportion to its weight.

    Args:
        data_sets: of each, |log z - log truth| / sigma, any shape.
        weights: of the data sets, positive; without them all count alike.

    Returns:
        ``error_quantiles`` of the mixture.

    Raises:
        ValueError: there is no data set, or one is empty.
    """
    if not data_sets or any(np.size(errors) == 0 for errors in data_sets):
        raise ValueError("calibration needs at least one data set, and errors in each of them")
    if len(data_sets) == 1:
        return error_quantiles(data_sets[0])
    weights = np.ones(len(data_sets)) if weights is None else np.asarray(weights)
    counts = np.maximum(1, np.round(FINE_POINTS * weights / weights.mean())).astype(int)
    # In the middle of each step, so that no data set's extremes count for more than their share.
    mixture = [
        np.quantile(errors, (np.arange(count) + 0.5) / count)
        for errors, count in zip(data_sets, counts, strict=True)
    ]
    return error_quantiles(np.concatenate(mixture))


def error_quantiles(errors: np.ndarray) -> dict[str, list[float]]:
    """Return F as ``probability`` (0 to 1, evenly) and the ``quantile`` F^-1 at each.

    The quantiles are made strictly increasing from exactly 0, so that both directions can be
    interpolated.

    Args:
        errors: |log z - log truth| / sigma of one data set, any shape.
    """
    probability = np.linspace(0.0, 1.0, POINTS)
    quantile = np.quantile(errors, probability).astype(np.float64)
    quantile[0] = 0.0
    step = 1e-6 * np.arange(POINTS)
    quantile = np.maximum.accumulate(quantile) + step
    return {"probability": probability.tolist(), "quantile": quantile.tolist()}


def coverage(
    errors: np.ndarray, calibration: dict[str, list[float]], shares: Sequence[float] = SHARES
) -> np.ndarray:
    """Return which share of the truth lies within the intervals z exp(+-sigma F^-1(p)).

    Args:
        errors: (..., n) |log z - log truth| / sigma, for example (images, n).
        calibration: F, as ``fit_calibration`` returns it.
        shares: the probabilities p.

    Returns:
        (..., len(shares)) float64 measured over n; equal to ``shares`` where sigma is calibrated.
    """
    limits = np.interp(shares, calibration["probability"], calibration["quantile"])
    return np.stack([(errors <= limit).mean(axis=-1) for limit in limits], axis=-1)


def cross_fitted_coverage(
    errors: np.ndarray, blocks: list[np.ndarray], shares: Sequence[float] = SHARES
) -> np.ndarray:
    """Return the coverage of each image under the F of all images that are not in its block.

    What calibration on these images promises for images of scenes that it has not seen.

    Args:
        errors: (images, n) |log z - log truth| / sigma, in random order within an image.
        blocks: of neighbouring images, from ``bootstrap.blocks_of``; at least two.
        shares: the probabilities p.

    Returns:
        (images, len(shares)) float64.

    Raises:
        ValueError: fewer than two blocks.
    """
    if len(blocks) < 2:
        raise ValueError(
            f"cross-fitting needs images of at least two blocks of neighbours; the {len(errors)} "
            f"here make {len(blocks)}"
        )
    fitted_on = errors[:, : max(1, CROSS_FIT_PIXELS // len(errors))]
    result = np.empty((len(errors), len(shares)))
    for block in blocks:
        calibration = error_quantiles(np.delete(fitted_on, block, axis=0))
        result[block] = coverage(errors[block], calibration, shares)
    return result
