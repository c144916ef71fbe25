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

"""What Nav2 gets, from above: marks right and wrong, floor that is cleared, a metre grid."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from depthrefl_ros.tools.occupancy import CELL_M, RANGE_M, occupancy, right_cells

AHEAD_M, ASIDE_M = RANGE_M, RANGE_M / 2  # what the panel shows, from the base frame's origin
BEHIND_M = 0.8  # room for the number of marks
PIXELS_PER_M = 120
PAPER, GRID, LETTERS = (250, 250, 250), (222, 222, 222), (120, 120, 120)
CLEARED = (214, 240, 214)
TRUE_OBSTACLE = (175, 175, 175)
RIGHT, WRONG, UNJUDGED = (120, 60, 0), (40, 40, 220), (120, 60, 0)
ROBOT = (60, 60, 60)
LEGEND = (
    ("robot", ROBOT),
    ("cleared floor", CLEARED),
    ("marks", UNJUDGED),
)
LEGEND_WITH_TRUTH = (
    ("robot", ROBOT),
    ("cleared floor", CLEARED),
    ("marks, right", RIGHT),
    ("marks, wrong", WRONG),
    ("true obstacles", TRUE_OBSTACLE),
)


@dataclass(frozen=True)
class NavigationView:
    """One frame's clouds for Nav2, in the base frame.

    Attributes:
        marking: (n, 3) float metres, of ``points/marking``.
        clearing: (n, 3) float metres, of ``points/clearing``: ends of rays known to be free.
        camera_xy: (2,) metres, where the rays begin.
        truth: (n, 3) float metres, every true point; None without truth.
    """

    marking: np.ndarray
    clearing: np.ndarray
    camera_xy: np.ndarray
    truth: np.ndarray | None = None

    def counts(self) -> tuple[int, int]:
        """Return the number of marked cells, and of those that are wrong (0 without truth).

        A mark is wrong when the truth marks no cell within ``occupancy.TOLERANCE_M``.
        """
        marked = occupancy(self.marking)
        if self.truth is None:
            return int(marked.sum()), 0
        return int(marked.sum()), int((marked & ~right_cells(self.truth)).sum())


def draw_top_down(view: NavigationView) -> np.ndarray:
    """Draw one frame from above, forward up, left to the left.

    Returns:
        (height, width, 3) uint8 BGR; as wide as high but for the strip behind the robot.
    """
    height = round((AHEAD_M + BEHIND_M) * PIXELS_PER_M)
    panel = np.full((height, round(2 * ASIDE_M * PIXELS_PER_M), 3), PAPER, np.uint8)
    for end in view.clearing[:, :2]:
        cv2.line(panel, _pixel(view.camera_xy), _pixel(end), CLEARED, 3)
    _draw_grid(panel)
    if view.truth is not None:
        _fill_cells(panel, occupancy(view.truth), TRUE_OBSTACLE)
    marked = occupancy(view.marking)
    if view.truth is None:
        _fill_cells(panel, marked, UNJUDGED)
    else:
        is_right = right_cells(view.truth)
        _fill_cells(panel, marked & is_right, RIGHT)
        _fill_cells(panel, marked & ~is_right, WRONG)
    corners = np.array([_pixel(xy) for xy in ((0.18, 0.0), (-0.14, 0.13), (-0.14, -0.13))])
    cv2.fillPoly(panel, [corners], ROBOT, cv2.LINE_AA)
    return panel


def _pixel(xy: np.ndarray | tuple[float, float]) -> tuple[int, int]:
    """Return column and row of x forward, y left, metres; far points are brought near the panel."""
    x, y = np.clip(xy, -100.0, 100.0)
    return round((ASIDE_M - y) * PIXELS_PER_M), round((AHEAD_M - x) * PIXELS_PER_M)


def _draw_grid(panel: np.ndarray) -> None:
    for metres in range(int(AHEAD_M) + 1):
        left, right = _pixel((metres, ASIDE_M)), _pixel((metres, -ASIDE_M))
        cv2.line(panel, left, right, GRID, 2)
        place = (left[0] + 8, left[1] - 8 if metres < AHEAD_M else left[1] + 30)
        cv2.putText(
            panel, f"{metres} m", place, cv2.FONT_HERSHEY_DUPLEX, 0.8, LETTERS, 1, cv2.LINE_AA
        )
    for metres in range(-int(ASIDE_M), int(ASIDE_M) + 1):
        cv2.line(panel, _pixel((AHEAD_M, metres)), _pixel((-BEHIND_M, metres)), GRID, 2)


def _fill_cells(panel: np.ndarray, cells: np.ndarray, colour: tuple[int, int, int]) -> None:
    half = cells.shape[0]
    for row, column in np.argwhere(cells):
        near, left = row * CELL_M, (column - half + 1) * CELL_M
        corner, opposite = _pixel((near + CELL_M, left)), _pixel((near, left - CELL_M))
        if 0 <= opposite[0] and corner[0] < panel.shape[1] and 0 <= opposite[1]:
            cv2.rectangle(panel, corner, (opposite[0] - 1, opposite[1] - 1), colour, cv2.FILLED)
