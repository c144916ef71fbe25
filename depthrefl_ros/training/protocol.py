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

"""What is compared with the truth, and how: crop, cap, and alignment before comparing.

Two figures mean the same only under the same protocol, so it is named wherever they are written.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CROPS = ("none", "eigen", "garg")
ALIGNMENTS = ("none", "median", "lsq")
NEAREST_M = 1e-3  # predictions are clamped to [NEAREST_M, cap]

NYU_SIZE = (480, 640)
NYU_CROP = (slice(45, 471), slice(41, 601))
NYU_CROPPED_SIZE = (426, 560)
# (top, bottom, left, right) as shares of height and width, published for KITTI.
EIGEN_KITTI = (0.3324324, 0.91351351, 0.0359477, 0.96405229)
GARG = (0.40810811, 0.99189189, 0.03594771, 0.96405229)
KITTI_ASPECT = 2.5  # KITTI's images are 3.3 times as wide as high, others at most 1.8 times


@dataclass(frozen=True)
class Protocol:
    """How predictions are compared with the truth.

    Attributes:
        crop: which part of an image counts (``crop_slices``): ``none``, ``eigen`` or ``garg``.
        cap_m: truth from here on is left out, and predictions are clamped to it, metres.
        align: what is fitted to the truth of each image first (``fit_alignment``): ``none``,
            ``median`` or ``lsq``.

    Raises:
        ValueError: an unknown crop or alignment, or a cap that is no positive number.
    """

    crop: str = "none"
    cap_m: float = 10.0
    align: str = "none"

    def __post_init__(self) -> None:
        if self.crop not in CROPS:
            raise ValueError(f"crop is {self.crop!r}; known are {CROPS}")
        if self.align not in ALIGNMENTS:
            raise ValueError(f"align is {self.align!r}; known are {ALIGNMENTS}")
        if not (np.isfinite(self.cap_m) and self.cap_m > NEAREST_M):
            raise ValueError(f"cap_m is {self.cap_m}; it must be a number above {NEAREST_M}")

    def __str__(self) -> str:
        return f"crop {self.crop}, cap {self.cap_m:g} m, alignment {self.align}"

    def truth(self, truth_m: np.ndarray) -> np.ndarray:
        """Return the truth that counts: (H, W) float32 metres, 0 outside crop and from the cap on.

        Raises:
            ValueError: the crop is not defined for images of this size.
        """
        part = crop_slices(self.crop, truth_m.shape)
        counted = np.zeros_like(truth_m)
        counted[part] = truth_m[part]
        counted[~((counted > 0) & (counted < self.cap_m))] = 0.0
        return counted


def crop_slices(crop: str, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of an image that a crop keeps.

    ``eigen`` (Eigen et al. 2014) is a different rectangle in each data set. NYU images of 640x480
    keep rows 45 to 470 and columns 41 to 600; images of 560x426 are exactly this part already
    (``NyuFolder`` hands out nothing else) and are *not* cropped again. Wide images are KITTI's and
    keep published shares of height and width. ``garg`` (Garg et al. 2016) is published for KITTI as
    shares of height and width, which are taken of an image of any size.

    Args:
        crop: one of ``CROPS``.
        shape: (height, width) of the image, pixels.

    Raises:
        ValueError: an unknown crop, or ``eigen`` for a size that it was never published for.
    """
    if crop == "none":
        return slice(None), slice(None)
    if crop == "garg":
        return _shares(GARG, shape)
    if crop != "eigen":
        raise ValueError(f"crop is {crop!r}; known are {CROPS}")
    height, width = shape
    if shape == NYU_CROPPED_SIZE:
        return slice(None), slice(None)
    if shape == NYU_SIZE:
        return NYU_CROP
    if width >= KITTI_ASPECT * height:
        return _shares(EIGEN_KITTI, shape)
    raise ValueError(
        f"crop 'eigen' is defined for NYU (640x480, or 560x426 already cropped) and KITTI (about "
        f"1242x375), not for images of {width}x{height}; use 'none'"
    )


def _shares(shares: tuple[float, float, float, float], shape: tuple[int, int]):
    top, bottom, left, right = shares
    height, width = shape
    # Rounded down, as in all published code.
    return slice(int(top * height), int(bottom * height)), slice(
        int(left * width), int(right * width)
    )


def fit_alignment(align: str, depth_m: np.ndarray, truth_m: np.ndarray) -> tuple[float, float]:
    """Scale s and shift b (metres) that bring s * depth + b to the truth.

    * ``none``: s = 1, b = 0: the depth has to be metric by itself.
    * ``median``: s = median(truth) / median(depth), b = 0 (Zhou et al. 2017, "Unsupervised
      learning of depth and ego-motion from video").
    * ``lsq``: the s and b that minimise the sum of (s * depth + b - truth)^2, the closed form of
      Ranftl et al. 2020 (MiDaS), in depth as Ke et al. 2024 (Marigold) do, not in inverse depth.

    Args:
        align: one of ``ALIGNMENTS``.
        depth_m: (n,) predicted depth at pixels with known truth, metres, not clamped.
        truth_m: (n,) their truth, metres.

    Raises:
        ValueError: an unknown alignment.
    """
    if align == "none":
        return 1.0, 0.0
    depth, truth = depth_m.astype(np.float64), truth_m.astype(np.float64)
    if align == "median":
        return float(np.median(truth) / np.median(depth)), 0.0
    if align != "lsq":
        raise ValueError(f"align is {align!r}; known are {ALIGNMENTS}")
    variance = depth.var()
    if variance == 0.0:  # a flat prediction has no scale, only a place
        return 0.0, float(truth.mean())
    scale = float(np.mean((depth - depth.mean()) * (truth - truth.mean())) / variance)
    return scale, float(truth.mean() - scale * depth.mean())
