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

import math

import pytest
import torch

from depthrefl_ros.network.reflector import Reflector, ReflectorConfig
from depthrefl_ros.training.head_losses import (
    berhu_loss,
    chamfer_loss,
    head_loss,
    information_gain_loss,
    information_gain_matrix,
    local_chamfer_loss,
    ordinal_loss,
    scale_invariant_loss,
)


def plane(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


def mask(*values: bool) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def test_scale_invariant_loss_by_hand():
    difference = torch.cat([plane([1.0, 3.0, 99.0]), plane([2.0, 2.0, 2.0])])
    valid = torch.cat([mask(True, True, False), mask(True, True, True)])
    first = (1 + 9) / 2 - 0.5 * 2**2
    second = 4 - 0.5 * 4
    assert scale_invariant_loss(difference, valid).item() == pytest.approx((first + second) / 2)


def test_berhu_is_linear_below_a_fifth_of_the_largest_error_and_quadratic_above():
    difference = plane([0.5, -1.0, 5.0, 100.0])
    loss = berhu_loss(difference, mask(True, True, True, False))
    bend = 1.0  # a fifth of 5; the 100 is not valid
    expected = (0.5 + 1.0 + (25 + bend**2) / (2 * bend)) / 3
    assert loss.item() == pytest.approx(expected)


def test_information_gain_by_hand():
    gain = information_gain_matrix(3)
    near, far = math.exp(-0.2), math.exp(-0.8)
    expected = torch.tensor([[1, near, far], [near, 1, near], [far, near, 1]])
    torch.testing.assert_close(gain, expected)
    q = torch.tensor([0.5, 0.3, 0.2]).reshape(1, 3, 1, 1)
    label = torch.zeros(1, 1, 1, 1, dtype=torch.long)
    loss = information_gain_loss(q.log(), label, mask(True))
    by_hand = -(math.log(0.5) + near * math.log(0.3) + far * math.log(0.2))
    assert loss.item() == pytest.approx(by_hand)


def test_ordinal_loss_by_hand():
    odds = [0.9, 0.6, 0.2]
    logits = torch.tensor([math.log(p / (1 - p)) for p in odds]).reshape(1, 3, 1, 1)
    loss = ordinal_loss(logits, torch.full((1, 1, 1, 1), 1), mask(True))
    by_hand = -(math.log(0.9) + math.log(0.4) + math.log(0.8))
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_chamfer_by_hand_and_without_truth():
    centres = torch.tensor([[1.0, 4.0], [1.0, 2.0]])
    points = torch.tensor([[1.5, 3.0, 50.0], [0.0, 0.0, 0.0]])
    known = torch.tensor([[True, True, False], [False, False, False]])
    from_points = (0.5**2 + 1.0**2) / 2
    from_centres = (0.5**2 + 1.0**2) / 2
    assert chamfer_loss(centres, points, known).item() == pytest.approx(from_points + from_centres)
    assert chamfer_loss(centres[1:], points[1:], known[1:]).item() == 0.0


def test_chamfer_without_truth_has_a_finite_gradient():
    centres = torch.rand(2, 4, requires_grad=True)
    known = torch.tensor([[True] * 3, [False] * 3])
    chamfer_loss(centres, torch.rand(2, 3), known).backward()
    assert torch.isfinite(centres.grad).all() and not centres.grad[1].any()


def test_local_chamfer_asks_for_the_depths_around_the_pixel():
    torch.manual_seed(0)
    truth = torch.full((1, 1, 16, 16), 0.2)
    truth[..., 8:] = 0.6
    valid = torch.ones_like(truth, dtype=torch.bool)
    right = truth.expand(-1, 2, -1, -1)
    both = torch.stack([torch.full((16, 16), 0.2), torch.full((16, 16), 0.6)])[None]
    swapped = 0.8 - right
    of_right, of_both, of_swapped = (
        local_chamfer_loss([levels], truth, valid).item() for levels in (right, both, swapped)
    )
    assert 0 < of_right < of_both < of_swapped
    flat = torch.full_like(truth, 0.2)
    assert local_chamfer_loss([flat[..., ::4, ::4]], flat, valid).item() == pytest.approx(0.0)


def test_a_module_without_a_loss_is_named():
    head = Reflector(ReflectorConfig(bins=4), 4, (4, 4, 4, 4), 4, 0.01)
    with pytest.raises(TypeError, match="Reflector"):
        head_loss(head, None, None, None)
