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

"""Operations that the blocks share."""

import pytest
import torch
from torch.nn import functional

from depthrefl_ros.network.ops import enlarge, resize, shrink


@pytest.mark.parametrize("height, width", [(64, 88), (63, 90), (16, 22)])
def test_enlarge_is_a_bilinear_resize(height, width):
    torch.manual_seed(0)
    plane, like = torch.rand(2, 1, 16, 22), torch.empty(2, 3, height, width)
    torch.testing.assert_close(enlarge(plane, like), resize(plane, like))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(enlarge(plane, like), resize(plane, like))


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_shrink_is_a_mean_over_squares(factor):
    torch.manual_seed(0)
    planes = torch.rand(2, 3, 16, 24) * 4
    torch.testing.assert_close(shrink(planes, factor), functional.avg_pool2d(planes, factor))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(shrink(planes, factor), functional.avg_pool2d(planes, factor))


def test_matrices_made_in_inference_serve_training_too():
    plane = torch.rand(1, 1, 6, 9)
    with torch.inference_mode():
        enlarged = enlarge(plane, torch.empty(1, 1, 13, 18))
    plane.requires_grad_()
    again = enlarge(plane, torch.empty(1, 1, 13, 18))
    again.sum().backward()
    assert torch.equal(again.detach(), enlarged)
    assert plane.grad.sum() == pytest.approx(13 * 18)  # every output is a mean of inputs
