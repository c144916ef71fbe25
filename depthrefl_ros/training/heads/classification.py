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

"""Fixed bins in log depth: classification and ordinal regression."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthrefl_ros.network.backbone import BackboneFeatures
from depthrefl_ros.network.ops import full_precision, perceptron
from depthrefl_ros.training.heads.trunk import HeadSizes, Trunk, log_sigma


class ClassificationOutput(NamedTuple):
    """Depth (N, 1, h, w) in units of z_max, sigma, and log q (N, K, h, w) of the fixed bins."""

    depth: Tensor
    sigma: Tensor
    log_probabilities: Tensor


class LogBinClassification(nn.Module):
    """K equal bins in log depth: Cao et al., "Estimating depth from monocular images as
    classification" (2017).

    Depth is exp(sum_k q_k log c_k), the probability-weighted mean of the log bin centres; the
    bin of the largest probability alone would be coarse (K = 64 over 0.15 to 24 m: 8 % wide).
    """  # noqa: D205

    def __init__(self, sizes: HeadSizes):
        super().__init__()
        self.trunk = Trunk(sizes)
        self.predict = perceptron(self.trunk.channels, sizes.hidden, sizes.bins)
        self.log_near = math.log(sizes.near)
        self.log_width = -self.log_near / sizes.bins
        centres = self.log_near + self.log_width * (torch.arange(sizes.bins) + 0.5)
        shape = (1, sizes.bins, 1, 1)
        self.register_buffer("log_centres", centres.reshape(shape), persistent=False)

    def forward(self, features: BackboneFeatures) -> ClassificationOutput:
        """Map backbone features to depth at the finest block's stride."""
        logits = self.predict(self.trunk(features)[1])
        with full_precision(logits):
            log_probabilities = functional.log_softmax(logits.float(), dim=1)
            probabilities = log_probabilities.exp()
            depth = torch.exp((probabilities * self.log_centres).sum(dim=1, keepdim=True))
            sigma = log_sigma(self.log_centres, probabilities, depth)
            return ClassificationOutput(depth, sigma, log_probabilities)

    def labels(self, depth: Tensor) -> Tensor:
        """Return the bin (N, 1, h, w) int64 of depth (N, 1, h, w) in units of z_max."""
        position = (torch.log(depth) - self.log_near) / self.log_width
        return position.floor().long().clamp(0, self.log_centres.shape[1] - 1)


class OrdinalOutput(NamedTuple):
    """Depth, sigma, and the odds that the depth is beyond each threshold.

    Attributes:
        depth: (N, 1, h, w) in units of z_max.
        sigma: (N, 1, h, w).
        logits: (N, K, h, w); sigmoid gives P_k, the probability of a label above k.
    """

    depth: Tensor
    sigma: Tensor
    logits: Tensor


def spacing_increasing_thresholds(nearest: float, farthest: float, count: int) -> Tensor:
    """Return thresholds t_i = exp(log a + log(b / a) i / K), i = 0 .. K (Fu et al. 2018, eq. 1).

    Args:
        nearest: a, positive.
        farthest: b.
        count: K, number of intervals.

    Returns:
        (K + 1,) float64.
    """
    share = torch.arange(count + 1, dtype=torch.float64) / count
    return nearest * (farthest / nearest) ** share


class OrdinalRegression(nn.Module):
    """K questions "farther than t_k?": Fu et al., "Deep ordinal regression network" (2018).

    Two logits a question, of which a softmax gives P_k (eq. 3): a sigmoid of their difference. The
    label l is the number of P_k >= 0.5, depth (t_l + t_(l+1)) / 2 - xi, with the depth range
    shifted by xi to begin at 1 m. The paper has no sigma; here it is the standard deviation of log
    depth about the decoded one under P(l = k) = P_(k-1) - P_k, negative differences counted as 0.
    """

    def __init__(self, sizes: HeadSizes):
        super().__init__()
        self.trunk = Trunk(sizes)
        self.predict = perceptron(self.trunk.channels, sizes.hidden, 2 * sizes.bins)
        shift_m = 1.0 - sizes.z_min_m
        thresholds_m = spacing_increasing_thresholds(1.0, sizes.z_max_m + shift_m, sizes.bins)
        thresholds = (thresholds_m - shift_m) / sizes.z_max_m
        midpoints = (thresholds[1:] + thresholds[:-1]) / 2
        shape = (1, -1, 1, 1)
        self.register_buffer("thresholds", thresholds.float().reshape(shape), persistent=False)
        self.register_buffer("midpoints", midpoints.float(), persistent=False)
        log_midpoints = midpoints.log().float().reshape(shape)
        self.register_buffer("log_midpoints", log_midpoints, persistent=False)

    def forward(self, features: BackboneFeatures) -> OrdinalOutput:
        """Map backbone features to depth at the finest block's stride."""
        pairs = self.predict(self.trunk(features)[1])
        with full_precision(pairs):
            below, above = pairs.float().chunk(2, dim=1)
            logits = above - below
            return OrdinalOutput(*self.decode(logits), logits)

    def decode(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Map odds (N, K, h, w) to depth and sigma, each (N, 1, h, w)."""
        is_beyond = (logits >= 0.0).long().sum(dim=1, keepdim=True)
        depth = self.midpoints[is_beyond.clamp(0, self.midpoints.shape[0] - 1)]
        beyond = torch.sigmoid(logits[:, :-1])
        one, none = torch.ones_like(beyond[:, :1]), torch.zeros_like(beyond[:, :1])
        mass = torch.cat([one, beyond], dim=1) - torch.cat([beyond, none], dim=1)
        mass = mass.clamp(min=0.0)
        mass = mass / mass.sum(dim=1, keepdim=True)
        return depth, log_sigma(self.log_midpoints, mass, depth)

    def labels(self, depth: Tensor) -> Tensor:
        """Return the label (N, 1, h, w) int64 of depth in units of z_max: thresholds passed - 1."""
        passed = (depth >= self.thresholds).sum(dim=1, keepdim=True) - 1
        return passed.clamp(0, self.midpoints.shape[0] - 1)
