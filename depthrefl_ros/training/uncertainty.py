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

"""Does sigma say where the depth is wrong?

Sparsification, deciles of sigma, and what is left when the least certain pixels are dropped.
Ilg et al., "Uncertainty estimates and multi-hypotheses networks for optical flow" (2018) for
sparsification; Poggi et al., "On the uncertainty of self-supervised monocular depth estimation"
(2020) for its use with depth, in 50 steps, unnormalised, as means of per-image values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

STEPS = 50
DECILES = 10
KEPT_SHARES = (1.0, 0.9, 0.8, 0.7, 0.5)
PIXELS_PER_IMAGE = 20_000
PIXELS_IN_ALL = 10_000_000  # what is kept of all images together: 160 MB


class Pixels(NamedTuple):
    """A random choice of an image's compared pixels, the same number from every image.

    Stacked over images, each is (images, n) instead.

    Attributes:
        depth_m: (n,) float32, aligned and clamped, metres.
        truth_m: (n,) float32 metres.
        sigma: (n,) float32, standard deviation of log depth; NaN where the network has none.
        error_ratio: (n,) float32, abs(log depth - log truth) / sigma of the depth before clamping.
    """

    depth_m: np.ndarray
    truth_m: np.ndarray
    sigma: np.ndarray
    error_ratio: np.ndarray

    @property
    def has_sigma(self) -> bool:
        """Whether the network says how far each pixel may err."""
        return not np.isnan(self.sigma).any()


def pixels_per_image(images: int) -> int:
    """Return how many pixels to keep of each image so that all of them fit into memory."""
    return max(1, min(PIXELS_PER_IMAGE, PIXELS_IN_ALL // max(images, 1)))


def choose_pixels(known: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return (count,) flat indices of random pixels among the True ones of (H, W).

    Without repetition where there are enough; otherwise with, so that images count alike.
    """
    places = np.flatnonzero(known)
    return generator.choice(places, count, replace=places.size < count)


def sparsification_curve(errors: np.ndarray, ranking: np.ndarray) -> np.ndarray:
    """Return the mean error of what is left when the highest-ranked pixels are dropped.

    Args:
        errors: (n,) of each pixel.
        ranking: (n,) the pixels of the highest values are dropped first.

    Returns:
        (STEPS + 1,) float64: with the share k / STEPS dropped, and 0 at the end, where nothing is
        left.
    """
    kept_first = errors[np.argsort(ranking, kind="stable")].astype(np.float64)
    cumulative = np.cumsum(kept_first)
    kept = len(errors) - np.round(np.arange(STEPS) * len(errors) / STEPS).astype(int)
    kept = np.maximum(kept, 1)
    return np.append(cumulative[kept - 1] / kept, 0.0)


def area(curve: np.ndarray) -> float:
    """Return the area under (STEPS + 1,) values over shares from 0 to 1 (trapezoids)."""
    return float((curve.sum() - (curve[0] + curve[-1]) / 2) / (len(curve) - 1))


def sparsification_areas(pixels: Pixels) -> dict[str, float]:
    """Return AUSE (smaller is better) and AURG (larger is) of one image for AbsRel and RMSE.

    With the curves of ``sparsification_curve``, when pixels are dropped by what the network says,
    and by their true error (the oracle: no ranking is better):

    * AUSE: area under the network's curve - area under the oracle's; 0 for a perfect ranking.
    * AURG: error of all pixels (dropped at random, it stays) - area under the network's curve;
      0 or less for a ranking that is worth nothing.

    AbsRel is ranked by sigma (an error in proportion), RMSE by sigma * depth (an error in metres);
    RMSE's curve is the root of the mean squared error of what is left. Unnormalised: AbsRel's
    areas have no unit, RMSE's are metres.

    Args:
        pixels: of one image.

    Returns:
        ``ause_abs_rel``, ``aurg_abs_rel``, ``ause_rmse``, ``aurg_rmse``; NaN without sigma.
    """
    if not pixels.has_sigma:
        return dict.fromkeys(("ause_abs_rel", "aurg_abs_rel", "ause_rmse", "aurg_rmse"), np.nan)
    depth, truth, sigma = (plane.astype(np.float64) for plane in pixels[:3])
    relative, squared = np.abs(depth - truth) / truth, (depth - truth) ** 2
    figures = {}
    for name, errors, ranking, shape in (
        ("abs_rel", relative, sigma, lambda curve: curve),
        ("rmse", squared, sigma * depth, np.sqrt),
    ):
        curve = shape(sparsification_curve(errors, ranking))
        oracle = shape(sparsification_curve(errors, errors))
        figures[f"ause_{name}"] = area(curve) - area(oracle)
        figures[f"aurg_{name}"] = float(curve[0]) - area(curve)
    return figures


def sigma_deciles(pixels: Pixels) -> list[dict[str, float]]:
    """Return the errors of ten equally large groups of pixels, most certain first.

    Args:
        pixels: of all images together, any shape.

    Returns:
        For each group ``sigma`` (root mean square) with the error in the same measure,
        ``rmse_log`` (root mean squared log error: equal to sigma where sigma is a standard
        deviation), and ``abs_rel``. In a useful ranking both errors rise from group to group.
    """
    depth, truth, sigma = (plane.ravel() for plane in pixels[:3])
    groups = np.array_split(np.argsort(sigma, kind="stable"), DECILES)
    rows = []
    for group in groups:
        d, t = depth[group].astype(np.float64), truth[group].astype(np.float64)
        rows.append(
            {
                "sigma": float(np.sqrt(np.mean(sigma[group].astype(np.float64) ** 2))),
                "rmse_log": float(np.sqrt(np.mean(np.log(d / t) ** 2))),
                "abs_rel": float(np.mean(np.abs(d - t) / t)),
            }
        )
    return rows


def kept_abs_rel(pixels: Pixels) -> dict[str, float]:
    """Return AbsRel of the most certain pixels by the share that is kept, pooled over all images.

    Pooled, since the robot has one threshold for all images: an image that is hard as a whole is
    dropped as a whole.

    Args:
        pixels: of all images together, any shape.

    Returns:
        AbsRel by each of ``KEPT_SHARES``, the share written as ``0.9``.
    """
    depth, truth, sigma = (plane.ravel() for plane in pixels[:3])
    order = np.argsort(sigma, kind="stable")
    errors = (np.abs(depth - truth) / truth)[order].astype(np.float64)
    cumulative = np.cumsum(errors)
    kept = [max(1, round(share * errors.size)) for share in KEPT_SHARES]
    return {
        f"{share:g}": float(cumulative[count - 1] / count)
        for share, count in zip(KEPT_SHARES, kept, strict=True)
    }
