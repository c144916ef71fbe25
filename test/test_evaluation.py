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

"""The evaluation protocol with networks whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from small_network import told_network

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import camera_floor_depth, encode_floor
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.evaluation import (
    Prediction,
    aligned,
    evaluate_images,
    evaluate_model,
    predictions,
    torch_infer,
)
from depthrefl_ros.training.protocol import Protocol

SIZE = (64, 48)  # width, height
FOCAL_PX = 120.0


def sample(depth_m: np.ndarray, focal_px: float = 60.0) -> Sample:
    height, width = depth_m.shape
    intrinsics = (focal_px, focal_px, width / 2 - 0.5, height / 2 - 0.5)
    return Sample("made", np.zeros((height, width, 3), np.uint8), depth_m, intrinsics)


def evaluate(answer: np.ndarray, samples: list[Sample], protocol: Protocol | None = None) -> dict:
    """Mean figures of a network that always gives ``answer``."""
    return evaluate_images(answering(answer), samples, SIZE, FOCAL_PX, protocol).summary()


def answering(depth_c: np.ndarray):
    """Return a network that always answers with this canonical depth (h, w)."""

    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        assert images.dtype == np.uint8 and images.shape[1:] == (SIZE[1], SIZE[0], 3)
        plane = np.broadcast_to(depth_c, (len(images), 1, *depth_c.shape)).astype(np.float32)
        return {"depth": plane, "sigma": plane * 0.1, "relative": plane / 100}

    return infer


@pytest.mark.parametrize("align", ["none", "median", "lsq"])
def test_sky_is_no_distance_and_has_no_part_in_the_figures(align):
    """A network that is right but for the sky errs nowhere, whatever its depth says up there."""
    truth = np.linspace(2.0, 4.0, 96, dtype=np.float32)[:, None].repeat(128, axis=1)
    plane = np.linspace(8.0, 16.0, 48)[:, None].repeat(64, axis=1)
    plane[:12] = 1000.0
    answer = answering(plane)

    def with_sky(images):
        sky = np.zeros((len(images), 1, 48, 64), np.float32)
        sky[:, :, :12] = 0.9
        return answer(images) | {"sky": sky}

    ((_, prediction),) = predictions(with_sky, [sample(truth)], SIZE, FOCAL_PX)
    assert np.isposinf(prediction.depth_m[:24]).all()
    assert np.isfinite(prediction.depth_m[24:]).all()
    protocol = Protocol(align=align)
    found = evaluate_images(with_sky, [sample(truth)], SIZE, FOCAL_PX, protocol)
    assert found.figures[0]["abs_rel"] < 0.02 and found.figures[0]["delta1"] == 1.0
    assert found.figures[0]["scale_ratio"] == pytest.approx(1.0, abs=0.01)
    assert found.unit_ratios == pytest.approx([1.0], abs=0.01)
    assert sum(band["pixels"] for band in found.bands.values()) == 72 * 128
    assert found.sky_shares == [0.25]
    assert evaluate_images(answer, [sample(truth)], SIZE, FOCAL_PX).figures[0]["abs_rel"] > 0.3


def test_canonical_depth_becomes_metric_by_the_focal_length():
    truth = np.full((96, 128), 3.0, np.float32)
    # 128 pixels wide shrinks to 64: focal 60 becomes 30, so z = z_c * 30 / 120.
    answer = answering(np.full((48, 64), 12.0))
    ((_, prediction),) = predictions(answer, [sample(truth)], SIZE, FOCAL_PX)
    assert prediction.depth_m.shape == truth.shape
    assert np.allclose(prediction.depth_m, 3.0)
    assert np.allclose(prediction.sigma, 1.2)


def slope() -> tuple[np.ndarray, np.ndarray]:
    """Truth (96, 128) from 1 to 3 m, and the canonical answer (48, 64) that is right."""
    truth = np.linspace(1.0, 3.0, 96, dtype=np.float32)[:, None].repeat(128, 1)
    return truth, truth.reshape(48, 2, 64, 2).mean(axis=(1, 3)) * 4


def test_a_right_answer_has_no_error_and_a_wrong_one_has_its_own():
    truth, answer = slope()
    right = evaluate(answer, [sample(truth)])
    assert right["abs_rel"] < 0.01 and right["delta1"] == 1.0 and right["images"] == 1
    assert right["tau_depth_truth"] > 0.99 and right["tau_depth_relative"] > 0.99
    wrong = evaluate(answer * 1.5, [sample(truth)])
    assert wrong["abs_rel"] == pytest.approx(0.5, abs=0.01) and wrong["delta1"] == 0.0
    assert wrong["silog"] < 2.0  # a common factor is no scale-invariant error


def test_alignment_takes_away_scale_and_shift():
    truth, answer = slope()
    wrong = answer * 1.5
    assert evaluate(wrong, [sample(truth)], Protocol(align="median"))["abs_rel"] < 0.01
    shifted = answer * 1.5 + 4.0  # canonical metres: one metre
    assert evaluate(shifted, [sample(truth)], Protocol(align="median"))["abs_rel"] > 0.05
    assert evaluate(shifted, [sample(truth)], Protocol(align="lsq"))["abs_rel"] < 0.01


def test_sigma_follows_the_aligned_depth():
    depth = np.full((2, 2), 4.0, np.float32)
    depth[0] = 2.0
    prediction = Prediction(depth, np.full((2, 2), 0.1, np.float32), depth)
    by_median = aligned(prediction, depth * 3, "median")[0]
    assert np.allclose(by_median.depth_m, depth * 3) and np.allclose(by_median.sigma, 0.1)
    by_squares = aligned(prediction, depth * 0.5 + 1.0, "lsq")[0]
    assert np.allclose(by_squares.depth_m, depth * 0.5 + 1.0, atol=1e-5)
    # 0.1 of 2 m is 0.2 m, halved 0.1 m, and that is a twentieth of 2 m.
    assert np.allclose(by_squares.sigma, [[0.05, 0.05], [0.2 / 3, 0.2 / 3]])
    assert aligned(prediction, depth, "none") == (prediction, {})


def test_a_plane_behind_the_camera_is_no_depth():
    truth, answer = slope()
    truth[48:] = 0.5  # far rows are near: the fitted slope runs the other way, below zero
    figures = evaluate(answer**3, [sample(truth)], Protocol(align="lsq"))
    assert math.isnan(figures.pop("slope_log_median"))  # of a single image
    assert all(math.isfinite(value) for value in figures.values())


def test_predictions_are_clamped_to_the_cap():
    truth = np.full((96, 128), 8.0, np.float32)
    answer = np.full((48, 64), 400.0)
    assert evaluate(answer, [sample(truth)])["abs_rel"] == pytest.approx(0.25)
    assert evaluate(answer, [sample(truth)], Protocol(cap_m=9.0))["abs_rel"] == pytest.approx(0.125)


def test_unknown_and_far_truth_is_left_out():
    truth = np.full((96, 128), 3.0, np.float32)
    truth[:20], truth[20:40] = 0.0, 10.5
    figures = evaluate(np.full((48, 64), 12.0), [sample(truth)])
    assert figures["abs_rel"] == pytest.approx(0.0, abs=1e-6)


def test_what_lies_outside_the_crop_is_left_out():
    truth = np.full((480, 640), 3.0, np.float32)
    truth[:45] = 6.0
    answer = np.full((48, 64), 72.0)  # focal 60 at 640 pixels: 6 at 64, so z = z_c / 20
    whole = evaluate(answer, [sample(truth)])
    assert whole["abs_rel"] == pytest.approx((0.2 * 435 + 0.4 * 45) / 480, rel=1e-4)
    assert evaluate(answer, [sample(truth)], Protocol("eigen"))["abs_rel"] == pytest.approx(0.2)


def test_figures_are_means_over_images_not_over_pixels():
    known, small = np.full((96, 128), 3.0, np.float32), np.zeros((96, 128), np.float32)
    small[50, 60] = 6.0  # one pixel, twice as far as predicted
    figures = evaluate(np.full((48, 64), 12.0), [sample(known), sample(small)])
    assert figures["abs_rel"] == pytest.approx(0.25) and figures["delta1"] == 0.5


def test_images_without_truth_are_left_out_and_the_others_keep_their_pixels():
    truth, answer = slope()
    unknown = sample(np.zeros((96, 128), np.float32))
    found = evaluate_images(answering(answer), [unknown, sample(truth)], SIZE, FOCAL_PX)
    same = evaluate_images(answering(answer), [sample(truth), sample(truth)], SIZE, FOCAL_PX)
    assert len(found.names) == len(found.figures) == len(found.pixels.sigma) == 1
    assert np.array_equal(found.pixels.truth_m[0], same.pixels.truth_m[1])
    assert found.values("delta1").tolist() == [1.0]


def test_error_ratios_are_log_errors_in_units_of_sigma_before_clamping():
    truth = np.full((96, 128), 8.0, np.float32)
    truth[:30] = 0.0
    found = evaluate_images(answering(np.full((48, 64), 48.0)), [sample(truth)], SIZE, FOCAL_PX)
    assert np.allclose(found.pixels.depth_m, 10.0)  # 12 m, clamped
    assert np.allclose(found.pixels.error_ratio, math.log(1.5) / 4.8, rtol=1e-5)


def test_truth_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="none of the 1 images .*cap 10 m.*needs? truth"):
        evaluate(np.ones((48, 64)), [sample(np.zeros((96, 128), np.float32))])


def test_a_torch_model_is_evaluated_in_evaluation_mode():
    import torch
    from torch import nn

    class Halves(nn.Module):
        """Depth is the red channel over two; refuses training mode."""

        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(0.5))

        def forward(self, image):
            assert not self.training and image.dtype == torch.float32
            from depthrefl_ros.network.model import DepthOutput

            depth = image[:, :1] * self.factor
            return DepthOutput(*[depth] * len(DepthOutput._fields))

    images = np.zeros((1, 48, 64, 3), np.uint8)
    images[..., 0] = 10
    output = torch_infer(Halves())(images)
    assert output["depth"].shape == (1, 1, 48, 64) and (output["depth"] == 5).all()


def test_scale_bands_and_slope_are_measured_before_alignment():
    near, far = np.full((96, 128), 1.0, np.float32), np.full((96, 128), 4.0, np.float32)
    samples = [sample(near), sample(far), sample(np.zeros((96, 128), np.float32))]
    answer = answering(np.full((48, 64), 8.0))  # 2 m everywhere
    for align in ("none", "median"):
        found = evaluate_images(answer, samples, SIZE, FOCAL_PX, Protocol(align=align))
        summary = found.summary()
        assert found.values("scale_ratio") == pytest.approx([2.0, 0.5])
        assert summary["scale_ratio"] == pytest.approx(1.25)
        assert summary["slope_log_median"] == pytest.approx(0.0, abs=1e-6)
        assert summary["images"] == 2 and summary["images_without_truth"] == 1
        assert found.without_truth == ["made"]
    assert found.values("align_scale") == pytest.approx([0.5, 2.0])
    assert found.bands["1-2"]["ratio"] == pytest.approx(1.0, rel=1e-3)  # after alignment
    row = evaluate_images(answer, samples, SIZE, FOCAL_PX).log_row()
    assert row["ratio_1-2"] == pytest.approx(2.0, rel=1e-3) and row["abs_rel_4-7"] == 0.5
    assert row["signed_rel"] == pytest.approx(0.25) and math.isnan(row["ratio_0.3-0.7"])
    assert all(isinstance(value, (int, float)) for value in row.values())


def test_medians_stand_beside_means():
    depths = (1.0, 2.0, 8.0)
    samples = [sample(np.full((96, 128), depth, np.float32)) for depth in depths]
    found = evaluate_images(answering(np.full((48, 64), 8.0)), samples, SIZE, FOCAL_PX)
    assert found.summary()["abs_rel"] == pytest.approx((1.0 + 0.0 + 0.75) / 3)
    assert found.medians()["abs_rel"] == pytest.approx(0.75)


def test_a_network_is_told_the_mounts_that_the_samples_know():
    seen = []

    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(images[0])
        return answering(np.full((48, 64), 12.0))(images[..., :3])

    mount = Pose.from_mount(0.5, 0.3)
    known = replace(sample(np.full((96, 128), 3.0, np.float32)), mount=mount)
    unknown = replace(known, mount=None)
    evaluate_images(infer, [known, unknown], SIZE, FOCAL_PX, channels=4)
    evaluate_images(infer, [known], SIZE, FOCAL_PX, channels=4, is_told=False)
    told, *others = (image[..., 3] for image in seen)
    assert not any(plane.any() for plane in others)
    # The input is 64 pixels wide with a focal length of 30, a quarter of the canonical one.
    camera = Camera.pinhole(64, 48, 30.0, 30.0, 31.5, 23.5)
    np.testing.assert_array_equal(told, encode_floor(4 * camera_floor_depth(camera, mount)))


def test_a_torch_model_is_told_the_mount():
    model = told_network()
    known = replace(sample(np.full((64, 64), 2.0, np.float32)), mount=Pose.from_mount(0.5, 0.4))
    told, untold = (
        evaluate_model(model, [known], Protocol(), is_told=way).summary() for way in (True, False)
    )
    assert abs(np.log(told["scale_ratio"] / untold["scale_ratio"])) > 0.02


def test_a_cap_below_all_truth_is_no_wrong_unit():
    truth, answer = slope()
    with pytest.raises(ValueError, match="no depth|has depth that counts") as error:
        evaluate_images(answering(answer), [sample(truth)], SIZE, FOCAL_PX, Protocol(cap_m=0.01))
    assert "check its unit" not in str(error.value)
    far = sample(1000.0 * truth)
    with pytest.raises(ValueError, match=r"is 0\.00.* times the truth there is: check its unit"):
        evaluate_images(answering(answer), [far], SIZE, FOCAL_PX)


def test_without_detail_the_other_figures_are_the_same():
    truth, answer = slope()
    whole = evaluate_images(answering(answer), [sample(truth)], SIZE, FOCAL_PX)
    brief = evaluate_images(answering(answer), [sample(truth)], SIZE, FOCAL_PX, in_detail=False)
    left_out = whole.figures[0].keys() - brief.figures[0].keys()
    assert left_out == {"tau_depth_truth", "tau_relative_truth", "tau_depth_relative", "edge_f1"}
    kept = {name: whole.figures[0][name] for name in brief.figures[0]}
    assert brief.figures[0] == pytest.approx(kept, nan_ok=True)
