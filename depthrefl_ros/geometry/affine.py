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

"""Scale and shift that make inverse relative depth metric: 1/z = a r + b.

A relative network tells inverse depth up to these two numbers, and they change from scene to scene.
Anchors give pairs: the relative value of a pixel beside its true distance. With a residual of
e = z (a r + b) - 1, which is the relative error of the depth, near and far count alike. Of one
frame a robust fit is made (RANSAC, Fischler and Bolles 1981, then iteratively reweighted least
squares with Tukey's biweight); the fits are averaged over time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from depthrefl_ros.geometry.inverse_anchors import Pairs
from depthrefl_ros.geometry.scale import MIN_INLIERS, ScaleSettings

# The most trusted first. A ranger comes last: it sees one distance at a time, so that only a robot
# that drives towards something learns both numbers from it.
ORDER = ("reference_depth", "reference_points", "motion", "ground", "range")
MIN_SPAN = 0.15  # of what the image spans in r; less does not tell the scale from the shift
HELD_S = 3.0  # without a fit, for this long; the numbers are a scene's, not the network's
AGREEING_FITS = 3
# Of a ranger, whose readings are of many frames: where they scatter more, the network's own scale
# and shift have changed meanwhile, and no fit means anything.
_RANGE_SCATTER = 0.03
_MIN_INLIER_SHARE = 0.5
_HYPOTHESES = 200
_SCORED = 400  # pairs at which hypotheses are compared
# Residual from which on a pair is an outlier to a hypothesis. A network errs by a third here and
# there: a small value prefers the line through one wall, however wrong all else is then.
_TRUNCATED = 0.5
_REFINEMENTS = 8
_BIWEIGHT = 4.685  # standard deviations at which a pair weighs nothing (95 % efficient)
_SMALLEST_SCATTER = 0.003
_OUTLIER_SCATTERS = 4.0
_FARTHEST_M = 1e4  # beyond every range, and finite: the gates make +Inf of it


class Affine(NamedTuple):
    """The two numbers of 1/z = scale r + shift, both 1/metres."""

    scale: float
    shift: float

    def depth_m(self, relative: np.ndarray) -> np.ndarray:
        """Return depth of inverse relative depth, any shape, float32 metres; NaN stays NaN.

        What is as far as the horizon or beyond it is 10 km away: out of every range.
        """
        inverse = relative * np.float32(self.scale) + np.float32(self.shift)
        return np.reciprocal(np.maximum(inverse, np.float32(1.0 / _FARTHEST_M)))

    def inverse_at(self, relative: np.ndarray) -> np.ndarray:
        """Return 1/z (1/m) at relative values (n,), at least that of the farthest depth."""
        return np.maximum(self.scale * relative + self.shift, 1.0 / _FARTHEST_M)


@dataclass(frozen=True, eq=False)
class AffineFit:
    """What the pairs of one frame say.

    Attributes:
        affine: scale and shift.
        inliers: pairs that agree.
        pairs: all of them.
        scatter: median relative error of depth over the inliers.
        probes: (3,) relative values at the 5, 50 and 95 percent points of the inliers.
    """

    affine: Affine
    inliers: int
    pairs: int
    scatter: float
    probes: np.ndarray


class FitError(ValueError):
    """Why pairs do not tell scale and shift, in words."""


def fit_affine(pairs: Pairs, span: float, max_scatter: float) -> AffineFit:
    """Fit scale and shift to one frame's pairs.

    Args:
        pairs: relative values and true distances.
        span: of the image's relative values.
        max_scatter: median relative error of depth up to which a fit is one.

    Raises:
        FitError: too few pairs, too few that agree, or all at nearly the same distance.
    """
    count = len(pairs.relative)
    if count < MIN_INLIERS:
        raise FitError(f"{count} measurements in the image, {MIN_INLIERS} are needed")
    # Networks differ in units by thousands; so the fit is made at the origin with a unit spread.
    middle, spread = float(np.median(pairs.relative)), float(np.ptp(pairs.relative))
    if not spread >= MIN_SPAN * span > 0.0:
        raise FitError(_too_alike(spread, span))
    x, true_m = (pairs.relative - middle) / spread, pairs.true_m
    slope, offset = _hypothesis(x, true_m)
    slope, offset = _refined(x, true_m, slope, offset)
    residual = np.abs(true_m * (slope * x + offset) - 1.0)
    scatter = float(np.median(residual))
    inliers = residual <= _OUTLIER_SCATTERS * 1.4826 * max(scatter, _SMALLEST_SCATTER)
    kept = int(inliers.sum())
    scatter = float(np.median(residual[inliers])) if kept else math.inf
    if slope <= 0.0 or scatter > max_scatter:
        raise FitError(
            f"relative depth and {count} true distances do not go together: the best fit errs by "
            f"{100.0 * min(scatter, 9.99):.0f} % (median)"
        )
    if kept < max(MIN_INLIERS, _MIN_INLIER_SHARE * count):
        raise FitError(f"only {kept} of {count} measurements agree on one scale and shift")
    probes = np.quantile(pairs.relative[inliers], (0.05, 0.5, 0.95))
    if probes[2] - probes[0] < MIN_SPAN * span:
        raise FitError(_too_alike(float(probes[2] - probes[0]), span))
    affine = Affine(slope / spread, offset - slope * middle / spread)
    return AffineFit(affine, kept, count, scatter, probes)


def _too_alike(found: float, span: float) -> str:
    share = 100.0 * found / span if span > 0.0 else 0.0
    return (
        f"the distances that are known span {share:.0f} % of what the image spans, "
        f"{100.0 * MIN_SPAN:.0f} % are needed to tell the scale from the shift"
    )


def _hypothesis(x: np.ndarray, true_m: np.ndarray) -> tuple[float, float]:
    """Return the line through two pairs that the others are nearest to, each within half."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, len(x), (2, _HYPOTHESES))
    apart = x[first] - x[second]
    first, second, apart = (part[np.abs(apart) > 0.02] for part in (first, second, apart))
    if not len(apart):
        return 0.0, 0.0
    slope = (1.0 / true_m[first] - 1.0 / true_m[second]) / apart
    offset = 1.0 / true_m[first] - slope * x[first]
    some = rng.integers(0, len(x), min(_SCORED, 4 * len(x)))
    error = np.abs(true_m[some, None] * (x[some, None] * slope + offset) - 1.0)
    cost = np.minimum(error, _TRUNCATED).sum(axis=0) + np.where(slope > 0.0, 0.0, math.inf)
    best = int(np.argmin(cost))
    return float(slope[best]), float(offset[best])


def _refined(x: np.ndarray, true_m: np.ndarray, slope: float, offset: float) -> tuple[float, float]:
    """Solve e = z (a x + b) - 1 by least squares, far residuals weighing less and less."""
    design = np.stack([true_m * x, true_m], axis=1)
    for _ in range(_REFINEMENTS):
        residual = design @ (slope, offset) - 1.0
        scale = 1.4826 * max(float(np.median(np.abs(residual))), _SMALLEST_SCATTER)
        weight = np.maximum(1.0 - (residual / (_BIWEIGHT * scale)) ** 2, 0.0) ** 2
        weighted = design * weight[:, None]
        try:
            slope, offset = np.linalg.solve(weighted.T @ design, weighted.sum(axis=0))
        except np.linalg.LinAlgError:
            break
    return float(slope), float(offset)


@dataclass(frozen=True)
class AffineHealth:
    """Whether there is a scale and shift that may be believed.

    Attributes:
        ok: there is one, and the newest fit agrees with it.
        reason: in words, also when all is well.
        corrected_by: the anchor that it comes from, or None.
    """

    ok: bool
    reason: str
    corrected_by: str | None = None


class AffineCorrection:
    """Scale and shift over time, updated once a frame.

    ``AGREEING_FITS`` fits in a row that agree begin an average. A fit that leaves it by more than
    ``max_error`` is a jump and does not enter; as many jumps that agree among themselves begin
    anew. Without a fit the average is held for ``HELD_S`` and is then lost.

    Attributes:
        settings: may be set between updates.
        health: of the last update.
    """

    TAKE_OVER_S = 1.0

    def __init__(self, settings: ScaleSettings | None = None):
        self.settings = settings or ScaleSettings()
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a backward jump of the clock."""
        self._missing = AffineHealth(False, "no anchor has measured scale and shift yet")
        self.health = self._missing
        self._average: Affine | None = None
        self._name: str | None = None
        self._count = 0
        self._updated_s = self._measured_s = -math.inf
        self._candidate_s = -math.inf
        self._candidate = ""  # the anchor of the fits that may begin an average
        self._candidates: deque[AffineFit] = deque(maxlen=AGREEING_FITS)

    def update(
        self, pairs: Mapping[str, Pairs], span: float, now_s: float, problems: dict[str, str]
    ) -> Affine | None:
        """Take one frame's anchors.

        Args:
            pairs: by the anchor's name; anchors that did not measure may be missing.
            span: of the image's relative values.
            now_s: the frame's time, seconds; a time before the last one's resets.
            problems: gets, by the anchor's name, why it does not tell scale and shift.

        Returns:
            The average, or None while there is none.
        """
        if now_s < self._updated_s or (self._name and self._name not in self.settings.correct_with):
            self.reset()
        self._updated_s = now_s
        fit = None
        for name in ORDER:
            if name in pairs and name in self.settings.correct_with and self._may_correct(name):
                try:
                    scatter = self.settings.max_error
                    scatter = min(scatter, _RANGE_SCATTER) if name == "range" else scatter
                    fit = fit_affine(pairs[name], span, scatter)
                    break
                except FitError as error:
                    problems[name] = f"{name} cannot tell scale and shift: {error}"
        if fit is None:
            self._hold()
        else:
            self._take(name, fit)
        return self._average

    def _may_correct(self, name: str) -> bool:
        """Tell whether an anchor may take over: a less trusted one waits till the other stops."""
        if self._name is None or ORDER.index(name) <= ORDER.index(self._name):
            return True
        return self._updated_s - self._measured_s > self.TAKE_OVER_S

    def _hold(self) -> None:
        seconds = self._updated_s - self._measured_s
        if self._average is None:
            if self._updated_s - self._candidate_s > HELD_S:
                self._candidates.clear()
            self.health = self._missing
        elif seconds > HELD_S:
            name = self._name
            self.reset()
            self.health = self._missing = AffineHealth(
                False, f"scale and shift by {name} are lost: none measured for {HELD_S:g} s"
            )
        else:
            reason = f"no anchor measures; scale and shift held for {seconds:.1f} s"
            self.health = AffineHealth(self.health.ok, reason, self._name)

    def _take(self, name: str, fit: AffineFit) -> None:
        limit = math.log1p(self.settings.max_error)
        if name != self._candidate:  # anchors differ among themselves
            self._candidate = name
            self._candidates.clear()
        takes_over = name != self._name
        agrees = not takes_over and _difference(fit, self._average) <= limit
        if agrees:
            self._candidates.clear()
            self._count += 1
            self._average = self._averaged(fit.affine, self._updated_s - self._measured_s)
            self._measured_s = self._updated_s
        else:
            if self._candidates and _difference(fit, self._candidates[-1].affine) > limit:
                self._candidates.clear()
            self._candidates.append(fit)
            self._candidate_s = self._updated_s
            if len(self._candidates) == AGREEING_FITS:
                self._begin(name)
                agrees = True
        if self._average is None:
            reason = f"{len(self._candidates)} of {AGREEING_FITS} fits by {name} that agree"
            self.health = AffineHealth(False, reason)
        elif agrees:
            scale, shift = self._average
            self.health = AffineHealth(
                True,
                f"1/z = {scale:.4g} r {shift:+.4g} by {name}: {fit.inliers} of {fit.pairs} "
                f"measurements agree within {100.0 * fit.scatter:.1f} % (median)",
                name,
            )
        elif takes_over or self._updated_s - self._measured_s > HELD_S:
            self._hold()
        else:
            self.health = AffineHealth(
                False,
                f"the newest fit by {name} is more than {100.0 * self.settings.max_error:.0f} % "
                "off its average",
                name,
            )

    def _averaged(self, affine: Affine, elapsed_s: float) -> Affine:
        constant_s = self.settings.time_constant_s
        weight = 1.0 - math.exp(-elapsed_s / constant_s) if constant_s > 0.0 else 1.0
        weight = max(weight, 1.0 / self._count)  # a plain mean at first
        # 1/z is linear in both numbers: their mean is the mean of what the fits predict.
        return _mean([self._average, affine], [1.0 - weight, weight])

    def _begin(self, name: str) -> None:
        self._average = _mean([one.affine for one in self._candidates])
        self._name, self._count = name, len(self._candidates)
        self._measured_s = self._updated_s
        self._candidates.clear()


def _mean(affines: list[Affine], weights: list[float] | None = None) -> Affine:
    return Affine(*map(float, np.average(affines, axis=0, weights=weights)))


def _difference(fit: AffineFit, other: Affine) -> float:
    """Return the largest ln(z / z') between a fit and another one where the fit was measured."""
    mine, theirs = (one.inverse_at(fit.probes) for one in (fit.affine, other))
    return float(np.abs(np.log(mine / theirs)).max())
