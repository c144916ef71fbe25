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

"""Clouds before and after the gates, from above and from the side, points that float in red."""

from __future__ import annotations

import cv2
import numpy as np

from depthrefl_ros.tools.occupancy import BAND, CELL_M, in_view, right_cells
from depthrefl_ros.tools.overview import FAINT, GAP, MARGIN, Canvas

# A panel shows this much of the base frame, metres: ahead, to either side, up.
AHEAD_M, ASIDE_M, UP_M = 4.5, 2.25, 2.0
PANEL = 300  # pixels for AHEAD_M
SIDE_HEIGHT = round(PANEL * UP_M / AHEAD_M)
HEADING = 34
CAPTION = 24

PAPER, GRID = (250, 250, 250), (225, 225, 225)
TRUE_CELLS, RIGHT, FALSE, OUT_OF_BAND = (
    (190, 190, 190),
    (150, 80, 20),
    (40, 40, 220),
    (200, 205, 200),
)


def draw_clouds(
    image_bgr: np.ndarray, truth: np.ndarray, rows: dict[str, tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Draws the camera's image, and for each row its cloud before and after.

    Args:
        image_bgr: (H, W, 3) uint8.
        truth: (n, 3) metres, all points of the true depth in the base frame.
        rows: caption -> points before and after, (n, 3) metres in the base frame.

    Returns:
        (height, width, 3) uint8 BGR.
    """
    image_height = round(PANEL * image_bgr.shape[0] / image_bgr.shape[1])
    row_height = CAPTION + PANEL + GAP + SIDE_HEIGHT + 2 * GAP
    width = 2 * MARGIN + 3 * PANEL + 2 * GAP
    canvas = Canvas(width, MARGIN + HEADING + len(rows) * row_height + MARGIN)
    columns = [MARGIN + index * (PANEL + GAP) for index in range(3)]
    for x, heading in zip(columns, ("camera", "every pixel", "points/marking"), strict=True):
        canvas.text(heading, x, MARGIN + 14, size=14)
    y = MARGIN + HEADING
    canvas.picture(image_bgr, columns[0], y + CAPTION, PANEL, image_height)
    _legend(canvas, columns[0], y + CAPTION + image_height + 28)
    for caption, clouds in rows.items():
        canvas.text(caption, columns[1], y + 14, size=14)
        top = y + CAPTION
        for x, points in zip(columns[1:], clouds, strict=True):
            canvas.picture(from_above(points, truth), x, top, PANEL, PANEL)
            canvas.picture(from_side(points, truth), x, top + PANEL + GAP, PANEL, SIDE_HEIGHT)
        y += row_height
    return canvas.reduced()


def _legend(canvas: Canvas, x: int, y: int) -> None:
    lines = (
        ("red: more than 0.15 m from every true", FALSE),
        ("obstacle; a costmap would mark it", FALSE),
        ("blue: right", RIGHT),
        ("grey: true obstacles; faint: floor and", FAINT),
        (f"ceiling, outside {BAND.min_height_m:g} to {BAND.max_height_m:g} m", FAINT),
        ("above: from above, camera at the bottom,", FAINT),
        (f"{AHEAD_M:g} m ahead; below: from the side", FAINT),
    )
    for index, (text, colour) in enumerate(lines):
        canvas.text(text, x, y + 20 * index, size=12, colour=colour)


def is_false(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(n,) bool of the points whose mark would be false; those out of band or range are not."""
    right = right_cells(truth)
    half = right.shape[0]
    cells = np.floor(points[:, :2] / CELL_M).astype(np.int64)
    ahead = np.clip(cells[:, 0], 0, half - 1)
    aside = np.clip(cells[:, 1] + half, 0, 2 * half - 1)
    return in_view(points) & ~right[ahead, aside]


def from_above(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(PANEL, PANEL, 3) doubled: ahead is up, left is left."""
    sheet = _sheet(2 * PANEL, 2 * PANEL)
    scale = 2 * PANEL / AHEAD_M

    def places(some: np.ndarray) -> np.ndarray:
        return np.stack([(ASIDE_M - some[:, 1]) * scale, (AHEAD_M - some[:, 0]) * scale], axis=-1)

    _dots(sheet, places(truth[in_view(truth)]), TRUE_CELLS, 3)
    _cloud(sheet, places, points, truth)
    return sheet


def from_side(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(SIDE_HEIGHT, PANEL, 3) doubled: ahead is right, the floor at the bottom."""
    sheet = _sheet(2 * PANEL, 2 * SIDE_HEIGHT)
    scale = 2 * PANEL / AHEAD_M

    def places(some: np.ndarray) -> np.ndarray:
        return np.stack([some[:, 0] * scale, (UP_M - 0.15 - some[:, 2]) * scale], axis=-1)

    _dots(sheet, places(truth[in_view(truth)]), TRUE_CELLS, 2)
    _cloud(sheet, places, points, truth)
    return sheet


def _sheet(width: int, height: int) -> np.ndarray:
    """Paper with a line every metre."""
    sheet = np.full((height, width, 3), PAPER, np.uint8)
    step = 2 * PANEL / AHEAD_M
    for place in np.arange(step, max(width, height), step).astype(int):
        cv2.line(sheet, (place, 0), (place, height), GRID, 1)
        cv2.line(sheet, (0, height - place), (width, height - place), GRID, 1)
    return sheet


def _cloud(sheet: np.ndarray, places, points: np.ndarray, truth: np.ndarray) -> None:
    """Return the points in their colours, those that matter last and on top."""
    false, inside = is_false(points, truth), in_view(points)
    _dots(sheet, places(points[~inside]), OUT_OF_BAND, 1)
    _dots(sheet, places(points[inside & ~false]), RIGHT, 1)
    _dots(sheet, places(points[false]), FALSE, 1)


def _dots(sheet: np.ndarray, places: np.ndarray, colour: tuple[int, ...], radius: int) -> None:
    """Return a square dot for each place (n, 2), pixels."""
    columns, rows = np.rint(places).astype(np.int64).T
    height, width = sheet.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    seen = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    mask[rows[seen], columns[seen]] = 1
    sheet[cv2.dilate(mask, np.ones((radius + 1, radius + 1), np.uint8)) > 0] = colour
