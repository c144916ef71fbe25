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

"""Steady depth: a network answers a little differently to every frame, even where nothing moves.

Two things flicker. The scale of the whole map jitters; a moving robot changes the depth as well, so
an average would lag it. Robots move smoothly and jitter does not, so the cumulated change of scale
goes through a filter that knows a velocity (``_ScaleFilter``). Of a camera that moves the same
pixel sees another thing in every frame, so there the change is measured where the two pictures
correspond (``_change_along_the_way``). Regions flicker by themselves, too; no factor corrects that:
there log depth is averaged, pixel by pixel, but only while the picture stands still
(``_Reference``); a picture that has moved by a fraction of a pixel starts it anew, so that no
average lags a moving robot. A frame is never held back.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

# The filter of the moving scale is faster than the average of what stands still, and never slower
# than this: a robot that sets off at velocity v is lagged by up to v times this over e.
_SCALE_SHARE = 1 / 3
_MAX_SCALE_CONSTANT_S = 0.17
# A change of log depth beyond these, over the whole map or in its structure, is another scene.
_CUT_SCALE = 0.35
_CUT_STRUCTURE = 0.30
# A region whose log depth differs by more than this from its average has changed.
_CHANGED_LOG_DEPTH = 0.12
_CHANGE_WINDOW = 15  # pixels
# So has one that differs by more than this, to the same side in so many frames: what comes nearer
# shows so, while flicker changes sides.
_DRIFTED_LOG_DEPTH = 0.03
_DRIFT_FRAMES = 4
_DRIFT_WINDOW = 7
# Places whose way from picture to picture is looked for, across and down, and how many are enough.
_POINTS = (16, 12)
_MIN_CORRESPONDING = 24
_FLOW = {
    "winSize": (21, 21),
    "maxLevel": 3,
    "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 8, 0.03),
    "minEigThreshold": 1e-3,
}
_STILL_PX = 0.5  # a picture that moves by more from frame to frame is of a camera that moves
_FITS = 6
_RIDGE = 0.01
# The constant of the fit must be known to this, ln; a network's noise of 5 % makes 0.02.
_MAX_CONSTANT_ERROR = 0.05
_SMALLEST_CHANGE = 1e-3  # of log depth: what differs by less weighs the same
# A longer silence than this many time constants says nothing about the next frame.
_MEMORY = 5.0


class DepthStabiliser:
    """Takes the flicker out of a sequence of depth maps; not thread-safe.

    Args:
        time_constant_s: of the average where the picture stands still, seconds.

    Raises:
        ValueError: the time constant is not positive and finite.
    """

    def __init__(self, time_constant_s: float):
        if not 0.0 < time_constant_s < math.inf:
            raise ValueError(f"time_constant_s is {time_constant_s}; a positive time is needed")
        self.time_constant_s = time_constant_s
        self.reset()

    def reset(self) -> None:
        """Forget all frames; the next one passes as it is."""
        self._stamp_s: float | None = None
        self._last_m: np.ndarray | None = None
        self._last_grey: np.ndarray | None = None
        self._reference: _Reference | None = None

    def update(self, depth_m: np.ndarray, image: np.ndarray, stamp_s: float) -> np.ndarray:
        """Return the frame's depth, its scale and its static pixels steadied by the frames before.

        A scene cut, a clock that stands still, goes back or leaps, and another size start anew.

        Args:
            depth_m: (h, w) float32 metres before the gates; positive, NaN where nothing was seen.
            image: (h, w, 3) uint8, what the network was shown.
            stamp_s: when the image was taken, seconds.

        Returns:
            (h, w) float32 metres, NaN where ``depth_m`` is.

        Raises:
            ValueError: depth and image differ in size.
        """
        if image.shape[:2] != depth_m.shape:
            raise ValueError(f"image is {image.shape} but depth {depth_m.shape}; sizes must agree")
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        elapsed_s = self._elapsed(depth_m, stamp_s)
        change = None if elapsed_s is None else _change_of_scale(self._last_m, depth_m)
        last_m, last_grey = self._last_m, self._last_grey
        self._stamp_s, self._last_m, self._last_grey = stamp_s, depth_m, grey
        if change is None:
            self._scale = self._new_filter()
            self._start_average(depth_m, 0.0, grey)
            return depth_m
        moved = None if self._reference is None else self._reference.moved(grey)
        is_moving = False
        if moved is None:
            change, shift_px = _change_along_the_way(last_grey, grey, last_m, depth_m)
            is_moving = shift_px > _STILL_PX
        correction = 0.0
        if change is None:
            self._scale = self._new_filter()
        else:
            correction = self._scale.update(change, elapsed_s)
            if abs(correction) > _CUT_SCALE:  # no jitter
                self._scale, correction = self._new_filter(), 0.0
        if is_moving:  # no picture will stand still against this one
            self._reference = None
        elif moved is None:
            self._start_average(depth_m, correction, grey)
        if moved is None:
            return depth_m * np.float32(math.exp(correction))
        forget = 1.0 - math.exp(-elapsed_s / self.time_constant_s)
        self._average_in(_log(depth_m) + np.float32(correction), moved, forget)
        return np.where(_is_known(depth_m), np.exp(self._average), depth_m)

    def _new_filter(self) -> _ScaleFilter:
        return _ScaleFilter(min(_SCALE_SHARE * self.time_constant_s, _MAX_SCALE_CONSTANT_S))

    def _elapsed(self, depth_m: np.ndarray, stamp_s: float) -> float | None:
        """Return seconds since the last frame; None where it says nothing about this one."""
        if self._last_m is None or self._last_m.shape != depth_m.shape:
            return None
        elapsed_s = stamp_s - self._stamp_s
        return elapsed_s if 0.0 < elapsed_s <= _MEMORY * self.time_constant_s else None

    def _start_average(self, depth_m: np.ndarray, correction: float, grey: np.ndarray) -> None:
        self._reference = _Reference(grey, _is_known(depth_m))
        self._average = _log(depth_m) + np.float32(correction)
        self._frames = np.ones(depth_m.shape, np.float32)
        # For how many frames the depth has been farther (positive) or nearer than its average.
        self._aside = np.zeros(depth_m.shape, np.float32)

    def _average_in(self, log_depth: np.ndarray, moved: np.ndarray, least_weight: float) -> None:
        """Take a frame into the average, but for pixels whose picture or depth has changed."""
        innovation = log_depth - self._average
        unseen = np.isnan(innovation)
        innovation[unseen] = 0.0
        window = (_CHANGE_WINDOW, _CHANGE_WINDOW)
        moved |= unseen | (np.abs(cv2.blur(innovation, window)) > _CHANGED_LOG_DEPTH)
        moved |= self._has_drifted(innovation)
        self._frames += 1.0
        self._frames[moved] = 1.0
        # The mean of all frames at first, the exponential average once that is the quicker one.
        weight = np.maximum(1.0 / self._frames, np.float32(least_weight))
        average = self._average + weight * innovation
        self._average = np.where(moved, log_depth, average)

    def _has_drifted(self, innovation: np.ndarray) -> np.ndarray:
        """Return (h, w) bool of pixels that have left their average to one side for some frames."""
        mean = cv2.blur(innovation, (_DRIFT_WINDOW, _DRIFT_WINDOW))
        side = np.sign(mean) * (np.abs(mean) > _DRIFTED_LOG_DEPTH)
        self._aside = np.where(side * self._aside >= 0.0, self._aside, 0.0) * np.abs(side) + side
        drifted = np.abs(self._aside) >= _DRIFT_FRAMES
        self._aside[drifted] = 0.0
        return drifted


def _is_known(depth_m: np.ndarray) -> np.ndarray:
    return np.isfinite(depth_m) & (depth_m > 0)


def _log(depth_m: np.ndarray) -> np.ndarray:
    """Log depth, NaN where no depth is known."""
    return np.log(np.where(_is_known(depth_m), depth_m, np.float32(np.nan)))


def _change_of_scale(last_m: np.ndarray, depth_m: np.ndarray) -> float | None:
    """Return the median change of log depth between frames; None for a cut or nothing seen."""
    # Thousands of pixels tell a median well enough.
    difference = _log(depth_m[::4, ::4]) - _log(last_m[::4, ::4])
    seen = difference[np.isfinite(difference)]
    if not seen.size:
        return None
    change = float(np.median(seen))
    structure = float(np.median(np.abs(seen - change)))
    return None if abs(change) > _CUT_SCALE or structure > _CUT_STRUCTURE else change


def _change_along_the_way(
    last_grey: np.ndarray, grey: np.ndarray, last_m: np.ndarray, depth_m: np.ndarray
) -> tuple[float | None, float]:
    """Change of log depth of the things that both pictures show, less what motion makes of it.

    Of a point at the depth z that the camera moves towards by t and turns about its y and x axes by
    small angles, log depth changes by -t / z and by shares that are linear in the pixel's column
    and row. A least absolute deviation fit (iteratively reweighted) of all of it and a constant
    leaves the constant. Where all is equally far away constant and approach look the same; a
    ridge gives it to the constant. The constant is that of the picture's middle at infinity: where
    no thing is far, or none is but at the picture's rim, it may be anything, and is not used.

    Args:
        last_grey: (h, w) uint8, the picture before.
        grey: (h, w) uint8, the picture.
        last_m: (h, w) float32 metres of the picture before, NaN where unknown.
        depth_m: (h, w) float32 metres of the picture.

    Returns:
        The constant, None where what corresponds does not tell it; and by how many pixels the
        picture has moved (median), 0 where too little corresponds.
    """
    height, width = grey.shape
    half = (width // 2, height // 2)  # half the size tells as much and takes a third of the time
    small = [cv2.resize(one, half, interpolation=cv2.INTER_AREA) for one in (last_grey, grey)]
    columns, rows = np.meshgrid(
        (np.arange(_POINTS[0]) + 0.5) * half[0] / _POINTS[0],
        (np.arange(_POINTS[1]) + 0.5) * half[1] / _POINTS[1],
    )
    start = np.stack([columns.ravel(), rows.ravel()], axis=-1).astype(np.float32)
    end, found, _ = cv2.calcOpticalFlowPyrLK(*small, start[:, None], None, **_FLOW)
    end = end[:, 0]
    before, after = _log(_sampled(last_m, 2 * start + 0.5)), _log(_sampled(depth_m, 2 * end + 0.5))
    change = after - before
    good = (found[:, 0] > 0) & np.isfinite(change)
    count = np.count_nonzero(good)
    if count < _MIN_CORRESPONDING:
        return None, 0.0
    shift_px = 2.0 * float(np.median(np.linalg.norm((end - start)[good], axis=1)))
    change = change[good].astype(np.float64)
    place = (start + end)[good] / half[0] / 2 - (0.5, 0.5 * height / width)
    nearness = np.exp(-(before + after)[good] / 2)
    terms = np.column_stack([np.ones(count), place, nearness / np.median(nearness)])
    fit = np.array([np.median(change), 0.0, 0.0, 0.0])
    ridge = np.diag([0.0, 0.0, 0.0, _RIDGE])
    for _ in range(_FITS):
        weight = 1.0 / np.maximum(np.abs(change - terms @ fit), _SMALLEST_CHANGE)
        weighted = terms.T * weight
        fit = np.linalg.lstsq(
            weighted @ terms + weight.sum() * ridge, weighted @ change, rcond=None
        )[0]
    constant = float(fit[0])
    scatter = float(np.median(np.abs(change - terms @ fit)))
    leverage = np.linalg.inv(terms.T @ terms + count * ridge)[0, 0]
    is_told = (
        abs(constant) <= _CUT_SCALE
        and abs(constant - np.median(change)) <= _CUT_SCALE
        and scatter * math.sqrt(leverage) <= _MAX_CONSTANT_ERROR
    )
    return (constant if is_told else None), shift_px


def _sampled(plane: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the plane (h, w) at places (n, 2) of columns and rows; NaN outside, near NaN."""
    return cv2.remap(plane, at[:, None], None, cv2.INTER_LINEAR, borderValue=math.nan)[:, 0]


class _ScaleFilter:
    """Follows the cumulated log scale with a velocity of its own, so that steady motion never lags.

    The critically damped g-h filter (E. Brookner, Tracking and Kalman Filtering Made Easy, 1.2.6),
    g = 1 - theta^2, h = (1 - theta)^2. Its gap to what it follows is the jitter, and, under a
    constant acceleration a per frame^2, a theta^2 / (1 - theta)^2.

    Args:
        time_constant_s: theta is exp(-elapsed / time constant), seconds.
    """

    def __init__(self, time_constant_s: float) -> None:
        self._time_constant_s = time_constant_s
        self._raw = self._position = self._velocity = 0.0

    def update(self, change: float, elapsed_s: float) -> float:
        """Return what to add to this frame's log depth.

        Args:
            change: of log scale since the last frame.
            elapsed_s: since the last frame, seconds.
        """
        theta = math.exp(-elapsed_s / self._time_constant_s)
        self._raw += change
        predicted = self._position + self._velocity * elapsed_s
        gap = self._raw - predicted
        self._position = predicted + (1.0 - theta**2) * gap
        self._velocity += (1.0 - theta) ** 2 * gap / elapsed_s
        return self._position - self._raw


class _Reference:
    """The picture at which an average began, to tell when and where it has moved since.

    On a static texture a shift by s pixels changes a pixel by s times its gradient, so change over
    gradient measures motion in pixels (the brightness constancy that optical flow rests on).
    Against noise it is measured where the gradient is strong. Logarithms of brightness are
    compared less their median, which takes exposure out.
    """

    _TEXTURE = 0.05  # gradient of log brightness per pixel from which motion is measurable
    _MIN_TEXTURED = 0.01  # share of the picture; with less nobody can tell whether it moved
    _SAMPLES = 5000  # pixels that a median is taken of
    _MAX_SHIFT = 0.12  # pixels; sensor noise alone comes to 0.03
    _CHANGED = 0.15  # log brightness: a pixel that changes by more sees something else
    _DARK = 8.0  # added to grey levels before the logarithm: below it noise rules
    _SPREAD = np.ones((17, 17), np.uint8)  # an object's plain inside moves along with its rim

    def __init__(self, grey: np.ndarray, seen: np.ndarray):
        self._log = self._log_brightness(grey)
        slope_x = cv2.Sobel(self._log, cv2.CV_32F, 1, 0, scale=1 / 8)
        slope_y = cv2.Sobel(self._log, cv2.CV_32F, 0, 1, scale=1 / 8)
        gradient = cv2.magnitude(slope_x, slope_y)
        # The rim of the padding is no texture.
        inside = cv2.erode(seen.view(np.uint8), np.ones((5, 5), np.uint8)) > 0
        self._textured = np.flatnonzero((gradient > self._TEXTURE) & inside)
        self._is_textured = self._textured.size >= self._MIN_TEXTURED * self._log.size
        self._textured = self._textured[:: max(1, self._textured.size // self._SAMPLES)]
        self._gradient = gradient.ravel()[self._textured]
        pixels = np.flatnonzero(seen)
        self._seen = pixels[:: max(1, pixels.size // self._SAMPLES)]

    def moved(self, grey: np.ndarray) -> np.ndarray | None:
        """Return (h, w) bool of pixels that changed; None if the camera moved or might have."""
        if not self._is_textured:
            return None
        change = self._log_brightness(grey) - self._log
        change -= np.float32(np.median(change.ravel()[self._seen]))
        change = cv2.blur(change, (3, 3))
        shift = np.abs(change.ravel()[self._textured]) / self._gradient
        if np.median(shift) > self._MAX_SHIFT:
            return None
        changed = np.abs(change) > self._CHANGED
        # What has come to stay is the reference from now on.
        self._log[changed] += change[changed]
        return cv2.dilate(changed.view(np.uint8), self._SPREAD).view(bool)

    @classmethod
    def _log_brightness(cls, grey: np.ndarray) -> np.ndarray:
        levels = np.log(np.arange(256, dtype=np.float32) + np.float32(cls._DARK))
        return cv2.LUT(grey, levels)
