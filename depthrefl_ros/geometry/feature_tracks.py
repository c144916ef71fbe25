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

"""Corners of a picture, followed from image to image.

Corners are those of Shi and Tomasi (1994), followed by Lucas and Kanade's method on pyramids
(Bouguet 2000), both as OpenCV has them.
"""

from __future__ import annotations

import cv2
import numpy as np

# Measured on rendered drives: more corners gain depth, worse ones cost some of it.
_MOST = 500
_QUALITY = 0.005  # of the best corner's
_APART_PX = 8  # corners of one another
WINDOW_PX = 13
_PYRAMID_LEVELS = 3
_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01)
_THERE_AND_BACK_PX = 0.3  # a corner that is followed and followed back must end where it began
_RIM_PX = 3  # a window that reaches over the rim sees something else every time
_FEW = 0.8  # of the most: fewer, and new ones are looked for


class FeatureTracks:
    """Corners that are followed from one grey image to the next.

    Attributes:
        pixels: (n, 2) float64 columns and rows in the last image.
    """

    def __init__(self) -> None:
        self.pixels = np.zeros((0, 2))
        self._last: np.ndarray | None = None

    def follow(self, grey: np.ndarray, expected: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
        """Follow the corners into the next image.

        Args:
            grey: (H, W) uint8, of the same size every time.
            expected: (n, 2) float columns and rows where the corners may be; near is enough.
            seen: (H, W) bool, where the image shows the surroundings; None for everywhere.

        Returns:
            (n,) bool, which of the corners were found again; ``pixels`` has only these.
        """
        last, self._last = self._last, grey
        if last is None or not len(self.pixels):
            self.pixels = np.zeros((0, 2))
            return np.zeros(len(expected), bool)
        start, guess = self.pixels.astype(np.float32), expected.astype(np.float32)
        there, found = _flow(last, grey, start, guess)
        back, found_back = _flow(grey, last, there, start)
        near = np.linalg.norm(back - start, axis=1) < _THERE_AND_BACK_PX
        kept = found & found_back & near & _is_inside(there, seen, grey.shape)
        self.pixels = there[kept].astype(np.float64)
        return kept

    def renew(self, seen: np.ndarray | None) -> int:
        """Look for new corners where there are none, if there are few; they come last.

        Args:
            seen: as for ``follow``.

        Returns:
            How many came.
        """
        wanted = _MOST - len(self.pixels)
        if self._last is None or wanted < (1.0 - _FEW) * _MOST:
            return 0
        free = np.full(self._last.shape, 255, np.uint8)
        if seen is not None:
            free[~seen] = 0
        for column, row in np.rint(self.pixels).astype(int).tolist():
            cv2.circle(free, (column, row), _APART_PX, 0, -1)
        found = cv2.goodFeaturesToTrack(
            self._last, wanted, _QUALITY, _APART_PX, mask=free, blockSize=5
        )
        if found is None:
            return 0
        self.pixels = np.vstack([self.pixels, found[:, 0]])
        return len(found)


def _flow(
    source: np.ndarray, target: np.ndarray, start: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where corners (n, 2) float32 of one image are in another, and which were found."""
    there, status, _ = cv2.calcOpticalFlowPyrLK(
        source,
        target,
        start,
        guess.copy(),
        winSize=(WINDOW_PX, WINDOW_PX),
        maxLevel=_PYRAMID_LEVELS,
        criteria=_STOP,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return there, (status[:, 0] > 0) & np.isfinite(there).all(axis=1)


def _is_inside(pixels: np.ndarray, seen: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return which pixels (n, 2) are away from the rim, where the image shows something."""
    height, width = shape
    limits = np.array([width - 1 - _RIM_PX, height - 1 - _RIM_PX])
    inside = ((pixels >= _RIM_PX) & (pixels <= limits)).all(axis=1)
    if seen is not None:
        columns, rows = np.where(inside[:, None], np.rint(pixels), 0).astype(int).T
        inside &= seen[rows, columns]
    return inside
