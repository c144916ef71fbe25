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

"""One number a pixel: regression of log depth and of depth."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from depthrefl_ros.network.backbone import BackboneFeatures
from depthrefl_ros.network.ops import full_precision, perceptron
from depthrefl_ros.training.heads.trunk import HeadSizes, Trunk

TYPICAL_M = 2.5  # what an untrained head says everywhere: the middle of a room


class RegressionOutput(NamedTuple):
    """Depth, and the prediction before it was brought into range.

    Attributes:
        depth: (N, 1, h, w) in units of z_max.
        sigma: None.
        raw: (N, 1, h, w) log depth or depth in units of z_max, unbounded; what is trained.
    """

    depth: Tensor
    sigma: None
    raw: Tensor


class _Regression(nn.Module):
    """One number a pixel; ``start`` is what it is before training."""

    def __init__(self, sizes: HeadSizes, start: float):
        super().__init__()
        self.near = sizes.near
        self.trunk = Trunk(sizes)
        self.predict = perceptron(self.trunk.channels, sizes.hidden, 1)
        nn.init.constant_(self.predict[-1].bias, start)


class LogDepthRegression(_Regression):
    """Log depth, as in Eigen et al., "Depth map prediction from a single image" (2014)."""

    def __init__(self, sizes: HeadSizes):
        super().__init__(sizes, math.log(TYPICAL_M / sizes.z_max_m))

    def forward(self, features: BackboneFeatures) -> RegressionOutput:
        """Map backbone features to depth at the finest block's stride."""
        raw = self.predict(self.trunk(features)[1])
        with full_precision(raw):
            raw = raw.float()
            return RegressionOutput(torch.exp(raw.clamp(math.log(self.near), 0.0)), None, raw)


class LogDepthControl(LogDepthRegression):
    """Log depth again, for training by the reflector's losses: tells head and loss apart."""


class DepthRegression(_Regression):
    """Depth itself, as in Laina et al., "Deeper depth prediction with FCRNs" (2016)."""

    def __init__(self, sizes: HeadSizes):
        super().__init__(sizes, TYPICAL_M / sizes.z_max_m)

    def forward(self, features: BackboneFeatures) -> RegressionOutput:
        """Map backbone features to depth at the finest block's stride."""
        raw = self.predict(self.trunk(features)[1]).float()
        return RegressionOutput(raw.clamp(self.near, 1.0), None, raw)
