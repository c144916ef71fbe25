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

"""Pictures of what a costmap holds after one frame, and of how far a drive's depth errs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from depthrefl_ros.geometry.rectification import reprojected
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.overview import FAINT, GAP, MARGIN, VIEW_ASPECT, Canvas, view_legend
from depthrefl_ros.tools.top_down import NavigationView, draw_top_down

if TYPE_CHECKING:  # costmap imports this module
    from costmap import Scene

CAMERA_WIDTH = 400
VIEW_HEIGHT = 460
HEADING = 44
LEGEND_HEIGHT = 96


@dataclass(frozen=True)
class CostmapRow:
    """One frame.

    Attributes:
        camera_bgr: (H, W, 3) uint8.
        before: what an obstacle layer makes of every pixel of the depth.
        after: what it makes of points/marking and points/clearing.
    """

    camera_bgr: np.ndarray
    before: NavigationView
    after: NavigationView


def draw_costmaps(rows: list[CostmapRow]) -> np.ndarray:
    """Draw the camera's image and both costmaps of each frame, a legend below.

    Returns:
        (height, width, 3) uint8 BGR.
    """
    view_width = round(VIEW_HEIGHT * VIEW_ASPECT)
    columns = (
        MARGIN,
        MARGIN + CAMERA_WIDTH + 2 * GAP,
        MARGIN + CAMERA_WIDTH + view_width + 4 * GAP,
    )
    height = MARGIN + HEADING + len(rows) * (VIEW_HEIGHT + GAP) + LEGEND_HEIGHT
    canvas = Canvas(columns[-1] + view_width + MARGIN, height)
    headings = ("camera", "costmap of every pixel", "costmap of the node's clouds")
    for x, heading in zip(columns, headings, strict=True):
        canvas.text(heading, x, MARGIN + 18, size=16)
    y = MARGIN + HEADING
    for row in rows:
        aspect = row.camera_bgr.shape[0] / row.camera_bgr.shape[1]
        canvas.picture(row.camera_bgr, columns[0], y, CAMERA_WIDTH, round(CAMERA_WIDTH * aspect))
        for x, view in zip(columns[1:], (row.before, row.after), strict=True):
            canvas.picture(draw_top_down(view), x, y, view_width, VIEW_HEIGHT)
            marks, wrong = view.counts()
            canvas.label(f"{marks} cells marked, {wrong} wrong", x + 8, y + VIEW_HEIGHT - 12)
        y += VIEW_HEIGHT + GAP
    view_legend(canvas, columns[1], y + 8, has_truth=True)
    words = "cells of 0.05 m; wrong: more than 0.15 m from every true obstacle"
    canvas.text(words, columns[1], y + 68, 12, FAINT)
    return canvas.reduced()


def errors_picture(scenes: list[Scene], depths: list[np.ndarray], frames: list[int]) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 BGR: camera, error before and after, a row for each frame.

    Red is too far and blue too near, by half or more; green is right.

    Raises:
        ToolError: the drive has no such frame.
    """
    rows = []
    for frame in frames:
        if not 0 <= frame < len(scenes):
            raise ToolError(f"--frames is {frame}; the drive has frames 0 to {len(scenes) - 1}")
        scene = scenes[frame]
        camera = scene.network_camera
        true_m = reprojected(scene.truth_m, scene.camera, camera)
        row = [cv2.resize(scene.image_bgr, (camera.width, camera.height))]
        for depth_m in (scene.depth_m, depths[frame]):
            with np.errstate(divide="ignore", invalid="ignore"):
                share = 0.5 + 0.5 * np.log(depth_m / true_m) / math.log(1.5)
            known = np.isfinite(share) & (true_m > 0.0)
            share = np.where(known, np.clip(share, 0.0, 1.0), 0.5)
            row.append(cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_JET))
        rows.append(np.hstack(row))
    return np.vstack(rows)
