"""Depth errors against values worked out by hand."""

import math

import numpy as np
import pytest

from depthrefl_ros.training.metrics import depth_metrics, mean_metrics


def test_figures_of_a_hand_made_pair():
    truth = np.array([[2.0, 4.0]], np.float32)
    prediction = np.array([[2.2, 6.0]], np.float32)
    figures = depth_metrics(prediction, truth)
    assert figures["abs_rel"] == pytest.approx((0.1 + 0.5) / 2, rel=1e-6)
    assert figures["delta1"] == 0.5
    assert figures["rmse"] == pytest.approx(math.sqrt((0.04 + 4.0) / 2), rel=1e-6)
    logs = [math.log(1.1), math.log(1.5)]
    assert figures["log10"] == pytest.approx(sum(logs) / 2 / math.log(10), rel=1e-6)
    # Two values deviate from their mean by half their difference.
    assert figures["silog"] == pytest.approx(100 * (logs[1] - logs[0]) / 2, rel=1e-6)
    assert figures["pixels"] == 2
    assert figures["coverage"] == 1.0


def test_scale_error_is_no_silog_but_all_abs_rel():
    truth = np.linspace(0.5, 9.0, 64, dtype=np.float32).reshape(8, 8)
    figures = depth_metrics(truth * 1.3, truth)
    assert figures["silog"] == pytest.approx(0.0, abs=1e-4)
    assert figures["abs_rel"] == pytest.approx(0.3, rel=1e-5)
    assert figures["delta1"] == 0.0


def test_delta1_counts_errors_to_both_sides_alike():
    truth = np.full((1, 4), 4.0, np.float32)
    prediction = np.array([[4.0 * 1.24, 4.0 / 1.24, 4.0 * 1.26, 4.0 / 1.26]], np.float32)
    assert depth_metrics(prediction, truth)["delta1"] == 0.5


def test_unknown_truth_cap_and_unbelieved_pixels_are_left_out():
    truth = np.array([[2.0, 0.0, np.nan, 10.0, 3.0, 3.0, 3.0, 3.0]], np.float32)
    prediction = np.array([[2.0, 5.0, 5.0, 5.0, np.nan, np.inf, -np.inf, 0.0]], np.float32)
    figures = depth_metrics(prediction, truth)
    assert figures["pixels"] == 1
    assert figures["coverage"] == pytest.approx(1 / 5)
    assert figures["abs_rel"] == 0.0


def test_nothing_to_compare_is_nan_and_has_no_part_in_the_mean():
    truth = np.full((2, 2), 2.0, np.float32)
    nothing = depth_metrics(np.full((2, 2), np.nan, np.float32), truth)
    assert math.isnan(nothing["abs_rel"])
    assert nothing["coverage"] == 0.0
    half = depth_metrics(truth * 1.5, truth)
    assert mean_metrics([nothing, half])["abs_rel"] == pytest.approx(0.5)
    assert mean_metrics([nothing]) == {}


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        depth_metrics(np.ones((2, 3), np.float32), np.ones((3, 2), np.float32))
