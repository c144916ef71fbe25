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

"""How far a network errs that does not say so itself: by distance, and beside steps of depth.

A network's error in log depth depends on little that can be seen in its depth alone, but it does
depend on how far it looks, and beside edges, where it slides from one surface to the next, it is
several times as large. Both are measured once, on a user's own frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_EDGE_RATIO = 1.1  # of the farthest to the nearest of 3x3 pixels on an edge
_NEIGHBOURHOOD = np.ones((3, 3), np.uint8)
_BESIDE = np.ones((5, 5), np.uint8)  # networks slide from surface to surface over some pixels
_BANDS = 8
_MIN_PIXELS = 200  # in a band
_ONE_SIGMA = 0.6827  # share of errors within one standard deviation
_SMALLEST = 0.005


@dataclass(frozen=True, eq=False)
class SigmaTable:
    """Standard deviation of log depth by distance.

    Attributes:
        distance_m: (n,) float64, rising, metres; between them the logarithm is interpolated.
        inner: (n,) float64 away from edges.
        edge: (n,) float64 beside them.
    """

    distance_m: np.ndarray
    inner: np.ndarray
    edge: np.ndarray

    @classmethod
    def fit(cls, log_error: np.ndarray, depth_m: np.ndarray, beside_edge: np.ndarray) -> SigmaTable:
        """Fit the table to errors that were measured.

        Args:
            log_error: (n,) ln(predicted / true).
            depth_m: (n,) predicted, metres.
            beside_edge: (n,) bool, of ``beside_edges``.

        Raises:
            ValueError: fewer than 200 pixels away from edges.
        """
        size, inside = np.abs(log_error), ~beside_edge
        if inside.sum() < _MIN_PIXELS:
            raise ValueError(
                f"{inside.sum()} pixels with true depth away from edges; {_MIN_PIXELS} are needed"
            )
        bands = min(_BANDS, int(inside.sum()) // _MIN_PIXELS)
        log_depth = np.log(depth_m)
        low, high = np.quantile(log_depth[inside], (0.01, 0.99))
        # As many steps of distance as there are bands, whatever the frames show most of.
        step = max(float(high - low), 1e-6) / bands
        band = np.clip((log_depth - low) // step, 0, bands - 1).astype(int)
        populated = np.bincount(band[inside], minlength=bands) >= _MIN_PIXELS
        if not populated.any():
            band, populated = np.zeros_like(band), np.ones(1, bool)
        distance, inner, edge = [], [], []
        rise = 1.0  # how much less certain edges are on the whole
        if beside_edge.sum() >= _MIN_PIXELS:
            rise = _spread(size[beside_edge]) / _spread(size[inside])
        for number in np.flatnonzero(populated):
            there = inside & (band == number)
            at_edge = beside_edge & (band == number)
            distance.append(float(np.exp(log_depth[there].mean())))
            inner.append(_spread(size[there]))
            mine = _spread(size[at_edge]) if at_edge.sum() >= _MIN_PIXELS else rise * inner[-1]
            edge.append(max(mine, inner[-1]))  # no edge is more certain than what lies beside it
        return cls(*map(np.array, (distance, inner, edge)))

    def sigma(self, depth_m: np.ndarray) -> np.ndarray:
        """Return the standard deviation of log depth of a depth map, (h, w) float32.

        Args:
            depth_m: (h, w) float32 metres; where it is not finite sigma is that of the farthest.
        """
        known = np.isfinite(depth_m) & (depth_m > 0)
        return self.at(np.where(known, depth_m, self.distance_m[-1]), beside_edges(depth_m))

    def at(self, depth_m: np.ndarray, beside_edge: np.ndarray) -> np.ndarray:
        """Return the standard deviation of log depth of pixels of any shape, float32.

        Args:
            depth_m: positive, metres.
            beside_edge: bool, of ``beside_edges``.
        """
        log_depth, at = np.log(depth_m), np.log(self.distance_m)
        inner, edge = (np.interp(log_depth, at, values) for values in (self.inner, self.edge))
        return np.where(beside_edge, edge, inner).astype(np.float32)


def beside_edges(depth_m: np.ndarray) -> np.ndarray:
    """Return which pixels (h, w) bool of a depth (h, w) lie beside a step of depth."""
    known = np.isfinite(depth_m)
    near = cv2.erode(np.where(known, depth_m, np.inf), _NEIGHBOURHOOD)
    far = cv2.dilate(np.where(depth_m > 0, depth_m, 0), _NEIGHBOURHOOD)  # the sky is far
    on_edge = far * np.float32(1.0 / _EDGE_RATIO) > near
    return cv2.dilate(on_edge.view(np.uint8), _BESIDE).view(bool)


def _spread(size: np.ndarray) -> float:
    return max(float(np.quantile(size, _ONE_SIGMA)), _SMALLEST)
