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

"""Scale and shift of inverse depth: one robust fit, and the average over time."""

import math

import numpy as np
import pytest

from depthrefl_ros.geometry.affine import (
    AGREEING_FITS,
    HELD_S,
    Affine,
    AffineCorrection,
    FitError,
    fit_affine,
)
from depthrefl_ros.geometry.inverse_anchors import Pairs
from depthrefl_ros.geometry.scale import ScaleSettings

TRUE = Affine(0.004, -0.05)


def pairs(affine=TRUE, count=200, near_m=0.8, far_m=6.0, noise=0.0, wrong=0.0, seed=0) -> Pairs:
    """Pairs of a network with this scale and shift; a share of the distances is a third."""
    rng = np.random.default_rng(seed)
    true_m = np.exp(rng.uniform(math.log(near_m), math.log(far_m), count))
    relative = (1.0 / (true_m * np.exp(rng.normal(0, noise, count))) - affine.shift) / affine.scale
    true_m[: int(wrong * count)] /= 3.0
    return Pairs(relative, true_m)


def span_of(found: Pairs) -> float:
    return float(np.ptp(found.relative))


def test_depth_of_scale_and_shift():
    depth = TRUE.depth_m(np.float32([137.5, 62.5, 12.5, 0.0, np.nan]))
    assert depth.dtype == np.float32
    assert depth[:2] == pytest.approx([2.0, 5.0], rel=1e-5)
    assert depth[2:4] == pytest.approx([1e4, 1e4], rel=1e-3)  # at the horizon and beyond it
    assert math.isnan(depth[4])


@pytest.mark.parametrize("affine", [TRUE, Affine(500.0, 0.03), Affine(1e-4, -2.0)])
def test_exact_pairs_give_scale_and_shift_whatever_their_units(affine):
    found = pairs(affine)
    fit = fit_affine(found, span_of(found), 0.25)
    assert fit.affine == pytest.approx(affine, rel=1e-6)
    assert (fit.inliers, fit.pairs) == (200, 200) and fit.scatter < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_a_wall_over_most_of_the_image_is_not_all(seed):
    """A network's depth of one wall wavers: a line that is flat there errs anywhere else."""
    rng, wall = np.random.default_rng(seed), 600
    near_m = np.exp(rng.uniform(math.log(0.6), math.log(2.5), 400))
    true_m = np.concatenate([rng.uniform(2.95, 3.05, wall), near_m])
    errors = np.concatenate([rng.normal(0, 0.1, wall), rng.normal(0, 0.2, 400)])
    found = Pairs((np.exp(-errors) / true_m - TRUE.shift) / TRUE.scale, true_m)
    fit = fit_affine(found, span_of(found), 0.25)
    own = np.abs(TRUE.depth_m(found.relative) / true_m - 1.0).mean()
    assert np.abs(fit.affine.depth_m(found.relative) / true_m - 1.0).mean() < own + 0.02


@pytest.mark.parametrize("wrong", [0.1, 0.4])
def test_wrong_distances_are_left_out(wrong):
    found = pairs(noise=0.02, wrong=wrong)
    fit = fit_affine(found, span_of(found), 0.25)
    relative = pairs(far_m=5.0).relative
    error = fit.affine.depth_m(relative) / TRUE.depth_m(relative) - 1.0
    assert np.abs(error).max() < 0.02
    assert fit.inliers == pytest.approx(200 * (1 - wrong), abs=10)
    assert fit.scatter == pytest.approx(0.0135, abs=0.003)  # 0.6745 of the deviation


@pytest.mark.parametrize(
    "found, complaint",
    [
        (pairs(count=19), "19 measurements in the image, 20 are needed"),
        (pairs(near_m=2.0, far_m=2.1), "span 2 % of what the image spans, 15 % are needed"),
        (pairs(Affine(-0.004, 2.0)), "do not go together"),  # larger is farther
        (pairs(noise=1.0), "do not go together|agree on one scale"),
    ],
)
def test_why_pairs_do_not_tell(found, complaint):
    span = span_of(pairs())
    with pytest.raises(FitError, match=complaint):
        fit_affine(found, span, 0.25)


def test_distances_that_are_alike_but_for_some_wrong_ones_tell_nothing():
    alike = pairs(near_m=2.0, far_m=2.1, count=100)
    both = Pairs(*(np.concatenate(parts) for parts in zip(alike, pairs(count=5), strict=True)))
    both.true_m[-5:] *= 3.0
    with pytest.raises(FitError, match="to tell the scale from the shift"):
        fit_affine(both, span_of(pairs()), 0.25)


class Bench:
    """A correction and the time of its next frame, 0.1 s later."""

    def __init__(self, **settings):
        self.correction = AffineCorrection(ScaleSettings(**settings))
        self.time_s = 10.0
        self.problems = {}

    def update(self, seconds=0.1, **anchors):
        self.time_s += seconds
        self.problems = {}
        span = span_of(pairs())
        return self.correction.update(anchors, span, self.time_s, self.problems)

    @property
    def health(self):
        return self.correction.health


def test_three_fits_that_agree_begin():
    bench = Bench()
    for count in range(1, AGREEING_FITS):
        assert bench.update(reference_points=pairs(seed=count)) is None
        assert bench.health.reason == f"{count} of 3 fits by reference_points that agree"
    assert bench.update(reference_points=pairs()) == pytest.approx(TRUE)
    health = bench.health
    assert (health.ok, health.corrected_by) == (True, "reference_points")
    assert "1/z = 0.004 r -0.05 by reference_points: 200 of 200 measurements" in health.reason


def test_fits_that_contradict_one_another_do_not_begin():
    bench = Bench()
    for count in range(9):
        scale = TRUE.scale * (1.5 if count % 2 else 1.0)
        assert bench.update(reference_points=pairs(Affine(scale, 0.0))) is None
    assert "1 of 3" in bench.health.reason


def test_further_fits_are_averaged():
    bench = Bench(time_constant_s=0.3)
    for _ in range(AGREEING_FITS):
        bench.update(reference_points=pairs())
    nearer = Affine(1.1 * TRUE.scale, 1.1 * TRUE.shift)
    first = bench.update(reference_points=pairs(nearer))
    assert TRUE.scale < first.scale < nearer.scale
    for _ in range(20):
        last = bench.update(reference_points=pairs(nearer))
    assert last == pytest.approx(nearer, rel=1e-2) and bench.health.ok


def test_a_jump_is_not_believed_until_it_has_come_three_times():
    bench = Bench()
    for _ in range(AGREEING_FITS):
        held = bench.update(reference_points=pairs())
    other = Affine(2.0 * TRUE.scale, 0.0)
    for _ in range(AGREEING_FITS - 1):
        assert bench.update(reference_points=pairs(other)) == held
        assert not bench.health.ok
        assert "more than 25 % off its average" in bench.health.reason
    assert bench.update(reference_points=pairs(other)) == pytest.approx(other, abs=1e-9)
    assert bench.health.ok
    bench.update(reference_points=pairs())  # a single one
    assert not bench.health.ok
    assert bench.update(reference_points=pairs(other)) == pytest.approx(other, abs=1e-9)
    assert bench.health.ok


def test_without_a_fit_the_average_is_held_and_then_lost():
    bench = Bench()
    for _ in range(AGREEING_FITS):
        held = bench.update(reference_points=pairs())
    assert bench.update(HELD_S - 0.1) == held
    assert "held for 2.9 s" in bench.health.reason
    assert bench.update(0.2) is None
    assert bench.health.reason == (
        "scale and shift by reference_points are lost: none measured for 3 s"
    )
    for _ in range(AGREEING_FITS):
        again = bench.update(reference_points=pairs())
    assert again == pytest.approx(TRUE)


def test_the_most_trusted_anchor_that_can_tell_corrects():
    bench = Bench()
    other = pairs(Affine(1.1 * TRUE.scale, TRUE.shift))
    few = pairs(count=5)
    for _ in range(AGREEING_FITS):
        found = bench.update(reference_points=few, ground=pairs(), range=other)
    assert found == pytest.approx(TRUE) and bench.health.corrected_by == "ground"
    assert "5 measurements" in bench.problems["reference_points"]
    assert bench.update(range=other) == found  # waits
    for _ in range(20):
        found = bench.update(range=other)
    assert bench.health.corrected_by == "range"
    assert found.scale == pytest.approx(1.1 * TRUE.scale)
    for _ in range(AGREEING_FITS):
        found = bench.update(reference_points=pairs(), range=other)
    assert found == pytest.approx(TRUE) and bench.health.corrected_by == "reference_points"


def test_only_anchors_of_the_settings_correct():
    bench = Bench(correct_with=("range",))
    for _ in range(5):
        assert bench.update(ground=pairs()) is None
    for _ in range(AGREEING_FITS):
        found = bench.update(range=pairs())
    assert found is not None
    bench.correction.settings = ScaleSettings(correct_with=("ground",))
    assert bench.update(range=pairs()) is None


def test_a_clock_that_goes_back_begins_anew():
    bench = Bench()
    for _ in range(AGREEING_FITS):
        bench.update(ground=pairs())
    assert bench.update(-5.0, ground=pairs()) is None
