"""Steady depth: a network answers a little differently to every frame, even where nothing moves.

Two things flicker. The scale of the whole map jitters; a moving robot changes the depth as well, so
an average would lag it. Robots move smoothly and jitter does not, so the cumulated change of scale
goes through a filter that knows a velocity (``_ScaleFilter``). And each region flickers by itself,
which no factor mends: there log depth is averaged, pixel by pixel, but only while the picture
stands still (``_Reference``); a picture that has moved by a fraction of a pixel starts it anew, so
that no average lags a moving robot. A frame is never held back.
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
        """Forgets all frames; the next one passes as it is."""
        self._stamp_s: float | None = None
        self._last_log: np.ndarray | None = None

    def update(self, depth_m: np.ndarray, image: np.ndarray, stamp_s: float) -> np.ndarray:
        """The frame's depth, its scale and its static pixels steadied by the frames before.

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
        log_depth, seen = cv2.log(depth_m), np.isfinite(depth_m)
        elapsed_s = self._elapsed(log_depth, stamp_s)
        change = None if elapsed_s is None else _change_of_scale(log_depth - self._last_log)
        self._stamp_s, self._last_log = stamp_s, log_depth
        if change is None:
            self._scale = _ScaleFilter(
                min(_SCALE_SHARE * self.time_constant_s, _MAX_SCALE_CONSTANT_S)
            )
            self._start_average(log_depth, image, seen)
            return depth_m
        log_depth = log_depth + np.float32(self._scale.update(change, elapsed_s))
        moved = self._reference.moved(image)
        if moved is None:
            self._start_average(log_depth, image, seen)
        else:
            forget = 1.0 - math.exp(-elapsed_s / self.time_constant_s)
            self._average_in(log_depth, moved, forget)
        return cv2.exp(self._average)

    def _elapsed(self, log_depth: np.ndarray, stamp_s: float) -> float | None:
        """Seconds since the last frame; None where it says nothing about this one."""
        if self._last_log is None or self._last_log.shape != log_depth.shape:
            return None
        elapsed_s = stamp_s - self._stamp_s
        return elapsed_s if 0.0 < elapsed_s <= _MEMORY * self.time_constant_s else None

    def _start_average(self, log_depth: np.ndarray, image: np.ndarray, seen: np.ndarray) -> None:
        self._reference = _Reference(image, seen)
        self._average = log_depth
        self._frames = np.ones(log_depth.shape, np.float32)

    def _average_in(self, log_depth: np.ndarray, moved: np.ndarray, least_weight: float) -> None:
        """Takes a frame into the average, but for pixels whose picture or depth has changed."""
        innovation = log_depth - self._average
        unseen = np.isnan(innovation)
        innovation[unseen] = 0.0
        window = (_CHANGE_WINDOW, _CHANGE_WINDOW)
        moved |= unseen | (np.abs(cv2.blur(innovation, window)) > _CHANGED_LOG_DEPTH)
        self._frames += 1.0
        self._frames[moved] = 1.0
        # The mean of all frames at first, the exponential average once that is the quicker one.
        weight = np.maximum(1.0 / self._frames, np.float32(least_weight))
        average = self._average + weight * innovation
        self._average = np.where(moved, log_depth, average)


def _change_of_scale(difference: np.ndarray) -> float | None:
    """Median change of log depth between two frames; None for a scene cut or nothing seen."""
    seen = difference[::2, ::2]
    seen = seen[np.isfinite(seen)]
    if not seen.size:
        return None
    change = float(np.median(seen))
    structure = float(np.median(np.abs(seen - change)))
    return None if abs(change) > _CUT_SCALE or structure > _CUT_STRUCTURE else change


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
        """What to add to this frame's log depth.

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
    _MAX_SHIFT = 0.12  # pixels; sensor noise alone comes to 0.03
    _CHANGED = 0.15  # log brightness: a pixel that changes by more sees something else
    _DARK = 8.0  # added to grey levels before the logarithm: below it noise rules
    _SPREAD = np.ones((17, 17), np.uint8)  # an object's plain inside moves along with its rim

    def __init__(self, image: np.ndarray, seen: np.ndarray):
        self._log = self._log_brightness(image)
        slope_x = cv2.Sobel(self._log, cv2.CV_32F, 1, 0, scale=1 / 8)
        slope_y = cv2.Sobel(self._log, cv2.CV_32F, 0, 1, scale=1 / 8)
        gradient = cv2.magnitude(slope_x, slope_y)
        # The rim of the padding is no texture.
        inside = cv2.erode(seen.view(np.uint8), np.ones((5, 5), np.uint8)) > 0
        self._textured = np.flatnonzero((gradient > self._TEXTURE) & inside)
        self._gradient = gradient.ravel()[self._textured]
        self._seen = np.flatnonzero(seen)[::4]

    def moved(self, image: np.ndarray) -> np.ndarray | None:
        """(h, w) bool of pixels that have changed; None if the camera moved or might have."""
        if self._textured.size < self._MIN_TEXTURED * self._log.size:
            return None
        change = self._log_brightness(image) - self._log
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
    def _log_brightness(cls, image: np.ndarray) -> np.ndarray:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return cv2.log(grey + np.float32(cls._DARK))
