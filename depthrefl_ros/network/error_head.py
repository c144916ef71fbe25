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

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthrefl_ros.network.ops import full_precision
from depthrefl_ros.network.reflector import MINIMUM_SIGMA

MAXIMUM_SIGMA = 2.0  # of log depth: seven times too near or too far
_HIDDEN = 32


class ErrorHead(nn.Module):
    """A factor on sigma at every place, from what the place and the picture as a whole look like.

    log sigma' = log sigma + f(condition, means over the picture, log depth, log sigma), f a
    perceptron with one hidden layer. The means tell pictures unlike those of the training, in
    which all places err together. It begins with f = 0.

    Args:
        condition: channels of what the bins' distribution is read from.
        bottleneck: channels of the backbone's bottleneck.
    """

    def __init__(self, condition: int, bottleneck: int):
        super().__init__()
        # Apart, though they are added: CPU engines would change the layout of all to join them.
        self.place = nn.Conv2d(condition, _HIDDEN, 1)
        self.said = nn.Conv2d(2, _HIDDEN, 1, bias=False)
        self.picture = nn.Conv2d(condition + bottleneck, _HIDDEN, 1, bias=False)
        self.factor = nn.Conv2d(_HIDDEN, 1, 1)
        nn.init.zeros_(self.factor.weight)
        nn.init.zeros_(self.factor.bias)

    def forward(
        self, condition: Tensor, bottleneck: Tensor, depth: Tensor, sigma: Tensor
    ) -> Tensor:
        """Return sigma as errors on unseen images have it.

        Args:
            condition: (N, C, h, w) of ``ReflectorOutput``.
            bottleneck: (N, B, ., .) of the backbone.
            depth: (N, 1, h, w) float32, canonical metres.
            sigma: (N, 1, h, w) float32, standard deviation of log depth by the bins.

        Returns:
            (N, 1, h, w) float32, 0.02 to 2.
        """
        said, picture = self.told(condition, bottleneck, depth, sigma)
        hidden = self.place(condition) + self.said(said) + self.picture(picture)
        factor = self.factor(functional.relu(hidden))
        with full_precision(condition):
            scaled = torch.log(sigma) + factor.float()
            return torch.exp(scaled).clamp(MINIMUM_SIGMA, MAXIMUM_SIGMA)

    @staticmethod
    def told(
        condition: Tensor, bottleneck: Tensor, depth: Tensor, sigma: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what f reads beside the condition.

        Args:
            condition: as for ``forward``, as are the others.
            bottleneck: of the backbone.
            depth: canonical metres.
            sigma: by the bins.

        Returns:
            (N, 2, h, w) logarithms of depth and sigma; and (N, C + B, 1, 1) means of condition and
            bottleneck over the picture.
        """
        with full_precision(condition):
            said = torch.log(torch.cat([depth, sigma], dim=1)).to(condition.dtype)
            means = [
                part.float().mean(dim=(2, 3), keepdim=True) for part in (condition, bottleneck)
            ]
            return said, torch.cat(means, dim=1).to(condition.dtype)
