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

"""One picture of what the node sees: camera, depth, truth, error, and the view from above."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from depthrefl_ros.geometry.preview import UNKNOWN_BGR, colour_depth
from depthrefl_ros.tools.top_down import (
    AHEAD_M,
    ASIDE_M,
    BEHIND_M,
    LEGEND,
    LEGEND_WITH_TRUTH,
    NavigationView,
    draw_top_down,
)

SCALE = 2  # drawn larger and then reduced, so that the lettering is smooth
TILE_WIDTH = 400
MOVING_WIDTH = 1100  # pixels of the moving picture
MOVING_MS = 250  # of each of its frames
MOVING_QUALITY = 60
MARGIN = 18
GAP = 8
HEADING = 40
LEGEND_HEIGHT = 66
BAR_HEIGHT = 14
PAPER = (255, 255, 255)
INK = (40, 40, 40)
FAINT = (120, 120, 120)
WARNING = (30, 30, 190)
FONT = cv2.FONT_HERSHEY_DUPLEX
SMALL = 12  # height of capitals on pictures and legends
MIN_VIEW = 300  # height of the view from above, pixels
LEGEND_WIDTH = 354
VIEW_ASPECT = 2 * ASIDE_M / (AHEAD_M + BEHIND_M)
MAX_ERROR = 0.5  # of the true distance; where the colours and the legend of the error end
TICKS_M = (0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 80)
# Where distances are written into the pictures, as shares of width and height.
PROBES = ((0.2, 0.62), (0.5, 0.45), (0.8, 0.62))


@dataclass(frozen=True)
class OverviewRow:
    """One frame.

    Attributes:
        camera_bgr: (H, W, 3) uint8.
        depth_m: (H, W) float32 metres, NaN and infinite as the node publishes them.
        truth_m: (H, W) float32 metres, NaN where unknown; None without truth.
        caption: written under the camera's picture.
        navigation: what Nav2 got of it; None where nothing was made for it.
    """

    camera_bgr: np.ndarray
    depth_m: np.ndarray
    truth_m: np.ndarray | None
    caption: str
    navigation: NavigationView | None = None


def draw_overview(
    rows: list[OverviewRow],
    title: str,
    warning: str = "",
    scale_m: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw one row a frame, and legends in metres and percent below.

    Args:
        rows: at least one; truth and error have columns where any row has truth, the view from
            above where any has one.
        title: written on top.
        warning: written below the title, in red.
        scale_m: nearest and farthest metres of the colours; by default ``depth_range`` of the rows.

    Returns:
        (height, width, 3) uint8 BGR.
    """
    near, far = scale_m or depth_range(rows)
    has_truth = any(row.truth_m is not None for row in rows)
    has_view = any(row.navigation is not None for row in rows)
    headings = ["camera", "depth"] + (["truth", "error"] if has_truth else [])
    headings += ["from above, as Nav2 gets it"] if has_view else []
    columns = [MARGIN + index * (TILE_WIDTH + GAP) for index in range(len(headings))]
    tile_heights = [round(TILE_WIDTH * row.depth_m.shape[0] / row.depth_m.shape[1]) for row in rows]
    row_heights = [max(height, MIN_VIEW if has_view else 0) for height in tile_heights]
    top = MARGIN + 2 * HEADING
    height = top + sum(row_heights) + GAP * (len(rows) - 1) + LEGEND_HEIGHT + MARGIN
    view_width = max(round(max(row_heights) * VIEW_ASPECT), LEGEND_WIDTH)
    width = columns[-1] + (view_width if has_view else TILE_WIDTH) + MARGIN
    canvas = Canvas(width, height)
    canvas.text(title, MARGIN, MARGIN + 18, size=17)
    canvas.text(warning, MARGIN, MARGIN + 42, size=14, colour=WARNING)
    for heading, x in zip(headings, columns, strict=True):
        canvas.text(heading, x, top - 10, size=14)
    y = top
    for row, tile_height, row_height in zip(rows, tile_heights, row_heights, strict=True):
        for tile, x in zip(_tiles(row, near, far, has_truth), columns, strict=False):
            canvas.picture(tile, x, y, TILE_WIDTH, tile_height)
        canvas.label(row.caption, columns[0] + 8, y + tile_height - 10)
        for image, x in zip((row.depth_m, row.truth_m), columns[1:], strict=False):
            if image is not None:
                _write_distances(canvas, image, x, y, tile_height)
        if row.navigation is not None:
            view = draw_top_down(row.navigation)
            canvas.picture(view, columns[-1], y, round(row_height * VIEW_ASPECT), row_height)
            canvas.label(_marks(row.navigation), columns[-1] + 8, y + row_height - 10)
        y += row_height + GAP
    y += 8
    bar_width = columns[2] + TILE_WIDTH - columns[1] if has_truth else TILE_WIDTH
    _depth_legend(canvas, columns[1], y, bar_width, near, far)
    if has_truth:
        _error_legend(canvas, columns[3], y, TILE_WIDTH)
    if has_view:
        views = [row.navigation for row in rows if row.navigation is not None]
        has_truth = any(view.truth is not None for view in views)
        view_legend(canvas, columns[-1], y, has_truth)
    return canvas.reduced()


def write_moving_overview(path: Path, rows: list[OverviewRow], title: str, warning: str) -> bool:
    """Write an animated WebP that shows one row after the other, over and over.

    Args:
        path: of the file.
        rows: at least one; all have the same columns.
        title: as of ``draw_overview``.
        warning: likewise.

    Returns:
        Whether it was written: OpenCV writes animations from 4.11 on.
    """
    if not hasattr(cv2, "imwriteanimation"):
        return False
    scale_m = depth_range(rows)
    frames = [draw_overview([row], title, warning, scale_m) for row in rows]
    size = (MOVING_WIDTH, round(frames[0].shape[0] * MOVING_WIDTH / frames[0].shape[1]))
    animation = cv2.Animation()
    animation.frames = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in frames]
    animation.durations = np.full(len(frames), MOVING_MS, np.int32)
    return cv2.imwriteanimation(str(path), animation, [cv2.IMWRITE_WEBP_QUALITY, MOVING_QUALITY])


def depth_range(rows: list[OverviewRow]) -> tuple[float, float]:
    """Return nearest and farthest metres of the colours: most of what the pictures hold."""
    images = [image for row in rows for image in (row.depth_m, row.truth_m) if image is not None]
    values = np.concatenate([image[np.isfinite(image) & (image > 0)] for image in images])
    if values.size == 0:
        return 0.5, 10.0
    near, far = np.percentile(values, (0.5, 99.5))
    # A flat picture would make a scale without length.
    return max(0.1, float(near) * 0.95), max(float(far), float(near) * 2.0, 0.2)


def colour_error(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Colour (d - t) / t: white is right, red too near, blue too far, grey not compared.

    Args:
        prediction: (H, W) float32 metres.
        truth: (H, W) float32 metres, NaN or 0 where unknown.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        error = (prediction - truth) / truth
    picture = _diverging(np.clip(np.nan_to_num(error), -MAX_ERROR, MAX_ERROR) / MAX_ERROR)
    picture[~np.isfinite(error)] = UNKNOWN_BGR
    return picture


def _diverging(share: np.ndarray) -> np.ndarray:
    """Return colours (B, G, R): -1 red, 0 white, 1 blue; straight lines between."""
    stops = np.array(
        [[38, 24, 178], [110, 130, 240], [250, 250, 250], [230, 165, 90], [150, 60, 20]]
    )
    places = (-1.0, -0.5, 0.0, 0.5, 1.0)
    return np.stack(
        [np.interp(share, places, stops[:, channel]) for channel in range(3)], axis=-1
    ).astype(np.uint8)


def _tiles(row: OverviewRow, near: float, far: float, has_truth: bool) -> list[np.ndarray]:
    tiles = [row.camera_bgr, colour_depth(row.depth_m, near, far)]
    if has_truth and row.truth_m is not None:
        tiles += [colour_depth(row.truth_m, near, far), colour_error(row.depth_m, row.truth_m)]
    return tiles


def _write_distances(canvas: Canvas, image: np.ndarray, x: int, y: int, tile_height: int) -> None:
    height, width = image.shape
    for across, down in PROBES:
        metres = float(image[int(down * height), int(across * width)])
        text = f"{metres:.2f} m" if np.isfinite(metres) else "?"
        canvas.probe(text, x + across * TILE_WIDTH, y + down * tile_height)


def _depth_legend(canvas: Canvas, x: int, y: int, width: int, near: float, far: float) -> None:
    metres = near * (far / near) ** np.linspace(0.0, 1.0, width, dtype=np.float32)
    ticks, last = {}, -100.0
    for tick in TICKS_M:
        place = np.log(tick / near) / np.log(far / near)
        if 0.0 <= place <= 1.0 and (place - last) * width > 46:  # no label runs into the next
            ticks[place], last = f"{tick:g} m", place
    canvas.bar(colour_depth(metres[None], near, far), x, y, width, ticks)
    canvas.text("distance along the optical axis; grey: not believed", x, y + 54, SMALL, FAINT)


def _error_legend(canvas: Canvas, x: int, y: int, width: int) -> None:
    colours = _diverging(np.linspace(-1.0, 1.0, width)[None])
    ticks = {0.0: "-50 %", 0.25: "-25 %", 0.5: "0", 0.75: "+25 %", 1.0: "+50 %"}
    canvas.bar(colours, x, y, width, ticks)
    canvas.text("(depth - truth) / truth: red too near, blue too far", x, y + 54, SMALL, FAINT)


def _marks(view: NavigationView) -> str:
    marks, wrong = view.counts()
    return f"{marks} marks" if view.truth is None else f"{marks} marks, {wrong} wrong"


def view_legend(canvas: Canvas, x: int, y: int, has_truth: bool) -> None:
    """Draw what the colours of the view from above mean, in two lines from (x, y) on."""
    for index, (text, colour) in enumerate(LEGEND_WITH_TRUTH if has_truth else LEGEND):
        left, top = x + 118 * (index % 3), y + 24 * (index // 3)
        canvas.picture(np.full((1, 1, 3), colour, np.uint8), left, top, 14, 14)
        canvas.text(text, left + 20, top + 12, SMALL)


class Canvas:
    """A white sheet in units of final pixels, kept at twice their number."""

    def __init__(self, width: int, height: int):
        self._sheet = np.full((height * SCALE, width * SCALE, 3), PAPER, np.uint8)

    def reduced(self) -> np.ndarray:
        """Return the sheet at its final size."""
        height, width = self._sheet.shape[:2]
        size = (width // SCALE, height // SCALE)
        return cv2.resize(self._sheet, size, interpolation=cv2.INTER_AREA)

    def picture(self, image: np.ndarray, x: int, y: int, width: int, height: int) -> None:
        """Put a (H, W, 3) uint8 picture into a box."""
        size = (width * SCALE, height * SCALE)
        shrinks = image.shape[1] > size[0]
        fitted = cv2.resize(
            image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
        )
        self._sheet[y * SCALE : y * SCALE + size[1], x * SCALE : x * SCALE + size[0]] = fitted

    def text(
        self, text: str, x: float, y: float, size: float, colour: tuple[int, ...] = INK
    ) -> None:
        """Write with the baseline's left end at (x, y), capitals ``size`` pixels high or so."""
        self._put(text, x, y, size, colour, thickness=2)

    def label(self, text: str, x: float, y: float) -> None:
        """Write white on dark edges, for use on pictures."""
        self._put(text, x, y, SMALL, (0, 0, 0), thickness=7)
        self._put(text, x, y, SMALL, (255, 255, 255), thickness=2)

    def probe(self, text: str, x: float, y: float) -> None:
        """Draw a ring around a point, and write what was measured there."""
        centre = (round(x * SCALE), round(y * SCALE))
        cv2.circle(self._sheet, centre, 4 * SCALE, (0, 0, 0), 3 * SCALE, cv2.LINE_AA)
        cv2.circle(self._sheet, centre, 4 * SCALE, (255, 255, 255), SCALE, cv2.LINE_AA)
        self.label(text, x - self._width(text) / 2, y - 10)

    def bar(self, colours: np.ndarray, x: int, y: int, width: int, ticks: dict[float, str]) -> None:
        """Draw a scale: (1, W, 3) uint8 colours, and text at shares of its width, kept on it."""
        self.picture(colours, x, y, width, BAR_HEIGHT)
        bottom = y + BAR_HEIGHT
        for share, text in ticks.items():
            place = x + share * width
            ends = ((round(place * SCALE), round(row * SCALE)) for row in (bottom, bottom + 4))
            cv2.line(self._sheet, *ends, INK, SCALE)
            text_width = self._width(text)
            left = min(max(place - text_width / 2, x), x + width - text_width)
            self.text(text, left, bottom + 18, SMALL)

    def _put(
        self, text: str, x: float, y: float, size: float, colour: tuple[int, ...], thickness: int
    ) -> None:
        origin = (round(x * SCALE), round(y * SCALE))
        cv2.putText(
            self._sheet, text, origin, FONT, size * SCALE / 30.0, colour, thickness, cv2.LINE_AA
        )

    def _width(self, text: str) -> float:
        """Return how wide a text of the size SMALL is."""
        return cv2.getTextSize(text, FONT, SMALL * SCALE / 30.0, 2)[0][0] / SCALE
