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

"""How far depth errs, learnt from errors on images that the weights had not seen.

The spread of the bins says how undecided the network is, which is not how wrong it is: on images
that it was trained on it was right. Stage 2 knows no other images, so this head is fitted
afterwards, to all else as it is (``training.error_fit``). Depth stays what it was.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthrefl_ros.network.ops import full_precision
from depthrefl_ros.network.reflector import MINIMUM_SIGMA

MAXIMUM_SIGMA = 2.0  # of log depth: seven times too near or too far
_HIDDEN = 16
_AT_FIRST = 0.2


class ErrorHead(nn.Module):
    """Sigma at every place, from what the place and the picture as a whole look like.

    log sigma = f(condition, means of condition and bottleneck over the picture), f a perceptron
    with one hidden layer. The means tell pictures unlike those of the training, in which all
    places err together. What the bins say of sigma adds nothing to it. Before it is fitted it
    says 0.2.

    Args:
        condition: channels of what the bins' distribution is read from.
        bottleneck: channels of the backbone's bottleneck.
    """

    def __init__(self, condition: int, bottleneck: int):
        super().__init__()
        self.place = nn.Conv2d(condition, _HIDDEN, 1)
        self.picture = nn.Conv2d(condition + bottleneck, _HIDDEN, 1, bias=False)
        self.log_sigma = nn.Conv2d(_HIDDEN, 1, 1)
        nn.init.zeros_(self.log_sigma.weight)
        nn.init.constant_(self.log_sigma.bias, math.log(_AT_FIRST))

    def forward(self, condition: Tensor, bottleneck: Tensor) -> Tensor:
        """Return sigma as errors on unseen images have it.

        Args:
            condition: (N, C, h, w) of ``ReflectorOutput``.
            bottleneck: (N, B, ., .) of the backbone.

        Returns:
            (N, 1, h, w) float32 standard deviation of log depth, 0.02 to 2.
        """
        means = picture_means(condition, bottleneck)
        hidden = functional.relu(self.place(condition) + self.picture(means))
        log_sigma = self.log_sigma(hidden)
        with full_precision(condition):
            return torch.exp(log_sigma.float()).clamp(MINIMUM_SIGMA, MAXIMUM_SIGMA)


def picture_means(condition: Tensor, bottleneck: Tensor) -> Tensor:
    """Return the means (N, C + B, 1, 1) over the picture of (N, C, h, w) and (N, B, ., .)."""
    with full_precision(condition):
        means = [x.float().mean(dim=(2, 3), keepdim=True) for x in (condition, bottleneck)]
        return torch.cat(means, dim=1).to(condition.dtype)
