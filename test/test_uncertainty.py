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

"""What sigma is worth: areas and tables against hand-made cases and a plain implementation."""

import numpy as np
import pytest
from sklearn.metrics import auc

from depthrefl_ros.training.uncertainty import (
    STEPS,
    Pixels,
    area,
    choose_pixels,
    kept_abs_rel,
    pixels_per_image,
    sigma_deciles,
    sparsification_areas,
    sparsification_curve,
)


def pixels_of(depth, truth, sigma) -> Pixels:
    depth, truth, sigma = (np.asarray(plane, np.float32) for plane in (depth, truth, sigma))
    return Pixels(depth, truth, sigma, np.abs(np.log(depth / truth)) / sigma)


def noisy_pixels(count: int = 5000, knows: float = 1.0) -> Pixels:
    """Log-normal errors; sigma is right where ``knows`` is 1 and has no relation to it at 0."""
    generator = np.random.default_rng(0)
    truth = generator.uniform(1.0, 9.0, count)
    deviation = generator.uniform(0.05, 0.4, count)
    depth = truth * np.exp(deviation * generator.normal(size=count))
    return pixels_of(
        depth, truth, knows * deviation + (1 - knows) * generator.permutation(deviation)
    )


def test_a_curve_by_hand():
    errors = np.zeros(STEPS)
    errors[7] = 100.0
    ranking = np.zeros(STEPS)
    ranking[7] = 1.0  # the one wrong pixel is dropped at the first step
    curve = sparsification_curve(errors, ranking)
    assert curve.tolist() == [2.0] + [0.0] * STEPS
    # Of the trapezoids only the first has an area: 2 high, 1 / 50 wide, a triangle.
    assert area(curve) == pytest.approx(2.0 / 50 / 2)
    # Dropped last, it is all that is left at the end: 100 over ever fewer pixels.
    worst = sparsification_curve(errors, -ranking)
    assert worst[:3] == pytest.approx([100 / 50, 100 / 49, 100 / 48]) and worst[-2] == 100.0


def test_areas_agree_with_a_plain_implementation():
    pixels = noisy_pixels(1000)
    depth, truth, sigma = (plane.astype(np.float64) for plane in pixels[:3])
    found = sparsification_areas(pixels)
    dropped = np.arange(STEPS + 1) / STEPS

    def curve(ranking, error_of_kept):
        values = []
        for share in dropped[:-1]:
            limit = np.sort(ranking)[::-1][round(share * 1000)]
            values.append(error_of_kept(ranking <= limit))
        return np.array([*values, 0.0])

    def abs_rel(kept):
        return np.mean(np.abs(depth - truth)[kept] / truth[kept])

    def rmse(kept):
        return np.sqrt(np.mean((depth - truth)[kept] ** 2))

    for name, error_of_kept, ranking, oracle in (
        ("abs_rel", abs_rel, sigma, np.abs(depth - truth) / truth),
        ("rmse", rmse, sigma * depth, np.abs(depth - truth)),
    ):
        by_sigma = auc(dropped, curve(ranking, error_of_kept))
        by_error = auc(dropped, curve(oracle, error_of_kept))
        everything = error_of_kept(np.ones(1000, bool))
        assert found[f"ause_{name}"] == pytest.approx(by_sigma - by_error, rel=1e-6)
        assert found[f"aurg_{name}"] == pytest.approx(everything - by_sigma, rel=1e-6)


def test_a_perfect_ranking_loses_nothing_to_the_oracle():
    pixels = noisy_pixels()
    error = np.abs(pixels.depth_m - pixels.truth_m)
    relative = sparsification_areas(pixels._replace(sigma=error / pixels.truth_m))
    assert relative["ause_abs_rel"] == pytest.approx(0.0, abs=1e-6)
    metric = sparsification_areas(pixels._replace(sigma=error / pixels.depth_m))
    assert metric["ause_rmse"] == pytest.approx(0.0, abs=1e-5)


def test_a_useful_sigma_gains_and_a_random_one_does_not():
    right, blind = sparsification_areas(noisy_pixels()), sparsification_areas(noisy_pixels(knows=0))
    assert right["aurg_abs_rel"] > 0.03 and right["ause_abs_rel"] < 0.75 * blind["ause_abs_rel"]
    # Half a step of the random curve falls to the point where nothing is left.
    assert abs(blind["aurg_abs_rel"]) < 0.006


def test_deciles_of_a_right_sigma_rise_and_agree_with_the_error():
    rows = sigma_deciles(noisy_pixels(50_000))
    assert len(rows) == 10
    for name in ("sigma", "rmse_log", "abs_rel"):
        assert (np.diff([row[name] for row in rows]) > 0).all()
    for row in rows:
        assert row["rmse_log"] == pytest.approx(row["sigma"], rel=0.06)


def test_deciles_by_hand():
    truth = np.full(10, 2.0)
    depth = truth * (1 + np.arange(10) / 10)
    rows = sigma_deciles(pixels_of(depth[::-1], truth, np.arange(10, 0, -1)))
    assert [row["abs_rel"] for row in rows] == pytest.approx(np.arange(10) / 10, abs=1e-6)
    assert [row["sigma"] for row in rows] == pytest.approx(np.arange(1, 11))
    assert rows[9]["rmse_log"] == pytest.approx(np.log(1.9), rel=1e-6)


def test_what_is_kept_by_hand_and_pooled_over_images():
    truth = np.full((2, 5), 4.0)
    errors = np.array([[0.0, 0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8, 0.9]])
    kept = kept_abs_rel(pixels_of(truth * (1 + errors), truth, 0.1 + errors))
    expected = {"1": 0.45, "0.9": 0.4, "0.8": 0.35, "0.7": 0.3, "0.5": 0.2}
    assert kept == pytest.approx(expected, rel=1e-5)


def test_pixels_are_of_known_places_and_equally_many():
    known = np.zeros((10, 10), bool)
    known[2:4] = True
    few = choose_pixels(known, 30, np.random.default_rng(0))
    assert few.shape == (30,) and set(few.tolist()) <= set(range(20, 40))
    all_of_them = choose_pixels(known, 20, np.random.default_rng(0))
    assert sorted(all_of_them.tolist()) == list(range(20, 40))


def test_memory_is_limited_whatever_the_number_of_images():
    assert pixels_per_image(96) == 20_000
    assert pixels_per_image(100_000) * 100_000 <= 10_000_000
    assert pixels_per_image(10**9) == 1
