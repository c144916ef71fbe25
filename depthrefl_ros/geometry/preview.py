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

"""Depth as a picture for people: a colour map with a legend in metres."""

from __future__ import annotations

import cv2
import numpy as np

from depthrefl_ros.geometry.tables import frozen, table

LEGEND_WIDTH = 64
UNKNOWN_BGR = (90, 90, 90)
BEYOND_BGR = (40, 20, 20)
NEARER_BGR = (255, 255, 255)
_TICKS_M = (0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 80)


def _shade(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """Shade depth in metres as 0..255, near is bright; logarithmic: depth errs in proportion."""
    span = np.log(far / near)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.log(np.maximum(depth, near) / near) / span
    share = np.nan_to_num(share, nan=1.0, posinf=1.0, neginf=0.0)
    return (255.0 * (1.0 - np.clip(share, 0.0, 1.0))).astype(np.uint8)


def colour_depth(depth_m: np.ndarray, near_m: float, far_m: float) -> np.ndarray:
    """Colour depth: near is red, far is blue; unknown grey, out of range apart.

    Args:
        depth_m: (H, W) float32 metres; NaN, +Inf and -Inf as REP-117 has them.
        near_m: brightest, metres, positive.
        far_m: darkest, metres.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ValueError: not 0 < near_m < far_m.
    """
    if not 0.0 < near_m < far_m:
        raise ValueError(f"near_m is {near_m} and far_m {far_m}; need 0 < near_m < far_m")
    picture = cv2.applyColorMap(_shade(depth_m, near_m, far_m), cv2.COLORMAP_TURBO)
    if not np.isfinite(depth_m).all():
        picture[np.isnan(depth_m)] = UNKNOWN_BGR
        picture[np.isposinf(depth_m)] = BEYOND_BGR
        picture[np.isneginf(depth_m)] = NEARER_BGR
    return picture


def depth_legend(height: int, near_m: float, far_m: float) -> np.ndarray:
    """Return a vertical scale, metres, near at the bottom: (height, LEGEND_WIDTH, 3) BGR."""
    share = np.linspace(1.0, 0.0, height, dtype=np.float32)
    metres = near_m * (far_m / near_m) ** share
    legend = np.full((height, LEGEND_WIDTH, 3), 24, np.uint8)
    legend[:, 4:20] = colour_depth(np.repeat(metres[:, None], 16, axis=1), near_m, far_m)
    last = height
    for tick in _TICKS_M:
        if not near_m <= tick <= far_m:
            continue
        row = round((1.0 - np.log(tick / near_m) / np.log(far_m / near_m)) * (height - 1))
        baseline = min(max(row + 4, 10), height - 2)
        if last - baseline < 12:
            continue
        last = baseline
        cv2.line(legend, (18, row), (23, row), (255, 255, 255), 1)
        cv2.putText(
            legend,
            f"{tick:g} m",
            (26, baseline),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.36,
            (255, 255, 255),
            1,
            cv2.LINE_AA,
        )
    return legend


@table
def _legend(height: int, near_m: float, far_m: float) -> np.ndarray:
    return frozen(depth_legend(height, near_m, far_m))


def depth_preview(depth_m: np.ndarray, near_m: float, far_m: float) -> np.ndarray:
    """Return the picture of depth with its legend.

    Args:
        depth_m: (H, W) float32 metres; NaN, +Inf and -Inf as REP-117 has them.
        near_m: brightest, metres; raised to 0.1 since the scale is logarithmic.
        far_m: darkest, metres; raised to twice the nearest.

    Returns:
        (H, W + LEGEND_WIDTH, 3) uint8 BGR.
    """
    near_m = max(near_m, 0.1)
    far_m = max(far_m, 2.0 * near_m)
    legend = _legend(len(depth_m), near_m, far_m)
    return np.hstack([colour_depth(depth_m, near_m, far_m), legend])
