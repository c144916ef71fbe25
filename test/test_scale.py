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

"""The factor: robust, averaged, held, clamped, and doubted where another anchor disagrees."""

import math

import numpy as np
import pytest
import scale as scale_benchmark
from room_depth import CAMERA, monocular, room_depth

from depthrefl_ros.geometry.anchors import ground_anchor
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.scale import (
    SENSOR_HELD_S,
    ScaleCorrection,
    ScaleSettings,
    robust_median,
)

PERIOD_S = 0.1


def ratios(factor: float, count: int = 200, spread: float = 0.02, seed: int = 0) -> np.ndarray:
    """Log ratios of depth that must be multiplied with ``factor``."""
    return np.random.default_rng(seed).normal(math.log(factor), spread, count)


def play(correction: ScaleCorrection, frames: list, start_s: float = 0.0) -> list[float]:
    """Return the factor after each frame's anchors."""
    return [
        correction.update(anchors, start_s + PERIOD_S * number)
        for number, anchors in enumerate(frames)
    ]


@pytest.mark.parametrize("wrong_by", [3.0, 1 / 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_third_of_the_anchors_wrong_by_three_hardly_moves_the_factor(wrong_by, seed):
    good = ratios(1.2, 1000, 0.1, seed)
    clean = math.exp(robust_median(good))
    good[:300] += math.log(wrong_by)
    assert math.exp(robust_median(good)) == pytest.approx(clean, rel=0.02)
    assert ScaleCorrection().update({"ground": good}, 0.0) == pytest.approx(1.2, rel=0.02)


def test_fewer_than_twenty_inliers_are_no_measurement():
    assert robust_median(np.zeros(19)) is None
    assert robust_median(np.zeros(20)) == 0.0
    assert robust_median(np.full(100, np.nan)) is None
    assert robust_median(()) is None
    # 24 values of which 6 are rejected.
    assert robust_median(np.concatenate([np.zeros(18), np.full(6, 5.0)])) is None


@pytest.mark.parametrize("wrong", [0.6, 1.3, 1.8])
def test_depth_of_a_wrong_scale_comes_back_on_a_drive(wrong):
    correction = ScaleCorrection(ScaleSettings(correct_with=("ground",)))
    errors = []
    for number in range(20):
        pose = Pose.from_mount(0.5, math.radians(8), x_m=0.09 * number)
        truth = room_depth(pose, [((3.5, -0.5, 0.0), (4.0, 0.3, 0.8))])
        right = monocular(truth, number)
        depth = right * np.float32(wrong)
        anchor = ground_anchor(depth, CAMERA, pose.up_in_source, 0.5)
        factor = correction.update({"ground": anchor}, PERIOD_S * number)
        corrected = np.mean(np.abs(depth * factor - truth) / truth)
        errors.append(corrected - np.mean(np.abs(right - truth) / truth))
    assert max(errors[15:]) < 0.01
    assert correction.health.ok


def test_the_first_measurement_is_taken_over_at_once_and_later_ones_averaged():
    correction = ScaleCorrection(ScaleSettings(time_constant_s=1.0))
    noise = np.random.default_rng(1).normal(0, 0.1, 200)
    factors = play(correction, [{"ground": ratios(1.5 * math.exp(e), seed=9)} for e in noise])
    assert factors[0] == pytest.approx(1.5 * math.exp(noise[0]), rel=0.01)
    # An exponential average over m frames leaves 1 / sqrt(2 m) of the noise: 0.022 of 0.1.
    assert np.std(np.log(factors[20:])) < 0.035
    assert np.mean(np.log(factors[20:])) == pytest.approx(math.log(1.5), abs=0.02)


@pytest.mark.parametrize("time_constant_s, least, most", [(0.3, 1.1, 1.2), (2.0, 1.02, 1.08)])
def test_the_average_follows_as_its_time_constant_says(time_constant_s, least, most):
    correction = ScaleCorrection(ScaleSettings(time_constant_s=time_constant_s))
    frames = [{"ground": ratios(1.0)}] * 100 + [{"ground": ratios(1.2)}] * 5
    assert least < play(correction, frames)[-1] < most


@pytest.mark.parametrize("max_error, is_believed", [(0.1, False), (0.3, True)])
def test_how_far_a_judge_may_differ_is_the_users_to_say(max_error, is_believed):
    correction = ScaleCorrection(ScaleSettings(max_error=max_error))
    play(correction, [{"reference_points": ratios(1.0), "ground": ratios(1.18)}] * 10)
    assert correction.health.ok is is_believed


def test_the_factor_is_held_without_a_measurement():
    correction = ScaleCorrection()
    frames = [{"ground": ratios(1.4)}] + [{}, {"ground": np.zeros(5)}, {"range": np.zeros(0)}] * 3
    factors = play(correction, frames)
    assert factors == [factors[0]] * 10 and factors[0] == pytest.approx(1.4, rel=0.01)
    assert correction.health.ok and "held for 0.9 s" in correction.health.reason


@pytest.mark.parametrize("sensor", ["reference_depth", "reference_points", "range"])
def test_a_factor_outlives_its_sensor_by_half_a_minute(sensor):
    correction = ScaleCorrection()
    play(correction, [{sensor: ratios(1.6)}] * 10)
    factor = correction.update({}, 0.9 + SENSOR_HELD_S)
    assert correction.health.ok
    assert correction.update({}, 1.5 + SENSOR_HELD_S) == factor
    assert not correction.health.ok
    said = "held for 30.6 s and no longer believed: nothing has come of " + sensor
    assert said in correction.health.reason
    play(correction, [{sensor: np.zeros(0)}], 50.0)
    assert not correction.health.ok and "for 30 s" in correction.health.reason
    play(correction, [{sensor: ratios(1.6)}] * 2, 60.0)
    assert not correction.health.ok
    play(correction, [{sensor: ratios(1.6)}], 60.2)
    assert correction.health.ok


def test_a_sensor_that_is_heard_and_a_floor_out_of_sight_hold_the_factor():
    for name, frame in (("range", {"range": np.zeros(0)}), ("ground", {})):
        correction = ScaleCorrection()
        play(correction, [{name: ratios(1.6)}] * 10)
        for second in range(1, 100):
            correction.update(frame, float(second))
            assert correction.health.ok


def test_a_dead_sensors_factor_is_believed_while_another_anchor_judges_it():
    correction = ScaleCorrection(ScaleSettings(correct_with=("range",)))
    play(correction, [{"range": ratios(1.3)}] * 10)
    for second in range(1, 100):
        correction.update({"ground": ratios(1.35)} if second % 10 else {}, float(second))
        assert correction.health.ok


def test_a_bad_scale_says_why_while_nothing_measures():
    correction = ScaleCorrection()
    play(correction, [{"ground": ratios(1.0)}] * 3 + [{"ground": ratios(1.9)}] + [{}] * 3)
    said = correction.health.reason
    assert not correction.health.ok and "held for" in said
    assert "; at the last measurement ground is 90 % off its average" in said


def test_without_any_anchor_the_factor_is_one():
    correction = ScaleCorrection()
    assert play(correction, [{}] * 3) == [1.0] * 3
    assert "no anchor" in correction.health.reason


@pytest.mark.parametrize("needed, clamped", [(3.0, 2.0), (0.3, 0.5)])
def test_a_factor_beyond_the_clamp_is_clamped_and_not_believed(needed, clamped):
    correction = ScaleCorrection()
    assert set(play(correction, [{"ground": ratios(needed)}] * 5)) == {clamped}
    assert not correction.health.ok


def test_one_wild_frame_does_not_move_the_factor_and_is_not_believed():
    correction = ScaleCorrection()
    play(correction, [{"ground": ratios(1.2)}] * 10)
    before = correction.factor
    assert correction.update({"ground": ratios(1.9)}, 1.0) == before
    assert not correction.health.ok and "ground is" in correction.health.reason
    play(correction, [{"ground": ratios(1.2)}] * 2, 1.1)
    assert not correction.health.ok
    play(correction, [{"ground": ratios(1.2)}], 1.3)
    assert correction.health.ok


def test_a_jump_that_stays_is_taken_over():
    correction = ScaleCorrection()
    play(correction, [{"ground": ratios(1.0)}] * 10)
    factors = play(correction, [{"ground": ratios(1.7)}] * 15, 1.0)
    assert factors[0] == pytest.approx(1.0, rel=0.02)
    assert factors[3:] == pytest.approx([1.7] * 12, rel=0.02)
    assert correction.health.ok


def test_an_anchor_that_does_not_correct_judges():
    correction = ScaleCorrection(ScaleSettings(max_error=0.2))
    agree = {"reference_points": ratios(1.3), "ground": ratios(1.35)}
    differ = {"reference_points": ratios(1.3), "ground": ratios(1.8)}
    play(correction, [agree] * 5)
    assert correction.health.ok
    assert (correction.health.corrected_by, correction.health.judged_by) == (
        "reference_points",
        "ground",
    )
    play(correction, [differ], 0.5)
    assert not correction.health.ok
    assert correction.factor == pytest.approx(1.3, rel=0.01)
    assert correction.health.error == pytest.approx(math.log(1.8 / 1.3), abs=0.02)
    assert "38 % off the scale by reference_points, 20 % are allowed" in correction.health.reason


def test_with_no_anchor_to_correct_the_models_own_scale_is_judged():
    correction = ScaleCorrection(ScaleSettings(correct_with=()))
    assert play(correction, [{"ground": ratios(1.1)}] * 3) == [1.0] * 3
    assert correction.health.ok
    assert play(correction, [{"ground": ratios(1.5)}], 1.0) == [1.0]
    assert not correction.health.ok and "the model" in correction.health.reason


def test_a_less_trusted_anchor_waits_before_it_takes_over():
    correction = ScaleCorrection(ScaleSettings(max_error=0.5))
    play(correction, [{"reference_points": ratios(1.3)}] * 5)
    factors = play(correction, [{"ground": ratios(1.1)}] * 20, 0.5)
    assert factors[5] == pytest.approx(1.3, rel=0.01)
    assert factors[-1] == pytest.approx(1.1, rel=0.01)
    assert correction.update({"reference_points": ratios(1.3)}, 2.5) == pytest.approx(1.3, rel=0.01)


def test_an_anchor_that_may_no_longer_correct_leaves_no_factor():
    correction = ScaleCorrection(ScaleSettings(correct_with=("ground",)))
    play(correction, [{"ground": ratios(1.4)}] * 5)
    correction.settings = ScaleSettings(correct_with=("range",))
    assert correction.update({"ground": ratios(1.2)}, 1.0) == 1.0
    assert correction.health.corrected_by is None and correction.health.judged_by == "ground"


def test_a_backward_clock_and_reset_forget_everything():
    correction = ScaleCorrection()
    play(correction, [{"ground": ratios(1.8)}] * 5, 100.0)
    assert correction.update({}, 3.0) == 1.0
    correction.update({"ground": ratios(0.7)}, 3.1)
    assert correction.factor == pytest.approx(0.7, rel=0.01)
    correction.reset()
    assert correction.factor == 1.0 and correction.health.ok


def test_an_unknown_anchor_is_refused():
    with pytest.raises(ValueError, match="lidar"):
        ScaleCorrection().update({"lidar": ratios(1.0)}, 0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"correct_with": ("lidar",)},
        {"time_constant_s": -1.0},
        {"time_constant_s": math.nan},
        {"max_error": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change)).split("_")[0]):
        ScaleSettings(**change)


@pytest.mark.parametrize("case", scale_benchmark.CASES)
def test_the_benchmark_counts_frames(case):
    """A rocking camera drives towards a box; the prediction is the truth."""
    steps = []
    for number in range(25):
        mount = {
            "height_m": 0.5,
            "pitch_rad": math.radians(8 + 0.5 * math.sin(number)),
            "roll_rad": 0.0,
        }
        pose = Pose.from_mount(**mount)
        truth = room_depth(pose, [((3.0 - 0.09 * number, -1.0, 0), (4.0, 1.0, 0.9))])
        steps.append(scale_benchmark.Step(truth, truth, CAMERA, mount, PERIOD_S * number))
    figures = scale_benchmark.converge(steps, case, 1.8)
    assert figures["unscaled"] == 0.0
    # Rocking that the mount does not tell moves the average little.
    assert figures["frames_on_average"] <= 15 and figures["corrected"] < 0.01
    # A sonar needs twenty readings; with two a frame nothing is corrected for nine frames.
    assert 9 <= figures["frames"] <= 11 if case == "range" else figures["frames"] == 0
    assert figures["measured"] >= 0.5
