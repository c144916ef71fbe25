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

"""One factor that makes monocular depth metric, from what else the robot knows of distances.

Anchors compare a predicted distance with a true one; what they hand on are log ratios,
ln(true / predicted), of the depth *before* this correction. Their robust median is averaged over
time in log scale. An anchor that does not correct judges the one that does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from depthrefl_ros.settings import SettingError, check, setting

REFERENCE_DEPTH, REFERENCE_POINTS = "reference_depth", "reference_points"
RANGE, MOTION, GROUND = "range", "motion", "ground"
# In the order in which they are trusted.
ANCHORS = (REFERENCE_DEPTH, REFERENCE_POINTS, RANGE, MOTION, GROUND)
MIN_INLIERS = 20
CLAMP = (0.5, 2.0)
# Seconds by which a factor outlives its sensor. A floor may be out of sight for longer.
SENSOR_HELD_S = 30.0
_REJECT_MAD = 3.0
_SMALLEST_MAD = 1e-4  # ln; equal ratios have none, and rounding must not reject them
_REJECTIONS = 20


def robust_median(log_ratios: np.ndarray, min_inliers: int = MIN_INLIERS) -> float | None:
    """Return the median after repeatedly rejecting what lies beyond 3 median absolute deviations.

    Args:
        log_ratios: (n,) float; what is not finite is left out.
        min_inliers: fewer that are left are no measurement.

    Returns:
        The median of what is left, or None.
    """
    left = np.asarray(log_ratios, np.float64)
    left = left[np.isfinite(left)]
    for _ in range(_REJECTIONS):
        if len(left) < max(1, min_inliers):
            return None
        middle = np.median(left)
        deviation = np.abs(left - middle)
        keep = deviation <= _REJECT_MAD * max(float(np.median(deviation)), _SMALLEST_MAD)
        if keep.all():
            break
        left = left[keep]
    return float(middle) if len(left) >= min_inliers else None


@dataclass(frozen=True)
class ScaleSettings:
    """How anchors become a factor.

    Attributes:
        correct_with: names of the anchors that may correct, the most trusted first; with none
            the scale is only judged.
        time_constant_s: of the exponential average of the log scale, seconds; 0 for no average.
            A network's own scale wanders by a third within seconds as the view changes: a longer
            average lags behind (by the ground of the shipped recording, 2 s lose a third of what
            0.3 s gain).
        max_error: share by which the scale may be wrong before depth is no longer believed.

    Raises:
        ValueError: a value out of its range.
    """

    correct_with: tuple[str, ...] = ANCHORS
    time_constant_s: float = setting(
        0.3,
        "Time constant over which the scale correction is averaged. 0 turns averaging off.",
        name="scale_time_constant",
        limits=(0.0, 60.0),
    )
    max_error: float = setting(
        0.25,
        "Relative error of the scale beyond which marking, clearing and scan stop.",
        name="max_scale_error",
        limits=(0.01, 10.0),
    )

    def __post_init__(self) -> None:
        check(self)
        if not set(self.correct_with) <= set(ANCHORS):
            raise SettingError(f"correct_with is {self.correct_with}; known anchors are {ANCHORS}")


@dataclass(frozen=True)
class ScaleHealth:
    """Whether the scale may be believed.

    Attributes:
        ok: whether it may; if not, nothing is to be marked or cleared.
        reason: in words, also when it may.
        error: ln(true / corrected) as the judge has it; NaN when nothing measured.
        corrected_by: the anchor that corrects; None while none has measured.
        judged_by: the anchor that judges; None when nothing measured.
    """

    ok: bool
    reason: str
    error: float = math.nan
    corrected_by: str | None = None
    judged_by: str | None = None


class ScaleCorrection:
    """The factor that predicted depth is multiplied with, updated once a frame.

    The first measurement is taken over at once, further ones are averaged. A measurement that
    leaves the average by more than ``max_error`` is a jump: it does not enter the average, and
    depth is not believed meanwhile; when ``JUMP_UPDATES`` in a row agree, the average starts anew.
    Without a measurement the factor is held, and believed for as long as the sensor that told it
    is heard, and ``SENSOR_HELD_S`` longer.

    Attributes:
        settings: may be set between updates.
        scale_by: whose scale is judged where no anchor corrects, in words.
        factor: within ``CLAMP``; 1 before the first measurement.
        health: of the last update.
    """

    JUMP_UPDATES = 3
    RECOVERY_UPDATES = 3  # good ones in a row, before depth is believed again
    TAKE_OVER_S = 1.0

    def __init__(self, settings: ScaleSettings | None = None):
        self.settings = settings or ScaleSettings()
        self.scale_by = "the model"
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a backward jump of the clock."""
        self.factor = 1.0
        self.health = ScaleHealth(True, "no anchor has measured yet")
        self._average: float | None = None
        self._count = 0
        self._name: str | None = None
        self._updated_s = self._measured_s = self._heard_s = -math.inf
        self._jumps: deque[float] = deque(maxlen=self.JUMP_UPDATES)
        self._good = self.RECOVERY_UPDATES
        self._verdict = ""  # of the last measurement, in words

    def update(self, log_ratios: Mapping[str, np.ndarray], now_s: float) -> float:
        """Take one frame's anchors.

        Args:
            log_ratios: (n,) ln(true / predicted) by the anchor's name, of uncorrected depth;
                empty of a sensor that was heard but tells nothing, as of a ranger with nothing
                in range; missing where nothing was heard.
            now_s: the frame's time, seconds; a time before the last one's resets.

        Returns:
            ``factor``.

        Raises:
            ValueError: an anchor that is none of ``ANCHORS``.
        """
        unknown = set(log_ratios) - set(ANCHORS)
        if unknown:
            raise ValueError(f"unknown anchors {sorted(unknown)}; known are {ANCHORS}")
        may_not_correct = self._name is not None and self._name not in self.settings.correct_with
        if now_s < self._updated_s or may_not_correct:
            self.reset()
        self._updated_s = now_s
        measured = {}
        for name in ANCHORS:
            value = robust_median(log_ratios.get(name, ()))
            if value is not None:
                measured[name] = value
        if measured or self._name in log_ratios:
            self._heard_s = now_s
        corrector = self._corrector(measured)
        if corrector is not None:
            self._take(corrector, measured[corrector], now_s)
        self._judge(measured)
        return self.factor

    def _corrector(self, measured: Mapping[str, float]) -> str | None:
        """Return which anchor corrects this time; None to hold."""
        order = self.settings.correct_with
        best = next((name for name in order if name in measured), None)
        if best is None or best == self._name or self._name is None:
            return best
        is_more_trusted = order.index(best) < order.index(self._name)
        is_silent = self._updated_s - self._measured_s > self.TAKE_OVER_S
        return best if is_more_trusted or is_silent else None

    def _take(self, name: str, value: float, now_s: float) -> None:
        """Average one measurement in log scale."""
        if name != self._name:  # anchors differ among themselves; that is no jump of the scale
            self._name, self._average, self._count = name, None, 0
            self._jumps.clear()
        limit = math.log1p(self.settings.max_error)
        if self._average is None:
            self._average, self._count = value, 1
        elif abs(value - self._average) > limit:
            self._jumps.append(value)
            if len(self._jumps) == self.JUMP_UPDATES and np.ptp(self._jumps) < limit:
                self._average, self._count = float(np.median(self._jumps)), 1
                self._jumps.clear()
        else:
            self._jumps.clear()
            self._count += 1
            elapsed, constant = now_s - self._measured_s, self.settings.time_constant_s
            weight = 1.0 - math.exp(-elapsed / constant) if constant > 0 else 1.0
            # A plain mean until the exponential one has seen a time constant's worth.
            self._average += max(weight, 1.0 / self._count) * (value - self._average)
        self._measured_s = now_s
        self.factor = float(np.clip(math.exp(self._average), *CLAMP))

    def _judge(self, measured: Mapping[str, float]) -> None:
        """Set ``health`` from an anchor that does not correct, else from the raw measurement."""
        if not measured:
            held = "no anchor has measured yet"
            if self._name is not None:
                seconds = self._updated_s - self._measured_s
                held = f"no anchor measures; factor {self.factor:.3f} held for {seconds:.1f} s"
            silent_s = self._updated_s - self._heard_s
            if self._name not in (None, GROUND) and silent_s > SENSOR_HELD_S:
                self._good = 0
                self._verdict = f"nothing had come of {self._name} for {SENSOR_HELD_S:.0f} s"
                held += f" and no longer believed: nothing has come of {self._name}"
                self.health = ScaleHealth(False, held, math.nan, self._name, None)
                return
            if not self.health.ok:
                held += f"; at the last measurement {self._verdict}"
            self.health = ScaleHealth(self.health.ok, held, math.nan, self._name, None)
            return
        judge = next((name for name in measured if name != self._name), self._name)
        error = measured[judge] - math.log(self.factor)
        good = abs(error) <= math.log1p(self.settings.max_error)
        self._good = self._good + 1 if good else 0
        ok = self._good >= self.RECOVERY_UPDATES
        # Corrected by none, or by itself: then only jumps and the clamp can show.
        whose = (
            "its average" if judge == self._name else f"the scale by {self._name or self.scale_by}"
        )
        reason = (
            f"{judge} is {100 * math.expm1(abs(error)):.0f} % off {whose}, "
            f"{100 * self.settings.max_error:.0f} % are allowed"
        )
        if good and not ok:
            reason += f"; {self._good} of {self.RECOVERY_UPDATES} good measurements in a row"
        self._verdict = reason
        self.health = ScaleHealth(ok, reason, error, self._name, judge)
