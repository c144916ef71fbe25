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

"""Stage 2: the reflector turns relative into metric depth.

The file reads in the order of the data: bins regressor, projector, attractors, distribution,
depth. Bins are *reflected* toward attractors, never split: their number is the same at every level.
Attractors and the log-binomial follow ZoeDepth (Bhat et al. 2023), with the mean in place of the
sum over attractors, which keeps the centres ordered (see ``attract``).

All lengths in here are in units of z_max, so that nothing overflows in half precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthrefl_ros.network.backbone import NO_HINTS, BackboneFeatures
from depthrefl_ros.network.ops import full_precision, hinted, perceptron, resize

MINIMUM_WIDTH = 1e-3  # of a bin, before normalisation
MINIMUM_PROBABILITY = 1e-4  # log-binomial p is clamped to [1e-4, 1 - 1e-4]
TEMPERATURE_RANGE = (0.2, 50.0)  # colder, and bf16 or fp16 break sigma
MINIMUM_SIGMA = 0.02  # of log depth: no single image tells depth to better than 2 %
DISTRIBUTIONS = ("log_binomial", "softmax")


@dataclass(frozen=True)
class ReflectorConfig:
    """What a reflector is built from.

    Attributes:
        bins: K, the number of depth bins at every level.
        embedding: E, channels of the projected decoder blocks.
        attractors: number of attractors per level, coarse to fine.
        alpha: strength of the attraction; the pull peaks at a distance alpha ** -0.5.
        gamma: exponent of the attraction.
        distribution: ``log_binomial`` or ``softmax``.

    Raises:
        ValueError: a name or a number that no reflector can be built from.
    """

    bins: int = 64
    embedding: int = 64
    attractors: tuple[int, int, int, int] = (16, 8, 4, 1)
    alpha: float = 300.0
    gamma: int = 2
    distribution: str = "log_binomial"

    def __post_init__(self) -> None:
        object.__setattr__(self, "attractors", tuple(self.attractors))
        if self.bins < 2:
            raise ValueError(f"bins is {self.bins}; at least 2 are needed")
        if self.embedding < 1:
            raise ValueError(f"embedding is {self.embedding}; at least 1 channel is needed")
        if len(self.attractors) != 4 or min(self.attractors) < 1:
            raise ValueError(f"attractors is {self.attractors}; four positive counts are needed")
        if self.alpha <= 0 or self.gamma < 2 or self.gamma % 2:
            raise ValueError(
                f"alpha is {self.alpha} and gamma {self.gamma}; alpha must be positive and gamma "
                "an even number of at least 2, or the pull is not symmetric"
            )
        if self.distribution not in DISTRIBUTIONS:
            raise ValueError(f"distribution is {self.distribution!r}; known are {DISTRIBUTIONS}")


class ReflectorOutput(NamedTuple):
    """Depth in units of z_max, and what it was made from, all at the finest block's stride.

    Attributes:
        depth: (N, 1, h, w) in units of z_max.
        sigma: (N, 1, h, w) standard deviation of log depth.
        centres: (N, K, h, w) ascending over K, in units of z_max.
        log_probabilities: (N, K, h, w) log q.
        condition: (N, C, h, w), what the distribution was read from; None from other heads.
    """

    depth: Tensor
    sigma: Tensor
    centres: Tensor
    log_probabilities: Tensor
    condition: Tensor | None = None


def log_spaced_widths(bins: int, near: float) -> Tensor:
    """Return widths (K,) of bins with log-spaced edges from ``near`` to 1, normalised to sum 1."""
    edges = torch.logspace(math.log10(near), 0.0, bins + 1, dtype=torch.float64)
    widths = edges.diff()
    return widths / widths.sum()


class BinsRegressor(nn.Module):
    """Ordered bin centres from the bottleneck.

    Widths w = softplus(logits) + 1e-3, normalised over the bins; centres
    c_k = rho + (1 - rho) (sum_{j<k} w_j + w_k / 2): ascending and inside (rho, 1) by construction.
    """

    def __init__(self, inputs: int, bins: int, near: float):
        super().__init__()
        self.near = near
        self.logits = perceptron(inputs, 128, bins)
        # Start log-spaced whatever the image: the widths sum to K before normalisation.
        widths = log_spaced_widths(bins, near) * bins
        nn.init.normal_(self.logits[-1].weight, std=0.01)
        with torch.no_grad():
            self.logits[-1].bias.copy_(torch.log(torch.expm1(widths - MINIMUM_WIDTH)))
        # The cumulative sum as a constant 1x1 convolution: engines run that everywhere.
        matrix = torch.tril(torch.ones(bins, bins), diagonal=-1) + 0.5 * torch.eye(bins)
        self.register_buffer("cumulative", matrix.reshape(bins, bins, 1, 1), persistent=False)

    def forward(self, bottleneck: Tensor) -> Tensor:
        """Map (N, C, h, w) to centres (N, K, h, w) float32, ascending over K, in units of z_max."""
        logits = self.logits(bottleneck)
        with full_precision(logits):
            widths = functional.softplus(logits.float()) + MINIMUM_WIDTH
            widths = widths / widths.sum(dim=1, keepdim=True)
            return self.near + (1.0 - self.near) * functional.conv2d(widths, self.cumulative)


class Projector(nn.Module):
    """Embeds a decoder block and adds the embedding of the coarser one."""

    def __init__(self, inputs: int, embedding: int):
        super().__init__()
        self.project = perceptron(inputs, embedding, embedding)

    def forward(self, block: Tensor, coarser: Tensor | None) -> Tensor:
        """Map (N, C, h, w) and the coarser embedding (or None at the coarsest) to (N, E, h, w)."""
        embedding = self.project(block)
        return embedding if coarser is None else embedding + resize(coarser, embedding)


def attract(centres: Tensor, attractors: Tensor, alpha: float, gamma: int) -> Tensor:
    """Move each centre by the mean pull of all attractors.

    c' = c + mean_k d_k / (1 + alpha d_k^gamma), d_k = a_k - c. With gamma = 2 the derivative of
    c' by c lies in [0, 1.125] whatever the attractors: 1 minus a mean of values in [-1/8, 1]. So c'
    is non-decreasing in c and ordered centres stay ordered. (A sum over the attractors has
    derivatives down to 1 - n and does not keep the order.)

    Args:
        centres: (N, K, h, w) float32 in units of z_max.
        attractors: (N, n, h, w) float32 in units of z_max.
        alpha: strength.
        gamma: even exponent.

    Returns:
        (N, K, h, w) moved centres.
    """

    def pull(distance: Tensor) -> Tensor:
        return distance / (1.0 + alpha * distance.pow(gamma))

    if attractors.shape[1] == 1:
        # Without the fifth axis, for which CPU engines change the layout of the largest level.
        return centres + pull(attractors - centres)
    return centres + pull(attractors.unsqueeze(2) - centres.unsqueeze(1)).mean(dim=1)


class Attractor(nn.Module):
    """One level of attractors: points in (0, 1) that pull the bin centres toward them."""

    def __init__(self, embedding: int, count: int, alpha: float, gamma: int):
        super().__init__()
        self.alpha, self.gamma = alpha, gamma
        self.points = perceptron(embedding, embedding, count)

    def forward(self, centres: Tensor, embedding: Tensor) -> Tensor:
        """Map centres of the coarser level (N, K, ., .) and (N, E, h, w) to (N, K, h, w)."""
        logits = self.points(embedding)
        with full_precision(logits):
            points = torch.sigmoid(logits.float())
            return attract(resize(centres, points), points, self.alpha, self.gamma)


class LogBinomial(nn.Module):
    """A log-binomial over the bins from a probability and a temperature per pixel.

    y_k = log C(K-1, k) + k log p + (K-1-k) log(1-p), q = softmax(y / T).
    """

    def __init__(self, inputs: int, hidden: int, bins: int):
        super().__init__()
        self.parameters_of = perceptron(inputs, hidden, 2)
        index = torch.arange(bins, dtype=torch.float64)
        last = torch.tensor(bins - 1.0, dtype=torch.float64)
        coefficients = (
            torch.lgamma(last + 1) - torch.lgamma(index + 1) - torch.lgamma(last - index + 1)
        )
        shape = (1, bins, 1, 1)
        self.register_buffer("coefficients", coefficients.float().reshape(shape), persistent=False)
        self.register_buffer("index", index.float().reshape(shape), persistent=False)

    def forward(self, features: Tensor, hint: Tensor | None = None) -> Tensor:
        """Map (N, C, h, w), and a hint to the hidden layer, to log q (N, K, h, w) float32."""
        first, activation, last = self.parameters_of
        logits = last(activation(hinted(first(features), hint)))
        with full_precision(logits):
            p, t = torch.sigmoid(logits.float()).split(1, dim=1)
            p = p.clamp(MINIMUM_PROBABILITY, 1.0 - MINIMUM_PROBABILITY)
            coldest, hottest = TEMPERATURE_RANGE
            temperature = coldest * torch.exp(t * math.log(hottest / coldest))
            rest = self.index.shape[1] - 1 - self.index
            y = self.coefficients + self.index * torch.log(p) + rest * torch.log(1.0 - p)
            return functional.log_softmax(y / temperature, dim=1)


class SoftmaxBins(nn.Module):
    """A free distribution over the bins, which can have two modes at a depth edge."""

    def __init__(self, inputs: int, hidden: int, bins: int):
        super().__init__()
        self.logits = perceptron(inputs, hidden, bins)

    def forward(self, features: Tensor, hint: Tensor | None = None) -> Tensor:
        """Map (N, C, h, w), and a hint to the hidden layer, to log q (N, K, h, w) float32."""
        first, activation, last = self.logits
        logits = last(activation(hinted(first(features), hint)))
        with full_precision(logits):
            return functional.log_softmax(logits.float(), dim=1)


def depth_and_sigma(centres: Tensor, log_probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean depth and the standard deviation of log depth under the bins' distribution.

    z = sum_k q_k c_k; sigma = sqrt(sum_k q_k (log c_k - log z)^2 + 0.02^2).

    Args:
        centres: (N, K, h, w) positive.
        log_probabilities: (N, K, h, w), exp sums to 1 over K.

    Returns:
        depth (N, 1, h, w) in the unit of the centres, and sigma (N, 1, h, w), no unit.
    """
    probabilities = log_probabilities.exp()
    depth = (probabilities * centres).sum(dim=1, keepdim=True)
    deviation = torch.log(centres) - torch.log(depth)
    variance = (probabilities * deviation.square()).sum(dim=1, keepdim=True)
    return depth, torch.sqrt(variance + MINIMUM_SIGMA**2)


class Reflector(nn.Module):
    """Relative to metric depth by bins that attractors move level by level.

    Args:
        config: sizes of the reflector.
        bottleneck_channels: channels of the bottleneck.
        block_channels: channels of the decoder blocks, coarse to fine.
        head_channels: channels of the relative head's feature.
        near: rho = z_min / z_max.
    """

    def __init__(
        self,
        config: ReflectorConfig,
        bottleneck_channels: int,
        block_channels: tuple[int, ...],
        head_channels: int,
        near: float,
    ):
        super().__init__()
        embedding = config.embedding
        self.bins = BinsRegressor(bottleneck_channels, config.bins, near)
        self.projectors = nn.ModuleList(
            Projector(channels, embedding) for channels in block_channels
        )
        self.attractors = nn.ModuleList(
            Attractor(embedding, count, config.alpha, config.gamma) for count in config.attractors
        )
        distribution = {"log_binomial": LogBinomial, "softmax": SoftmaxBins}[config.distribution]
        self.condition_channels = head_channels + 1 + embedding
        self.distribution = distribution(self.condition_channels, embedding, config.bins)

    def forward(
        self, features: BackboneFeatures, hints: Sequence[Tensor | None] = NO_HINTS
    ) -> ReflectorOutput:
        """Map backbone features to ``ReflectorOutput`` at the finest block's stride.

        Args:
            features: of the backbone.
            hints: added to each level's embedding and to the distribution's hidden layer, as
                ``mount.Hints.shallow`` is.
        """
        centres = self.bins(features.bottleneck)
        embedding = None
        for block, project, attractor, hint in zip(
            features.blocks, self.projectors, self.attractors, hints[:-1], strict=True
        ):
            embedding = hinted(project(block, embedding), hint)
            centres = attractor(centres, embedding)
        relative = resize(features.relative, embedding)
        condition = torch.cat([features.head, relative, embedding], dim=1)
        log_probabilities = self.distribution(condition, hints[-1])
        depth, sigma = depth_and_sigma(centres, log_probabilities)
        return ReflectorOutput(depth, sigma, centres, log_probabilities, condition)
