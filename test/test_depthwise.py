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

"""The fast backward pass gives the gradients of the ordinary one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from depthrefl_ros.training.depthwise import DepthwiseConvolution, speed_up_depthwise


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)])
@pytest.mark.parametrize("size", [(12, 15), (13, 16)])
def test_gradients_equal_those_of_conv2d(kernel, stride, padding, size):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn((2, 6, *size), generator=generator, requires_grad=True)
    weight = torch.randn((6, 1, kernel, kernel), generator=generator, requires_grad=True)
    plain = functional.conv2d(image, weight, None, stride, padding, groups=6)
    fast = DepthwiseConvolution.apply(image, weight, stride, padding)
    assert torch.equal(plain, fast)
    pull = torch.randn(plain.shape, generator=generator)
    for expected, found in zip(
        torch.autograd.grad(plain, (image, weight), pull),
        torch.autograd.grad(fast, (image, weight), pull),
        strict=True,
    ):
        assert torch.allclose(expected, found, atol=1e-4)


def test_only_depthwise_convolutions_are_changed():
    model = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
    )
    names = list(model.state_dict())
    image = torch.randn(1, 4, 8, 8)
    before = copy.deepcopy(model)(image)
    assert speed_up_depthwise(model) == 1
    assert torch.equal(model(image), before)
    assert list(model.state_dict()) == names


def test_autocast_reaches_the_convolution():
    model = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
    speed_up_depthwise(model)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(torch.randn(1, 4, 8, 8))
    assert output.dtype == torch.bfloat16
    output.float().sum().backward()
    assert model.weight.grad.dtype == torch.float32
