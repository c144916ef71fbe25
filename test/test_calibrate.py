"""Calibration recovers a known distribution of errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from depthrefl_ros.training.calibrate import error_quantiles, normalised_errors
from depthrefl_ros.training.datasets import Sample

SIZE = (64, 48)


def calibrated_probability(ratio: np.ndarray, calibration: dict[str, list[float]]) -> np.ndarray:
    """Return F(ratio) for any shape: the probability of an error of at most ``ratio`` sigmas."""
    return np.interp(ratio, calibration["quantile"], calibration["probability"])


def test_quantiles_of_normal_errors_are_those_of_the_normal_distribution():
    errors = np.abs(np.random.default_rng(0).standard_normal(200_000))
    calibration = error_quantiles(errors)
    assert len(calibration["probability"]) == len(calibration["quantile"]) == 101
    for ratio in (0.25, 1.0, 2.0):
        expected = math.erf(ratio / math.sqrt(2))
        found = calibrated_probability(np.array(ratio), calibration)
        assert found == pytest.approx(expected, abs=0.01)


def test_quantiles_increase_from_zero_even_where_errors_tie():
    quantile = error_quantiles(np.repeat([0.0, 1.0], 500))["quantile"]
    assert quantile[0] == 0.0 and (np.diff(quantile) > 0).all()


def test_probability_is_0_at_no_error_and_1_beyond_all():
    calibration = error_quantiles(np.linspace(0, 3, 1000))
    assert calibrated_probability(np.array([0.0, 99.0]), calibration).tolist() == [0.0, 1.0]


def test_errors_are_log_ratios_in_units_of_sigma():
    truth = np.full((48, 64), 2.0, np.float32)
    truth[:10] = 0.0
    sample = Sample("made", np.zeros((48, 64, 3), np.uint8), truth, (60.0, 60.0, 31.5, 23.5))

    def infer(images):
        plane = np.ones((1, 1, 48, 64), np.float32)
        return {"depth": plane * 3, "sigma": plane * 0.2, "relative": plane}

    errors = normalised_errors(infer, [sample], SIZE, focal_px=60.0)
    assert np.allclose(errors, math.log(1.5) / 0.2, rtol=1e-5)


def test_calibration_without_truth_is_refused():
    sample = Sample(
        "made", np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.float32), (60, 60, 31, 23)
    )

    def infer(images):
        plane = np.ones((1, 1, 48, 64), np.float32)
        return {"depth": plane, "sigma": plane, "relative": plane}

    with pytest.raises(ValueError, match="needs truth"):
        normalised_errors(infer, [sample], SIZE, focal_px=60.0)
