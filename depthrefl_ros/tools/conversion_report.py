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

"""How a converted network does here: beside ours in a picture, and on the travel exam."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml

from depthrefl_ros.engine.base import Engine
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.frames import DepthFrame
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.preview import colour_depth, depth_preview

_HEADING = 24  # pixels over each picture
_WITHIN = 1.25


@dataclass(frozen=True)
class ExamFigures:
    """Means of per-image values over the travel exam, without alignment.

    Attributes:
        images: how many.
        abs_rel: of |depth - truth| / truth, NaN where no image has any depth.
        delta1: share of pixels within a factor of 1.25.
        seen: share of the pixels with truth that have a depth: not sky, and within the input.
    """

    images: int
    abs_rel: float
    delta1: float
    seen: float

    def __str__(self) -> str:
        words = f"AbsRel {self.abs_rel:.3f}, {self.delta1:.0%} within 25 % of the truth"
        return words if self.seen > 0.995 else f"{words}, of the {self.seen:.0%} that have a depth"


def exam_figures(engine: Engine, bundle: Bundle, exam: Path) -> ExamFigures:
    """Hold a metric network against the travel exam's exact depth, through the estimator.

    Args:
        engine: that runs the bundle.
        bundle: with ``depth``.
        exam: folder with ``rgb/``, ``depth/`` and ``intrinsics.yaml``.

    Raises:
        OSError: the folder is not whole.
    """
    estimator = DepthEstimator(engine, bundle)
    cameras = yaml.safe_load((exam / "intrinsics.yaml").read_text("utf-8"))["images"]
    rows = []
    for name, values in cameras.items():
        image = cv2.imread(str(exam / "rgb" / f"{name}.jpg"))
        truth = cv2.imread(str(exam / "depth" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        if image is None or truth is None:
            raise OSError(f"{exam} lacks rgb/{name}.jpg or depth/{name}.png")
        found = estimator.estimate(image[..., ::-1], Camera.pinhole(**values)).ungated_m
        if found.shape != truth.shape:
            found = cv2.resize(found, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
        known = truth > 0
        truth_m, found = truth[known] / np.float32(1000.0), found[known]
        finite = np.isfinite(found) & (found > 0)  # the sky is infinitely far
        if not finite.any():
            rows.append((np.nan, np.nan, 0.0))
            continue
        ratio = found[finite] / truth_m[finite]
        close = np.maximum(ratio, 1.0 / ratio) < _WITHIN
        rows.append((np.abs(ratio - 1.0).mean(), close.mean(), finite.mean()))
    error, close, seen = np.transpose(rows)
    if not seen.any():
        return ExamFigures(len(rows), np.nan, np.nan, 0.0)
    return ExamFigures(len(rows), *(float(np.nanmean(one)) for one in (error, close, seen)))


def draw_comparison(frames: dict[str, DepthFrame], source: np.ndarray) -> np.ndarray:
    """Return the camera's picture and the depth of several networks beside each other.

    Args:
        frames: by what stands over each; a frame without metres shows its relative depth.
        source: (H, W, 3) uint8 RGB.

    Returns:
        (H + 24, width, 3) uint8 BGR.
    """
    tiles = {"camera": source[..., ::-1]}
    for name, frame in frames.items():
        depth_m = frame.ungated_m
        if not np.isfinite(depth_m).any():
            # Nearness without a unit: its inverse, from the nearest to ten times as far.
            nearness = frame.relative / np.nanmax(frame.relative)
            tiles[f"{name} (relative)"] = colour_depth(1.0 / np.clip(nearness, 0.1, 1.0), 1.0, 10.0)
            continue
        known = depth_m[np.isfinite(depth_m)]
        tiles[name] = depth_preview(depth_m, float(known.min()), float(known.max()))
    height = max(len(tile) for tile in tiles.values())
    drawn = []
    for name, tile in tiles.items():
        tile = cv2.resize(tile, (round(tile.shape[1] * height / len(tile)), height))
        head = np.full((_HEADING, tile.shape[1], 3), 24, np.uint8)
        place, white = (6, _HEADING - 8), (255, 255, 255)
        cv2.putText(head, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, white, 1, cv2.LINE_AA)
        drawn.append(np.vstack([head, tile]))
    return np.hstack(drawn)
