"""Which pixels may be believed: depth edges, confidence and range (REP-117, REP-118)."""

from __future__ import annotations

import cv2
import numpy as np

_NEIGHBOURHOOD = np.ones((3, 3), np.uint8)


def smooth(depth: np.ndarray) -> np.ndarray:
    """3x3 median of (h, w) float32 depth: removes single outliers and keeps steps."""
    return cv2.medianBlur(depth, 3)


def depth_edges(depth: np.ndarray, ratio: float) -> np.ndarray:
    """Pixels at a jump of depth, where a pixel may hang between two surfaces.

    A pixel is at an edge when the farthest of its 3x3 neighbours is more than ``ratio`` times as
    far as the nearest one. Ratios, not differences: a metric depth errs in proportion to itself.

    Args:
        depth: (h, w) float32, metres, finite.
        ratio: above 1.

    Returns:
        (h, w) bool.
    """
    farthest = cv2.dilate(depth, _NEIGHBOURHOOD)
    nearest = cv2.erode(depth, _NEIGHBOURHOOD)
    return farthest > ratio * nearest


def apply_range(depth: np.ndarray, min_range_m: float, max_range_m: float) -> None:
    """Marks in place what is out of range: +Inf beyond, -Inf nearer (REP-117).

    Args:
        depth: (h, w) float32, metres; NaN stays NaN.
        min_range_m: metres.
        max_range_m: metres.
    """
    depth[depth > max_range_m] = np.inf
    depth[depth < min_range_m] = -np.inf
