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

"""The losses against values worked out by hand, and the invariances that they promise."""

from __future__ import annotations

import math

import pytest
import torch

from depthrefl_ros.training import losses


@pytest.fixture
def scene():
    """Truth (2, 1, 16, 16) in metres and its mask with a hole."""
    generator = torch.Generator().manual_seed(0)
    truth = 1 + 4 * torch.rand((2, 1, 16, 16), generator=generator)
    valid = torch.ones_like(truth, dtype=torch.bool)
    valid[:, :, 3:6, 3:6] = False
    return truth, valid


def test_canonical_truth_scales_by_focal_length_and_masks_the_range():
    depth_m = torch.tensor([[0.0, 0.1, 2.0, 30.0]]).reshape(1, 1, 1, 4)
    canonical, valid = losses.canonical_truth(depth_m, torch.tensor([480.0]), 240.0, 0.2, 10.0)
    assert valid.flatten().tolist() == [False, False, True, False]
    assert canonical[0, 0, 0, 2] == pytest.approx(1.0)
    assert torch.isfinite(canonical.log()).all()


def test_masked_mean_leaves_invalid_pixels_out():
    values, valid = torch.tensor([1.0, 3.0, 100.0]), torch.tensor([True, True, False])
    assert losses.masked_mean(values, valid) == pytest.approx(2.0)
    assert losses.masked_mean(values, torch.zeros(3, dtype=torch.bool)) == 0.0


def test_relative_loss_ignores_scale_and_shift_of_log_depth(scene):
    truth, valid = scene
    prediction = 0.1 * truth.log() + 0.3
    assert losses.relative_loss(prediction, truth, valid) < 1e-4
    rescaled = losses.relative_loss(prediction * 3 + 0.2, truth * 7, valid)
    assert rescaled < 1e-4


def test_relative_loss_rejects_the_inverted_order(scene):
    truth, valid = scene
    right = losses.relative_loss(0.1 * truth.log(), truth, valid)
    inverted = losses.relative_loss(-0.1 * truth.log(), truth, valid)
    assert inverted > right + 1.0


def test_relative_loss_of_a_bare_wall_is_finite_with_finite_gradients():
    prediction = torch.full((1, 1, 8, 8), 0.5, requires_grad=True)
    truth = torch.full((1, 1, 8, 8), 2.0)
    loss = losses.relative_loss(prediction, truth, truth > 0)
    loss.backward()
    assert loss == 0.0 and torch.isfinite(prediction.grad).all()


def test_gradient_loss_by_hand():
    difference = torch.tensor([[0.0, 1.0], [0.0, 3.0]]).reshape(1, 1, 2, 2)
    valid = torch.ones_like(difference, dtype=torch.bool)
    # Scale 0: x changes 1 and 3, mean 2; y changes 0 and 2, mean 1. Scale 1 has one pixel.
    assert losses.gradient_loss(difference, valid, scales=2) == pytest.approx(3.0)
    valid[0, 0, 1, 1] = False
    assert losses.gradient_loss(difference, valid, scales=2) == pytest.approx(1.0)


def test_silog_by_hand():
    truth = torch.ones((1, 1, 1, 2))
    depth = torch.exp(torch.tensor([0.1, 0.3])).reshape(1, 1, 1, 2)
    expected = 10 * math.sqrt((0.01 + 0.09) / 2 - 0.85 * 0.2**2)
    loss = losses.silog_loss(depth, truth, truth > 0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "loss", [losses.silog_loss, losses.log_gradient_loss, losses.relative_loss]
)
def test_invalid_pixels_change_nothing(scene, loss):
    truth, valid = scene
    prediction = truth * 0.5 + 0.2
    spoilt = torch.where(valid, prediction, torch.full_like(prediction, 77.0))
    assert loss(spoilt, truth, valid) == pytest.approx(loss(prediction, truth, valid).item())


def test_soft_bins_have_the_truth_as_their_expectation():
    centres = torch.tensor([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1, 1).expand(1, 4, 1, 5)
    truth = torch.tensor([1.0, 1.25, 3.0, 7.0, 2.0]).reshape(1, 1, 1, 5)
    below, weight = losses.soft_bin_targets(centres, truth)
    expectation = weight * centres.gather(1, below) + (1 - weight) * centres.gather(1, below + 1)
    assert torch.allclose(expectation, truth)


def test_truth_beyond_the_bins_goes_to_the_outermost():
    centres = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1).expand(1, 3, 1, 2)
    below, weight = losses.soft_bin_targets(centres, torch.tensor([[[[0.5, 9.0]]]]))
    assert below.flatten().tolist() == [0, 1]
    assert weight.flatten().tolist() == [1.0, 0.0]


def test_bin_likelihood_by_hand_and_centres_get_no_gradient():
    centres = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1).requires_grad_()
    log_q = torch.log(torch.tensor([0.2, 0.5, 0.3])).reshape(1, 3, 1, 1).requires_grad_()
    truth = torch.full((1, 1, 1, 1), 2.5)
    loss = losses.bin_likelihood_loss(centres, log_q, truth, truth > 0)
    assert loss.item() == pytest.approx(-(0.75 * math.log(0.5) + 0.25 * math.log(0.3)))
    loss.backward()
    assert centres.grad is None
    assert log_q.grad.flatten().tolist() == pytest.approx([0.0, -0.75, -0.25])


def test_coarse_truth_is_sampled_not_mixed():
    truth = torch.ones((1, 1, 8, 8))
    truth[..., 4:] = 5.0
    valid = torch.ones_like(truth, dtype=torch.bool)
    valid[..., :4, :4] = False
    coarse, known = losses.at_stride(truth, valid, (2, 2))
    assert coarse.flatten().tolist() == [1.0, 5.0, 1.0, 5.0]
    assert known.flatten().tolist() == [False, True, True, True]
