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

"""Which cells of the floor points occupy, and how well that agrees with the truth.

A plain histogram, no costmap: a cell is marked when a point lies above it within the height band
and the range, as Nav2's obstacle layer marks the cells of one cloud.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.cloud import fill_cloud
from depthrefl_ros.geometry.obstacles import ObstacleSettings
from depthrefl_ros.geometry.pose import Pose

CELL_M = 0.05
TOLERANCE_M = 0.15
RANGE_M = 5.0  # over the floor; half the width of the map in config/nav2_costmap.yaml
BAND = ObstacleSettings()  # its heights


def all_points(depth_m: np.ndarray, camera: Camera, base_from_camera: Pose) -> np.ndarray:
    """Return every pixel as (n, 3) float32, as depth_image_proc has it; depth 0 is unknown."""
    cloud = np.empty((*depth_m.shape, 4), np.float32)
    known = np.where(depth_m > 0, depth_m, np.float32(np.nan))
    fill_cloud(known, None, camera, cloud)
    points = cloud[..., :3].reshape(-1, 3)
    return base_from_camera.apply(points[np.isfinite(points[:, 2])])


def in_view(points: np.ndarray, range_m: float = RANGE_M) -> np.ndarray:
    """Return (n,) bool of the points (n, 3) in the base frame that lie in band and range."""
    heights = points[:, 2]
    in_band = (heights >= BAND.min_height_m) & (heights <= BAND.max_height_m)
    return in_band & (np.hypot(points[:, 0], points[:, 1]) <= range_m)


def occupancy(points: np.ndarray, range_m: float = RANGE_M) -> np.ndarray:
    """Return (n, 2 n) bool: cells of CELL_M ahead of the base with a point in band and range."""
    half = math.ceil((RANGE_M + 2 * TOLERANCE_M) / CELL_M)
    grid = np.zeros((half, 2 * half), bool)
    cells = np.floor(points[in_view(points, range_m), :2] / CELL_M).astype(np.int64)
    cells = cells[cells[:, 0] >= 0]
    grid[cells[:, 0], cells[:, 1] + half] = True
    return grid


def near(grid: np.ndarray) -> np.ndarray:
    """Return cells whose centre is within TOLERANCE_M of the centre of an occupied one.

    Args:
        grid: (rows, columns) bool, as the cells that are returned.
    """
    if not grid.any():
        return np.zeros_like(grid)
    distance = cv2.distanceTransform((~grid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance * CELL_M <= TOLERANCE_M + 1e-6


def right_cells(truth: np.ndarray) -> np.ndarray:
    """Return cells in which a mark is right by the truth (n, 3) in the base frame."""
    # A mark at the end of the range may be right by a surface just beyond it.
    return near(occupancy(truth, RANGE_M + TOLERANCE_M))


@dataclass
class Tally:
    """Cells counted over frames: marks, false ones, true ones, those of them that were found.

    Attributes:
        mirrored: true cells that would be found if the robot's left were its right: marks that are
            spread widely find much by chance.
    """

    marks: int = 0
    false: int = 0
    true: int = 0
    found: int = 0
    mirrored: int = 0

    def add(self, points: np.ndarray, truth: np.ndarray) -> None:
        """Count one frame.

        Args:
            points: (n, 3) metres in the base frame, that are marked.
            truth: (m, 3) metres in the base frame, all of them.
        """
        marked, true = occupancy(points), occupancy(truth)
        self.marks += int(marked.sum())
        self.false += int((marked & ~right_cells(truth)).sum())
        self.true += int(true.sum())
        found = near(marked)
        self.found += int((true & found).sum())
        self.mirrored += int((true[:, ::-1] & found).sum())

    @property
    def recall(self) -> float:
        """Share of the true cells that were found; NaN without any."""
        return self.found / self.true if self.true else math.nan

    @property
    def by_chance(self) -> float:
        """Share of the true cells that would be found in the mirrored scene; NaN without any."""
        return self.mirrored / self.true if self.true else math.nan
