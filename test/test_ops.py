# SPDX-License-Identifier: Apache-2.0
"""Operations that the blocks share."""

import pytest
import torch

from depthrefl_ros.network.ops import enlarge, resize


@pytest.mark.parametrize("height, width", [(64, 88), (63, 90), (16, 22)])
def test_enlarge_is_a_bilinear_resize(height, width):
    torch.manual_seed(0)
    plane, like = torch.rand(2, 1, 16, 22), torch.empty(2, 3, height, width)
    torch.testing.assert_close(enlarge(plane, like), resize(plane, like))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(enlarge(plane, like), resize(plane, like))
