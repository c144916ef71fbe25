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

"""The best, the median and the worst image of an evaluation, in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from depthrefl_ros.tools.overview import OverviewRow, draw_overview
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.evaluation import Infer, aligned, predictions
from depthrefl_ros.training.protocol import NEAREST_M, Protocol


def best_median_worst(abs_rel: np.ndarray) -> dict[str, int]:
    """Return the places of smallest, middle (the lower of two) and largest of (n,) values."""
    order = np.argsort(abs_rel, kind="stable")
    middle = order[(len(order) - 1) // 2]
    return {"best": int(order[0]), "median": int(middle), "worst": int(order[-1])}


def draw_sheet(
    infer: Infer,
    samples: Sequence[Sample],
    captions: list[str],
    network: tuple[int, int],
    focal_px: float | None,
    protocol: Protocol,
    title: str,
    resize: str = "pad",
    channels: int = 3,
    is_told: bool = True,
) -> np.ndarray:
    """Draw image, depth, truth and error of a few samples, as they were compared.

    Args:
        infer: the network, as ``evaluate.predictions`` takes it.
        samples: one a row.
        captions: one for each.
        network: (width, height) of the network's input.
        focal_px: f_c, the canonical focal length in pixels, or None.
        protocol: truth that does not count is grey; depth is aligned and clamped by it.
        title: written on top.
        resize: how an image becomes the network's input.
        channels: of the network's input.
        is_told: whether a network of four is told the mounts that the samples know.

    Returns:
        (height, width, 3) uint8 BGR.
    """
    rows = []
    how = {"resize": resize, "channels": channels, "is_told": is_told}
    pairs = predictions(infer, samples, network, focal_px, **how)
    for (sample, prediction), caption in zip(pairs, captions, strict=True):
        truth_m = protocol.truth(sample.depth_m)
        truth_m[~np.isfinite(prediction.depth_m)] = 0.0
        depth_m = aligned(prediction, truth_m, protocol.align)[0].depth_m
        depth_m = np.clip(depth_m, NEAREST_M, protocol.cap_m)
        depth_m[np.isposinf(prediction.depth_m)] = np.inf  # the sky
        rows.append(
            OverviewRow(
                camera_bgr=cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR),
                depth_m=depth_m,
                truth_m=np.where(truth_m > 0, truth_m, np.float32(np.nan)),
                caption=caption,
            )
        )
    return draw_overview(rows, title)
